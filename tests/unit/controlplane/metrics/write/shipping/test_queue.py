"""The queue on disk: each row comes out once and in order, even if the process or the disk fails."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cramjam import snappy
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.samples import Layout, Series, View, labels_of
from controlplane.metrics.arrays import STALE_BITS
from controlplane.metrics.write.remote_write_codec import decode
from controlplane.metrics.write.shipping import queue as queue_module
from controlplane.metrics.write.shipping import window as window_module
from controlplane.metrics.write.shipping.queue import Former, ShipQueue
from controlplane.metrics.write.shipping.segments import numbers_in, path_of
from controlplane.metrics.write.shipping.selection import Selection
from controlplane.metrics.write.shipping.window import Window

ALL = ("canonical", "raw", "recorded")
ENDED = "ended"
T = 1_700_000_000_000


def opened(
    folder: Path, max_bytes: int = 2**30, send: Sequence[str] = ALL, former: Mapping[str, Former] | None = None
) -> ShipQueue:
    made = ShipQueue(folder, Selection(send, lambda name: name.startswith("llm_")), max_bytes, former)
    made.open()
    return made


def layout_of(*names: str) -> Layout:
    return Layout(tuple(Series(name, labels_of({"job": "x"})) for name in names))


def sent(window: Window | None) -> list[tuple[str, int, float | str]]:
    """Return (name, time since T in ms, value) of everything in a window, in the order of its shards."""
    found: list[tuple[str, int, float | str]] = []
    for request in itertools.chain(*(window.shards if window else ())):
        before = len(found)
        for labels, samples in decode(request.body).series:
            for at, value in samples:
                (bits,) = struct.unpack("<Q", struct.pack("<d", value))
                found.append((dict(labels)["__name__"], at - T, ENDED if bits == STALE_BITS else value))
        assert len(found) - before == request.samples
    assert len(found) == (window.samples if window else 0)
    return found


def drained(queue: ShipQueue, samples: int = 2000, shards: int = 1) -> list[tuple[str, int, float | str]]:
    """Read and acknowledge everything that is there."""
    found = []
    while window := queue.read(T, shards, samples, 10**9):
        found += sent(window)
        queue.acknowledge(window)
    return found


def left(folder: Path) -> list[tuple[str, int, float | str]]:
    """Return what the next process finds."""
    queue = opened(folder)
    found = drained(queue)
    queue.close()
    return found


def kill(queue: ShipQueue) -> None:
    """Take a queue's files away without giving it a chance to write, as `kill -9` does."""
    queue._close_file()
    queue._reader.close()


def test_rows_come_out_as_they_went_in(tmp_path: Path) -> None:
    queue, layout = opened(tmp_path / "q"), layout_of("a", "b")
    for n in range(3):
        queue.append("s", layout, T + n, np.array([n, n + 0.5]))
    assert queue.read(T, 1, 2000, 1000) is None
    queue.flush()
    assert (queue.pending, queue.newest_ms) == (6, T + 2)
    assert drained(queue) == [("a", 0, 0), ("b", 0, 0.5), ("a", 1, 1), ("b", 1, 1.5), ("a", 2, 2), ("b", 2, 2.5)]
    assert queue.pending == 0
    queue.append("s", layout, T + 9, np.array([7.0, 8.0]))
    queue.flush()
    assert drained(queue) == [("a", 9, 7), ("b", 9, 8)]
    queue.close()


def test_sources_of_a_killed_process_end_and_go_on_as_if_it_had_stayed(tmp_path: Path) -> None:
    queue, layout = opened(tmp_path / "q"), layout_of("a", "b")
    for source in ("gone", "kept", "quiet"):
        queue.append(source, layout, T, np.array([1.0, 2.0]))
    queue.flush()
    drained(queue)
    kill(queue)
    former = {source: Former(layout, T) for source in ("gone", "kept", "quiet")}
    queue = opened(tmp_path / "q", former=former)
    queue.end("gone", T + 5)
    queue.end("gone", T + 6)
    queue.append("kept", layout_of("b", "c"), T + 5, np.array([3.0, 4.0]))
    queue.flush()
    assert drained(queue) == [("a", 5, ENDED), ("b", 5, ENDED), ("a", 5, ENDED), ("b", 5, 3), ("c", 5, 4)]
    queue.close()


def test_a_new_queue_does_not_end_what_was_never_sent(tmp_path: Path) -> None:
    queue = opened(tmp_path / "q", former={"gone": Former(layout_of("a"), T)})
    queue.end("gone", T + 5)
    queue.flush()
    assert drained(queue) == []
    queue.close()


