"""A copy of a folder of samples that is made while a store writes, packs and deletes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage import copying
from controlplane.metrics.storage.copying import copy_folder
from controlplane.metrics.storage.errors import StorageError
from tests.fakes import series_model

START = 1_700_000_000_000
LAYOUT = Layout(tuple(Series(f"m{i}", (("t", "0"),)) for i in range(40)))


class Writing:
    """A store that appends one row after another, each with its own time as the value, and tidies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = SeriesStore.in_folder(folder, 1e9, None, 1e9)
        self.tidy = Tidy(self.store)
        self.row = 0

    def rows(self, count: int) -> None:
        for _ in range(count):
            self.row += 1
            at = START + self.row * 15_000
            self.store.append("t0", LAYOUT, at, np.full(len(LAYOUT.raw), float(at)))
            if self.row % 50 == 0:
                self.tidy.turn(at)

    @property
    def last_ms(self) -> int:
        return START + self.row * 15_000


def times(folder: Path) -> list[int]:
    """Return the times of the stored rows, which are their values, too."""
    store = SeriesStore.in_folder(folder, 1e9, None, 1e9)
    (samples,) = series_model.read(store, "m0", -1, 1 << 45).values()
    assert all(value == at for at, value in samples)
    return [int(at) for at, _ in samples]


def whole(found: list[int]) -> None:
    assert found == list(range(START + 15_000, found[-1] + 1, 15_000))


@pytest.mark.parametrize("rows", [1, 40, 700])
def test_a_copy_has_every_row_of_before(tmp_path: Path, rows: int) -> None:
    writing = Writing(tmp_path / "metrics")
    writing.rows(rows)
    copied = copy_folder(writing.folder, tmp_path / "copy")
    assert copied.missing == ()
    writing.rows(5)
    found = times(tmp_path / "copy")
    whole(found)
    assert START + rows * 15_000 <= found[-1] <= writing.last_ms


def test_copies_beside_a_writer_are_whole_each_time(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "metrics")
    writing.rows(60)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            writing.rows(10)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(12):
            before = writing.last_ms - 15_000
            copied = copy_folder(writing.folder, tmp_path / f"copy-{number}")
            found = times(tmp_path / f"copy-{number}")
            whole(found)
            assert found[-1] >= before and copied.missing == ()
    finally:
        ended.set()
        thread.join()


def test_a_file_that_goes_after_the_journal_was_read_is_found_where_the_next_journal_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = Writing(tmp_path / "metrics")
    writing.rows(300)
    read, original = [], copying._needed

    def needed(source: Path) -> copying._Needed:
        found = original(source)
        read.append(found)
        if len(read) == 1:
            next(path for path in found.ends if path.suffix == ".arena").unlink()
        return found

    monkeypatch.setattr(copying, "_needed", needed)
    copied = copy_folder(writing.folder, tmp_path / "copy")
    # Nobody packed the arena of this test, so that it is missing for good: it is told, and the rest is there.
    assert len(read) == copying.TRIES and len(copied.missing) == 1


def test_a_record_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "metrics")
    writing.rows(10)
    journal = next((tmp_path / "metrics").glob("journal.*"))
    length = journal.stat().st_size
    with journal.open("ab") as file:
        file.write(journal.read_bytes()[:20])
    copy_folder(tmp_path / "metrics", tmp_path / "copy")
    assert (tmp_path / "copy" / journal.name).stat().st_size == length


def test_full_pack_files_are_linked_and_new_samples_are_copied(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "metrics")
    writing.rows(1200)  # five hours: pack files of two hours
    copy_folder(writing.folder, tmp_path / "copy")
    links = {path.suffix: path.stat().st_nlink for path in sorted((tmp_path / "copy").iterdir())}
    assert links[".arena"] == 1
    first = min((tmp_path / "copy").glob("*.raw"))
    assert first.stat().st_nlink == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "copy").iterdir())


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_without_samples_is_named(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "metrics").mkdir()
    with pytest.raises(StorageError, match=r"there are no samples here; .* metrics/"):
        copy_folder(tmp_path / "metrics", tmp_path / "copy")
