"""The region of shared memory: what a reader sees, whatever its writer was doing when it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from controlplane.gateway.seams import Area
from controlplane.gateway.telemetry import region as layout
from controlplane.gateway.telemetry.region import REGION_BYTES, Entry, Region
from tests.fakes.shared_memory import shared_memory

OURS = 7
"""Fingerprint of the cells in these tests."""


@pytest.fixture
def memory() -> Iterator[Area]:
    with shared_memory(REGION_BYTES) as area:
        yield area


def writer_of(memory: Area, fingerprint: int = OURS) -> Region:
    region = Region(memory.view, fingerprint)
    region.claim()
    return region


def reader_of(memory: Area) -> Region:
    return Region(memory.view, OURS)


def texts(region: Region) -> list[str]:
    return [entry.text for entry in region.entries()]


def test_a_reader_sees_the_series_and_values_of_a_writer(memory: Area) -> None:
    writer, reader = writer_of(memory), reader_of(memory)
    first = writer.allocate("requests\x1fchat", 1)
    second = writer.allocate("duration\x1fä", 4)
    writer.cells[second + 3] = 2.5

    assert list(reader.entries()) == [Entry("requests\x1fchat", first, 1), Entry("duration\x1fä", second, 4)]
    assert reader.cells[second + 3] == 2.5
    assert (first, second) == (0, 1)


def test_entries_gives_each_series_once(memory: Area) -> None:
    writer, reader = writer_of(memory), reader_of(memory)
    writer.allocate("a", 1)
    assert texts(reader) == ["a"]
    assert list(reader.entries()) == []
    writer.allocate("b", 1)
    assert texts(reader) == ["b"]


def test_the_next_writer_goes_on_behind_the_last_series(memory: Area) -> None:
    before = writer_of(memory)
    before.cells[before.allocate("a", 2)] = 7.0
    after = writer_of(memory)
    assert texts(after) == ["a"]
    assert after.allocate("b", 1) == 2
    assert after.cells[0] == 7.0
    assert texts(reader_of(memory)) == ["a", "b"]


@pytest.mark.parametrize("written", range(33))
def test_a_writer_that_was_killed_within_an_entry_leaves_no_trace(memory: Area, written: int) -> None:
    writer = writer_of(memory)
    writer.allocate("a", 1)
    # The bytes of the next entry up to the instant of the kill; its commit never came.
    with shared_memory(REGION_BYTES) as whole:
        other = writer_of(whole)
        other.allocate("a", 1)
        other.allocate("half-made-series", 3)
        start = layout._DIRECTORY_START + 24
        memory.view[start : start + written] = whole.view[start : start + written]
    writer.cells[1] = 99.0  # and a cell that it had begun to use

    after = writer_of(memory)
    assert texts(after) == ["a"]
    place = after.allocate("b", 1)
    assert (place, after.cells[place]) == (1, 0.0)
    assert texts(reader_of(memory)) == ["a", "b"]


def test_a_reader_waits_for_an_entry_whose_stores_have_not_all_arrived(memory: Area) -> None:
    writer, reader = writer_of(memory), reader_of(memory)
    writer.allocate("abcdefgh", 1)
    text_at = layout._DIRECTORY_START + layout._ENTRY.size
    memory.view[text_at : text_at + 4] = b"\0\0\0\0"
    assert list(reader.entries()) == []
    memory.view[text_at : text_at + 4] = b"abcd"
    assert texts(reader) == ["abcdefgh"]


def test_a_series_without_a_place_is_counted_and_disturbs_no_other(
    memory: Area, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_CELLS_START", layout._DIRECTORY_START + 48)
    writer = writer_of(memory)
    kept = [writer.allocate(name, 1) for name in ("a", "b")]
    lost = writer.allocate("c", 20)
    writer.cells[lost + 19] = 5.0
    assert writer.refused == 1
    assert [writer.cells[place] for place in kept] == [0.0, 0.0]
    assert texts(reader_of(memory)) == ["a", "b"]


def test_what_another_release_has_written_reads_as_empty_and_is_forgotten_by_the_next_writer(memory: Area) -> None:
    theirs = writer_of(memory, fingerprint=8)
    theirs.cells[theirs.allocate("theirs", 1)] = 4.0
    assert texts(reader_of(memory)) == []
    ours = writer_of(memory)
    assert texts(ours) == []
    place = ours.allocate("ours", 1)
    assert (place, ours.cells[place]) == (0, 0.0)
    assert texts(reader_of(memory)) == ["ours"]


def test_an_empty_region_takes_little_memory(memory: Area) -> None:
    writer_of(memory).allocate("a", 1)
    assert os.fstat(memory.fd).st_blocks * 512 <= 3 * 4096


_WRITER = """
import mmap, sys
from controlplane.gateway.telemetry.region import REGION_BYTES, Region
region = Region(memoryview(mmap.mmap(int(sys.argv[1]), REGION_BYTES)), 7)
region.claim()
list(region.entries())
ready = False
for number in range(10_000):
    place = region.allocate(f"series-{number}", 3)
    for cell in range(3):
        region.cells[place + cell] += 1.0
    if number == 50:
        print("going", flush=True)
"""


def test_kill_9_at_any_instant_leaves_whole_series(memory: Area) -> None:
    for kills in (1, 2, 3):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(memory.fd)], stdout=subprocess.PIPE, pass_fds=[memory.fd]
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"going\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        reader = reader_of(memory)
        entries = list(reader.entries())
        assert len(entries) > 50 * kills
        assert all(entry.cells == 3 and entry.text.startswith("series-") for entry in entries)
        assert [entry.first for entry in entries] == [3 * place for place in range(len(entries))]
        values = [list(reader.cells[entry.first : entry.first + 3]) for entry in entries]
        unfinished = [value for value in values if value != [1.0, 1.0, 1.0]]
        assert len(unfinished) <= kills  # each writer was killed within one series at most
        assert all(value in ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]) for value in unfinished)