def test_views_are_sent_as_series(tmp_path: Path) -> None:
    raw = layout_of("a", "b").raw
    layout = Layout(raw, (View(Series("llm_sum", ()), (0, 1), 0.5),))
    for send, expected in [(("canonical",), [("llm_sum", 0, 1.5)]), (("raw",), [("a", 0, 1), ("b", 0, 2)])]:
        queue = opened(tmp_path / send[0], send=send)
        queue.append("s", layout, T, np.array([1.0, 2.0]))
        queue.flush()
        assert drained(queue) == expected
        queue.close()


def test_a_source_of_which_nothing_is_sent_leaves_nothing(tmp_path: Path) -> None:
    queue = opened(tmp_path / "q", send=("recorded",))
    queue.append("s", layout_of("a"), T, np.array([1.0]))
    queue.end("s", T + 1)
    queue.flush()
    assert queue.pending == 0
    assert drained(queue) == []
    queue.close()


def test_series_that_vanish_are_marked_stale_once(tmp_path: Path) -> None:
    queue = opened(tmp_path / "q")
    queue.append("s", layout_of("a", "b", "c"), T, np.array([1.0, 2.0, 3.0]))
    queue.append("s", layout_of("c", "a", "d"), T + 10, np.array([4.0, 5.0, 6.0]))
    queue.end("s", T + 20)
    queue.end("s", T + 30)
    queue.append("s", layout_of("a"), T + 40, np.array([7.0]))
    queue.flush()
    assert drained(queue) == [
        ("a", 0, 1), ("b", 0, 2), ("c", 0, 3),
        ("b", 10, ENDED), ("c", 10, 4), ("a", 10, 5), ("d", 10, 6),
        ("c", 20, ENDED), ("a", 20, ENDED), ("d", 20, ENDED),
        ("a", 40, 7),
    ]  # fmt: skip
    queue.close()


def test_an_old_row_is_dropped_as_the_store_drops_it_and_an_end_never_meets_a_value(tmp_path: Path) -> None:
    queue, layout = opened(tmp_path / "q"), layout_of("a")
    for at in (5, 5, 4):
        queue.append("s", layout, T + at, np.array([float(at)]))
    queue.end("s", T + 5)
    queue.append("s", layout, T + 6, np.array([6.0]))
    queue.append("s", layout, T + 7, np.array([7.0]))
    queue.flush()
    assert drained(queue) == [("a", 5, 5), ("a", 6, ENDED), ("a", 7, 7)]
    queue.close()


def test_a_request_has_no_more_samples_than_allowed_and_a_source_stays_in_order(tmp_path: Path) -> None:
    queue = opened(tmp_path / "q")
    layouts = {f"s{n}": layout_of(*(f"s{n}_{i}" for i in range(4))) for n in range(5)}
    big = layout_of(*(f"big_{i}" for i in range(25)))
    for at in range(6):
        for source, layout in layouts.items():
            queue.append(source, layout, T + at, np.full(4, float(at)))
        queue.append("big", big, T + at, np.arange(25.0))
    queue.flush()
    found: list[tuple[str, int, float | str]] = []
    while window := queue.read(T, 3, 10, 1000):
        assert len(window.shards) <= 3
        assert all(request.samples <= 10 for requests in window.shards for request in requests)
        found += sent(window)
        queue.acknowledge(window)
    assert len(found) == 6 * (5 * 4 + 25)
    for name in {name for name, _, _ in found}:
        assert [at for n, at, _ in found if n == name] == list(range(6))
    queue.close()


def test_long_labels_make_more_requests_and_not_larger_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "MAX_REQUEST_BYTES", 10_000)
    queue = opened(tmp_path / "q")
    layout = Layout(tuple(Series(f"m{n}", labels_of({"long": "x" * 1000})) for n in range(50)))
    for at in range(3):
        queue.append("s", layout, T + at, np.arange(50.0))
    queue.flush()
    found: list[tuple[str, int, float | str]] = []
    while window := queue.read(T, 1, 2000, 1000):
        sizes = [snappy.decompress_raw_len(request.body) for requests in window.shards for request in requests]
        assert max(sizes) <= 10_000
        found += sent(window)
        queue.acknowledge(window)
    assert found == [(f"m{n}", at, n) for at in range(3) for n in range(50)]
    queue.close()


def test_what_is_too_old_is_dropped_and_counted(tmp_path: Path) -> None:
    queue, layout = opened(tmp_path / "q"), layout_of("a", "b")
    for at in (0, 1000, 2000):
        queue.append("s", layout, T + at, np.array([1.0, 2.0]))
    queue.flush()
    window = queue.read(T + 2500, 1, 2000, 1000)
    assert window
    assert (window.expired, queue.dropped, window.oldest_ms) == (4, {"age": 4}, T + 2000)
    assert sent(window) == [("a", 2000, 1), ("b", 2000, 2)]
    queue.acknowledge(window)
    assert queue.pending == 0
    queue.close()


