"""The region of shared memory: what a reader sees, whatever its writer was doing when it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from controlplane.gateway.errors import GatewayError
from controlplane.gateway.telemetry import region as layout
from controlplane.gateway.telemetry.region import Entry, Region


@pytest.fixture
def fd() -> Iterator[int]:
    made = Region.create("test")
    yield made
    os.close(made)


def test_a_reader_sees_the_series_and_values_of_a_writer(fd: int) -> None:
    writer, reader = Region(fd), Region(fd)
    first = writer.allocate("requests\x1fchat", 1)
    second = writer.allocate("duration\x1fä", 4)
    writer.cells[second + 3] = 2.5

    assert list(reader.entries()) == [Entry("requests\x1fchat", first, 1), Entry("duration\x1fä", second, 4)]
    assert reader.cells[second + 3] == 2.5
    assert (first, second) == (0, 1)


def test_entries_gives_each_series_once(fd: int) -> None:
    writer, reader = Region(fd), Region(fd)
    writer.allocate("a", 1)
    assert [e.text for e in reader.entries()] == ["a"]
    assert list(reader.entries()) == []
    writer.allocate("b", 1)
    assert [e.text for e in reader.entries()] == ["b"]


def test_the_next_writer_goes_on_behind_the_last_series(fd: int) -> None:
    before = Region(fd)
    before.cells[before.allocate("a", 2)] = 7.0
    after = Region(fd)
    assert [e.text for e in after.entries()] == ["a"]
    assert after.allocate("b", 1) == 2
    assert after.cells[0] == 7.0
    assert [e.text for e in Region(fd).entries()] == ["a", "b"]


@pytest.mark.parametrize("written", range(33))
def test_a_writer_that_was_killed_within_an_entry_leaves_no_trace(fd: int, written: int) -> None:
    writer = Region(fd)
    writer.allocate("a", 1)
    # The bytes of the next entry up to the instant of the kill; its commit never came.
    whole = Region.create("whole")
    other = Region(whole)
    other.allocate("a", 1)
    other.allocate("half-made-series", 3)
    start = layout._DIRECTORY_START + 24
    os.pwrite(fd, os.pread(whole, written, start), start)
    os.close(whole)
    writer.cells[1] = 99.0  # and a cell that it had begun to use

    after = Region(fd)
    assert [e.text for e in after.entries()] == ["a"]
    place = after.allocate("b", 1)
    assert (place, after.cells[place]) == (1, 0.0)
    assert [e.text for e in Region(fd).entries()] == ["a", "b"]


def test_a_reader_waits_for_an_entry_whose_stores_have_not_all_arrived(fd: int) -> None:
    writer, reader = Region(fd), Region(fd)
    writer.allocate("abcdefgh", 1)
    text_at = layout._DIRECTORY_START + layout._ENTRY.size
    os.pwrite(fd, b"\0\0\0\0", text_at)
    assert list(reader.entries()) == []
    os.pwrite(fd, b"abcd", text_at)
    assert [e.text for e in reader.entries()] == ["abcdefgh"]


def test_a_series_without_a_place_is_counted_and_disturbs_no_other(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_DIRECTORY_END", layout._DIRECTORY_START + 48)
    writer = Region(fd)
    kept = [writer.allocate(name, 1) for name in ("a", "b")]
    lost = writer.allocate("c", 20)
    writer.cells[lost + 19] = 5.0
    assert writer.refused == 1
    assert [writer.cells[place] for place in kept] == [0.0, 0.0]
    assert [e.text for e in Region(fd).entries()] == ["a", "b"]


def test_memory_of_another_layout_is_refused(fd: int) -> None:
    os.pwrite(fd, b"OLDLAYOT", 0)
    with pytest.raises(GatewayError, match="another release"):
        Region(fd)


def test_memory_that_is_too_small_is_refused() -> None:
    small = os.memfd_create("small")
    os.ftruncate(small, 4096)
    with pytest.raises(GatewayError, match="has 4096 bytes and needs 8388608"):
        Region(small)
    os.close(small)


def test_an_empty_region_takes_little_memory(fd: int) -> None:
    Region(fd).allocate("a", 1)
    assert os.fstat(fd).st_blocks * 512 <= 3 * 4096


_WRITER = """
import sys
from controlplane.gateway.telemetry.region import Region
region = Region(int(sys.argv[1]))
list(region.entries())
ready = False
for number in range(20_000):
    place = region.allocate(f"series-{number}", 3)
    for cell in range(3):
        region.cells[place + cell] += 1.0
    if number == 50:
        print("going", flush=True)
"""


def test_kill_9_at_any_instant_leaves_whole_series(fd: int) -> None:
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", _WRITER, str(fd)], stdout=subprocess.PIPE, pass_fds=[fd])
        assert child.stdout is not None
        assert child.stdout.readline() == b"going\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        reader = Region(fd)
        entries = list(reader.entries())
        assert len(entries) > 50
        assert all(entry.cells == 3 and entry.text.startswith("series-") for entry in entries)
        assert [entry.first for entry in entries] == [3 * place for place in range(len(entries))]
        # All but the last one, where the writer was killed.
        assert {value for entry in entries[:-1] for value in reader.cells[entry.first : entry.first + 3]} <= {1.0}
