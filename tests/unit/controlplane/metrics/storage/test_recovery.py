"""A store is opened again: whole, by somebody else meanwhile, or with a journal that was torn or damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.metrics.series.follower import Follower
from controlplane.metrics.storage import rewriting
from controlplane.metrics.storage.errors import StorageError, StorageLocked
from controlplane.metrics.storage.journal import Journal, Kind, frame, records
from controlplane.metrics.storage.rewriting import rewrite
from tests.fakes import series_model

ALL = list(range(30))
FIRST_FRAME = 32 + 2 * 8 + 4 + 1
"""Where the times of a packed chunk of three columns lie, behind its head."""
NAMES_OF_A = (("__name__", "m0"), ("source", "a"))


def test_a_store_goes_on_where_the_last_run_stopped(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig.write(200)
    rig.pack()
    for _ in range(3):
        rig.die()
        rig.open()
        rig.write(30)
        rig.close()
        rig.open()
        rig.write(30)
    assert rig.held() == {source: list(range(380)) for source in "abc"}
    assert rig.store.stats().blocks == 3
    assert rig.store.newest_ms("a") == rig.now - rig.step
    assert caplog.messages == []


def test_an_empty_folder_is_made_and_a_file_in_its_place_is_refused(tmp_path: Path, rig: Any) -> None:
    assert rig.held() == {}
    assert rig.path.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file: cannot be used for metrics: File exists"):
        type(rig)(tmp_path / "file")


def test_two_processes_cannot_use_one_folder(rig: Any) -> None:
    with pytest.raises(StorageLocked, match="another control plane keeps its metrics here; stop it, or give this one"):
        type(rig)(rig.path)


def test_a_folder_that_could_not_be_opened_is_given_free(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.write(5)
    rig.close()
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "read", lambda self: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(StorageError, match=r"metrics of earlier runs cannot be read: .*Input/output error"):
            rig.open()
    rig.open()
    assert rig.held() == {source: list(range(5)) for source in "abc"}


def test_a_thread_that_is_late_touches_no_file_of_a_store_that_was_closed(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder may be another process's by then."""
    rig.write(168)
    old, tidy, folder = rig.store, rig.tidy, rig.folder
    rig.close()
    before = {path.name: path.read_bytes() for path in rig.path.iterdir()}
    for n in range(300):
        old.append("late", Layout((Series(f"late{n // 100}", ()),)), rig.now + n, np.array([1.0]))
    old.end("late", rig.now + 1000)
    assert tidy.turn(rig.now + 10**9) == (0, 0)
    batch = [(block, chunk) for block in old.sources["a"].blocks.values() for chunk in block.chunks]
    assert tidy._packed(batch) == 0
    old.expire(rig.now + 10**12)
    with old.writing:
        assert not folder.resume()
    assert {path.name: path.read_bytes() for path in rig.path.iterdir()} == before
    assert caplog.messages == []
    rig.open()
    assert rig.held() == {source: list(range(168)) for source in "abc"}


# -- the journal ----------------------------------------------------------------------------------------------------


def test_a_journal_cut_off_at_any_byte_costs_what_its_last_records_said_and_nothing_else(
    rig: Any, tmp_path: Path
) -> None:
    rig.write(10)
    journal = rig.folder.journal.path
    ends = [record.end for record in records(journal.read_bytes())]
    rig.die()
    whole = tmp_path / "whole"
    shutil.copytree(rig.path, whole)
    seen = []
    for size in range(ends[-4], ends[-1] + 1):
        shutil.rmtree(rig.path)
        shutil.copytree(whole, rig.path)
        os.truncate(rig.path / journal.name, size)
        rig.open()
        assert (rig.path / journal.name).stat().st_size >= max(end for end in ends if end <= size)
        seen.append((sum(end <= size for end in ends), {source: len(rows) for source, rows in rig.held().items()}))
        rig.close()
    # The second chunk of each source, of rows 8 and 9, is the matter of the last three records.
    assert [held for n, held in seen if n == len(ends)] == [{"a": 10, "b": 10, "c": 10}]
    assert all(held == {"a": 10, "b": 10, "c": 8} for n, held in seen if n == len(ends) - 1)
    assert all(held == {"a": 10, "b": 8, "c": 8} for n, held in seen if n == len(ends) - 2)
    assert all(held == {"a": 8, "b": 8, "c": 8} for n, held in seen if n == len(ends) - 3)
    rig.open()