def test_a_restart_goes_on_behind_what_was_acknowledged(tmp_path: Path) -> None:
    queue, layout = opened(tmp_path / "q"), layout_of("a")
    for at in range(4):
        queue.append("s", layout, T + at, np.array([float(at)]))
        queue.flush()
    first = queue.read(T, 1, 2, 1000)
    assert first
    queue.acknowledge(first)
    second = queue.read(T, 1, 1, 1000)
    assert sent(second) == [("a", 2, 2)]
    kill(queue)
    # The second window was in flight, so its samples are sent again, and nothing else is.
    again = opened(tmp_path / "q")
    assert again.pending == 2
    again.append("s", layout_of("a"), T + 9, np.array([9.0]))
    again.flush()
    assert drained(again) == [("a", 2, 2), ("a", 3, 3), ("a", 9, 9)]
    again.close()
    assert left(tmp_path / "q") == []


def test_what_was_in_flight_is_made_into_the_same_requests_again(tmp_path: Path) -> None:
    queue, layouts = opened(tmp_path / "q"), {source: layout_of(source + "1", source + "2") for source in "abc"}
    for at in range(3):
        for source, layout in layouts.items():
            queue.append(source, layout, T + at, np.array([at + 0.25, at + 0.5]))
    queue.flush()
    first = queue.read(T, 2, 4, 1000)
    assert first
    assert first.samples < 18
    queue.append("a", layouts["a"], T + 7, np.array([7.0, 7.0]))
    queue.flush()
    kill(queue)
    again = opened(tmp_path / "q")
    second = again.read(T, 5, 1000, 1000)  # another configuration makes no difference
    assert second
    assert (second.again, first.again) == (True, False)
    assert [[r.body for r in shard] for shard in second.shards] == [[r.body for r in shard] for shard in first.shards]
    again.acknowledge(second)
    rest = again.read(T, 2, 1000, 1000)
    assert rest
    assert not rest.again
    assert rest.samples == 20 - first.samples
    again.acknowledge(rest)
    again.close()


def test_segments_that_were_read_are_deleted_and_each_stands_alone(tmp_path: Path) -> None:
    queue, layout = opened(tmp_path / "q", max_bytes=8 * 1024), layout_of("a", "b")
    expected = []
    for at in range(100):
        queue.append("s", layout, T + at, np.random.default_rng(at).random(2))
        queue.flush()
        expected.append(at)
    assert len(numbers_in(tmp_path / "q")) > 3
    found = drained(queue, samples=10)
    assert [at for name, at, _ in found if name == "b"] == expected
    assert len(numbers_in(tmp_path / "q")) == 1
    queue.close()


def test_beyond_its_size_the_oldest_are_dropped_and_counted(tmp_path: Path) -> None:
    queue, layout = opened(tmp_path / "q", max_bytes=8 * 1024), layout_of("a", "b")
    in_flight = None
    for at in range(400):
        queue.append("s", layout, T + at, np.random.default_rng(at).random(2))
        queue.flush()
        if at == 3:
            in_flight = queue.read(T, 1, 2, 10**6)
        assert queue.size_bytes <= 8 * 1024 + 1024
    assert sum(p.stat().st_size for p in (tmp_path / "q").glob("*.segment")) == queue.size_bytes
    assert in_flight
    queue.acknowledge(in_flight)
    dropped, kept = queue.dropped["size"], drained(queue)
    assert [at for _, at, _ in kept[::2]] == list(range(400 - len(kept) // 2, 400))
    assert dropped + len(kept) + in_flight.samples == 800
    assert queue.pending == 0
    queue.close()


def torn(data: bytes) -> bytes:
    return data[:-5]


def flipped(data: bytes) -> bytes:
    return data[:-5] + bytes((data[-5] ^ 1,)) + data[-4:]


def garbage(data: bytes) -> bytes:
    return data + b"\xff" * 40


@pytest.mark.parametrize(
    ("damage", "kept", "warnings"),
    [(torn, 2, 1), (flipped, 2, 1), (garbage, 3, 1), (lambda data: b"x" * 50, 0, 1), (lambda data: b"", 0, 0)],
)
def test_what_a_crash_left_half_written_is_left_out_with_a_warning(
    damage: Callable[[bytes], bytes], kept: int, warnings: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue, layout = opened(tmp_path / "q"), layout_of("a")
    for at in range(3):
        queue.append("s", layout, T + at, np.array([float(at)]))
    queue.close()
    path = path_of(tmp_path / "q", 1)
    path.write_bytes(damage(path.read_bytes()))
    again = opened(tmp_path / "q")
    assert again.pending == kept
    assert drained(again) == [("a", at, at) for at in range(kept)]
    again.append("s", layout, T + 10, np.array([10.0]))
    again.flush()
    assert drained(again) == [("a", 10, 10)]
    again.close()
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == warnings
    assert (str(path) in caplog.text) is bool(warnings)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_damaged_what_is_read_is_a_beginning_of_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("q")
    queue = opened(folder)
    for at in range(4):
        queue.append("s", layout_of("a", "b" if at < 2 else "c"), T + at, np.array([at + 0.25, at + 0.5]))
    queue.close()
    whole = left(folder)
    (folder / "position").unlink()
    path = path_of(folder, 1)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    found = left(folder)
    assert found == whole[: len(found)]


def test_a_damaged_position_means_sending_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    queue = opened(tmp_path / "q")
    queue.append("s", layout_of("a"), T, np.array([1.0]))
    queue.flush()
    assert len(drained(queue)) == 1
    queue.close()
    (tmp_path / "q" / "position").write_text("nonsense")
    assert left(tmp_path / "q") == [("a", 0, 1)]
    assert "position is damaged" in caplog.text


def test_a_position_that_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = opened(tmp_path / "q")
    (tmp_path / "q" / "position.new").mkdir()
    for at in range(3):
        queue.append("s", layout_of("a"), T + at, np.array([1.0]))
        queue.flush()
        assert drained(queue) == [("a", at, 1)]
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "a restart now would send twice" in caplog.text
    queue.close()


class FullDisk:
    """Takes `room` more bytes, then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 10**9
        real = os.write

        def write(file: int, data: Any) -> int:
            taken = min(len(data), self.room)
            if not taken:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.room -= taken
            return real(file, bytes(data[:taken]))

        monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("room", [0, 3, 8, 100, 150, 400])
def test_a_full_disk_loses_nothing_and_repeats_nothing(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    disk = FullDisk(monkeypatch)
    queue = opened(tmp_path / "q", max_bytes=2**20)
    queue.append("s", layout_of("a", "b"), T, np.array([1.0, 2.0]))
    queue.flush()
    disk.room = room
    for at in range(1, 40):
        names = ("a", "b") if at < 20 else ("b", "c")
        queue.append("s", layout_of(*names), T + at, np.array([at + 0.25, at + 0.5]))
        queue.flush()
    disk.room = 10**9
    queue.flush()
    queue.flush()
    expected = [(name, at, at + 0.25 * (1 + i)) for at in range(1, 20) for i, name in enumerate(("a", "b"))]
    later = [(name, at, at + 0.25 * (1 + i)) for at in range(20, 40) for i, name in enumerate(("b", "c"))]
    assert drained(queue) == [("a", 0, 1), ("b", 0, 2), *expected, ("a", 20, ENDED), *later]
    queue.close()
    told = [r.levelname for r in caplog.records]
    assert told == ["ERROR", "INFO"]
    assert left(tmp_path / "q") == []


def test_rows_that_cannot_be_written_are_bounded_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "MAX_BUFFER_BYTES", 1000)
    queue, layout = opened(tmp_path / "q"), layout_of("a")
    for at in range(100):
        queue.append("s", layout, T + at, np.array([float(at)]))
    queue.flush()
    kept = drained(queue)
    assert [at for _, at, _ in kept] == list(range(100 - len(kept), 100))
    assert queue.dropped == {"buffer": 100 - len(kept)}
    assert 0 < len(kept) <= 1000 / 72
    queue.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([("x",), ("x", "y"), ("z",), None]), st.booleans()),
        max_size=30,
    ),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_however_it_is_written_read_and_restarted_everything_comes_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[tuple[str, tuple[str, ...] | None, bool]],
    samples: int,
    shards: int,
) -> None:
    folder = tmp_path_factory.mktemp("q")
    queue, found = opened(folder, max_bytes=2**20), list[Any]()
    expected: list[tuple[str, int, float | str]] = []
    live: dict[str, tuple[str, ...]] = {}
    for at, (source, names, restart) in enumerate(events):
        known = live.get(source, ())
        if names is None:
            queue.end(source, T + at)
            live.pop(source, None)
        else:
            queue.append(source, layout_of(*(source + n for n in names)), T + at, np.full(len(names), float(at)))
            live[source] = names
            expected += [(source + name, at, float(at)) for name in names]
        expected += [(source + name, at, ENDED) for name in known if name not in (names or ())]
        if restart:
            queue.flush()
            if window := queue.read(T, shards, samples, 10**6):
                found += sent(window)
                queue.acknowledge(window)
            queue.close()
            queue, live = opened(folder, max_bytes=2**20), {}
    queue.flush()
    found += drained(queue, samples, shards)
    queue.close()
    assert sorted(found, key=str) == sorted(expected, key=str)
    for source in "abc":
        times = [at for name, at, _ in found if name.startswith(source)]
        assert times == sorted(times)