def test_a_record_that_is_damaged_costs_what_it_said_and_those_behind_it_hold(
    rig: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig.write(30)
    journal = rig.folder.journal.path
    found = list(records(journal.read_bytes()))
    rig.die()
    whole = tmp_path / "whole"
    shutil.copytree(rig.path, whole)
    for record in found[:-1]:
        for at in (record.start, record.start + 5, record.start + 9, record.end - 1):
            shutil.rmtree(rig.path)
            shutil.copytree(whole, rig.path)
            rig.flip(journal, at)
            caplog.clear()
            rig.open()
            held = rig.held()
            size = record.end - record.start
            assert f"journal.1: {size} bytes from byte {record.start} on are damaged" in caplog.text
            if record.kind == Kind.LAYOUT:
                assert [len(held.get(source, [])) for source in "abc"].count(30) == 2
            elif record.kind == Kind.CHUNK:
                assert sum(len(rows) for rows in held.values()) in (90 - 8, 90 - 22)
            else:
                assert held == dict.fromkeys("abc", ALL)
            # It is masked: the next start and those who follow the journal read over it.
            rig.close()
            assert len(list(records(journal.read_bytes()))) >= len(found)
            caplog.clear()
            rig.open()
            assert rig.held() == held
            assert caplog.messages == []
            rig.close()
    rig.open()


def test_a_record_of_a_later_version_is_passed_over(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig.write(5)
    journal = rig.folder.journal.path
    rig.die()
    with journal.open("ab") as file:
        file.write(frame(Kind.GONE, b"{}") + frame(Kind.CHUNK, b"[1]"))
    rig.open()
    assert rig.held() == {source: list(range(5)) for source in "abc"}
    assert caplog.text.count("is left out") == 2


def rewritten(rig: Any) -> None:
    rewrite(rig.folder, rig.store.writing, rig.tidy._blocks, rig.store.table.eras)


def test_a_draft_of_a_journal_and_an_older_one_are_no_matter(rig: Any) -> None:
    rig.write(20)
    rig.die()
    (rig.path / "journal.2.new").write_bytes(b"half of")
    rig.open()
    assert rig.held() == {source: list(range(20)) for source in "abc"}
    old = rig.folder.journal.path.read_bytes()
    rewritten(rig)
    rig.write(5)
    rig.die()
    (rig.path / "journal.1").write_bytes(old)
    rig.open()
    assert rig.held() == {source: list(range(25)) for source in "abc"}
    assert sorted(path.name for path in rig.path.glob("journal*")) == ["journal.2"]


@pytest.mark.parametrize("few", [0, 1 << 20])
def test_what_comes_while_the_journal_is_rewritten_is_in_the_new_one(
    rig: Any, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """`few` decides whether it is copied beside the writer or, at the end, under its lock."""
    monkeypatch.setattr(rewriting, "FEW_BYTES", few)
    rig.write(20, "ab")
    rig.store.append("gone", Layout((Series("old", ()),)), 1000, np.ones(1))
    known, real = Follower(rig.path), rewriting._records

    def meanwhile(*noted: Any) -> Iterator[tuple[Kind, bytes]]:
        assert not rig.store.writing.locked(), "the writer goes on"
        before = list(real(*noted))
        rig.write(100)  # chunks are cut, and the layout of c is new
        rig.store._forget(list(rig.store.sources["gone"].blocks.values()))
        rig.store.append("late", Layout((Series("new", ()),)), 2000, np.ones(1))
        yield from before

    monkeypatch.setattr(rewriting, "_records", meanwhile)
    rewritten(rig)
    rig.write(10)
    wanted = {"a": list(range(130)), "b": list(range(130)), "c": list(range(20, 130))}
    assert rig.held() == wanted
    late = Follower(rig.path)
    for follower in (known, late):
        assert follower.series_in([], 0, 1 << 45) == rig.store.series_in([], 0, 1 << 45)
        assert series_model.read(follower, "", -1, 1 << 45) == series_model.read(rig.store, "", -1, 1 << 45)
        follower.close()
    monkeypatch.setattr(rewriting, "_records", real)
    rewritten(rig)  # with layouts of which some lie where they were copied to
    rig.die()
    rig.open()
    assert rig.held() == wanted
    assert {name for name in rig.store.sources if len(name) > 1} == {"late"}
    assert sorted(path.name for path in rig.path.glob("journal*")) == ["journal.3"]


def test_a_store_that_is_closed_while_its_journal_is_rewritten_keeps_the_old_one(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.write(20)

    def closing(*_: object) -> Iterator[tuple[Kind, bytes]]:
        rig.close()
        yield from ()

    with monkeypatch.context() as patched:
        patched.setattr(rewriting, "_records", closing)
        with suppress(OSError):  # what is read of a closed file is an error
            rewritten(rig)
    assert sorted(path.name for path in rig.path.glob("journal*")) == ["journal.1"]
    rig.open()
    assert rig.held() == {source: list(range(20)) for source in "abc"}


def test_a_rewrite_that_fails_at_any_write_leaves_the_old_journal(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.write(20)
    real = os.pwrite
    for allowed in range(8):
        left = [allowed]

        def failing(file: int, data: bytes, at: int, left: list[int] = left) -> int:
            left[0] -= 1
            if left[0] < 0:
                real(file, data[: len(data) // 2], at)
                raise OSError(28, "No space left on device")
            return real(file, data, at)

        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", failing)
            with pytest.raises(OSError, match="No space"):
                rewritten(rig)
        rig.write(1)
        assert sorted(path.name for path in rig.path.glob("journal*")) == ["journal.1"]
    rig.die()
    rig.open()
    assert rig.held() == {source: list(range(28)) for source in "abc"}
