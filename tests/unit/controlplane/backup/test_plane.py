"""Parts of a control plane's backup: SQLite's copy, the folder for it, and the manifest."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from controlplane.backup.drills.plane import try_plane
from controlplane.backup.errors import BackupError, Damaged, NewerFormat
from controlplane.backup.plane import collect
from controlplane.backup.plane.bring_back import Kept, restore_folder
from controlplane.backup.plane.collect import STAGING, staged
from controlplane.backup.plane.manifest import FACT, SQLITE_FILE, Manifest, Table, read_manifest
from controlplane.backup.plane.manifest import MANIFEST as MANIFEST_FILE
from controlplane.backup.plane.sqlite_copy import copy_sqlite
from controlplane.backup.repository import Repository
from controlplane.backup.sources.walk import Source
from controlplane.backup.tally import Tally
from controlplane.backup.writing.create import About, Options, create_snapshot
from controlplane.store.database import Database
from controlplane.store.migrate import migrate
from tests.unit.controlplane.backup.world import KEY, Clock, new_store

ROWS = 5_000


def wal(path: Path) -> sqlite3.Connection:
    """Return a connection to a new database in WAL mode, whose rows are in the WAL alone."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("CREATE TABLE pair (id INTEGER PRIMARY KEY, one TEXT, two TEXT)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO pair VALUES (?, 'a', 'a')", [(number,) for number in range(ROWS)])
    connection.execute("COMMIT")
    return connection


def test_a_copy_beside_a_writer_is_one_instant_and_one_file(tmp_path: Path) -> None:
    with closing(wal(tmp_path / "source.db")) as writer:
        ended, wrote = threading.Event(), threading.Event()

        def write() -> None:
            for number in range(1_000_000):
                if ended.is_set():
                    return
                writer.execute("BEGIN")
                writer.execute("UPDATE pair SET one = ?", (f"{number}",))
                writer.execute("UPDATE pair SET two = ?", (f"{number}",))
                writer.execute("COMMIT")
                wrote.set()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            assert wrote.wait(60)
            (tmp_path / "out").mkdir()
            copy_sqlite(tmp_path / "source.db", tmp_path / "out" / "copy.db")
        finally:
            ended.set()
            thread.join()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["copy.db"]
    with closing(sqlite3.connect(tmp_path / "out" / "copy.db")) as copy:
        assert copy.execute("SELECT count(*), count(DISTINCT one), sum(one <> two) FROM pair").fetchone() == (
            ROWS,
            1,
            0,
        )


def test_a_damaged_page_is_named_and_makes_no_backup(tmp_path: Path) -> None:
    wal(tmp_path / "source.db").close()
    with (tmp_path / "source.db").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises((Damaged, BackupError), match=r"the database .*source\.db"):
        copy_sqlite(tmp_path / "source.db", tmp_path / "copy.db")


@pytest.mark.parametrize("content", [None, b"", b"no database at all, and longer than a header of one" * 9])
def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "source.db").write_bytes(content)
    if content == b"":
        copy_sqlite(tmp_path / "source.db", tmp_path / "copy.db")  # SQLite's own empty database
        return
    with pytest.raises(BackupError, match=r"source\.db"):
        copy_sqlite(tmp_path / "source.db", tmp_path / "copy.db")


def test_the_copy_is_private_gone_afterwards_and_a_killed_runs_copy_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / f"{STAGING}left"
    left.mkdir()
    with staged(tmp_path) as first:
        assert first.stat().st_mode & 0o777 == 0o700
        assert left.is_dir(), "it may be a run that has just begun"
        monkeypatch.setattr(collect, "LEFT_AFTER_S", -1.0)
        with staged(tmp_path) as second:
            assert sorted(tmp_path.iterdir()) == sorted([first, second])
        with pytest.raises(ZeroDivisionError), staged(tmp_path):
            raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


MANIFEST = Manifest("postgresql", "0012", 5.0, (Table("audit", ("id", "at"), 3),), {"audit": 7}, {"config/a": "/a"})


def test_a_manifest_comes_back_and_a_wrong_one_is_named() -> None:
    assert read_manifest(MANIFEST.to_bytes()) == MANIFEST
    assert read_manifest(replace(MANIFEST, tables=()).to_bytes()).tables == ()
    stored = orjson.loads(MANIFEST.to_bytes())
    with pytest.raises(NewerFormat, match=r"control-plane\.json has format 2"):
        read_manifest(orjson.dumps({**stored, "format": 2}))
    for wrong in (b"", b"[]", orjson.dumps({**stored, "tables": 5}), orjson.dumps({**stored, "made_at": "x"})):
        with pytest.raises(Damaged, match=r"control-plane\.json is damaged"):
            read_manifest(wrong)


@pytest.mark.parametrize("revision", ["9999", None])
@pytest.mark.parametrize("act", [restore_folder, try_plane])
def test_a_database_with_a_schema_that_this_release_lacks_is_refused_in_words(
    tmp_path: Path, revision: str | None, act: Callable[[Repository, Kept, Path, Tally, float], object]
) -> None:
    source, repository = tmp_path / "source", Repository.open(new_store(), [KEY])
    source.mkdir()
    db = Database(f"sqlite:///{source / SQLITE_FILE}")
    migrate(db)
    db.close()
    with closing(sqlite3.connect(source / SQLITE_FILE)) as connection:
        connection.execute(
            "UPDATE alembic_version SET version_num = ?" if revision else "DROP TABLE alembic_version",
            (revision,) if revision else (),
        )
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.commit()
    (source / MANIFEST_FILE).write_bytes(Manifest("sqlite", revision or "", 5.0).to_bytes())
    about = About("control-plane", facts={FACT: "1"})
    snapshot = create_snapshot(repository, Source(source), about, options=Options(lanes=1, now=Clock())).snapshot
    words = (
        f"the database of {snapshot.id} has the schema 9999, which this release does not know: use the newer release"
        if revision
        else f"the database of {snapshot.id} is not a control plane's database: it has no schema of one"
    )
    with pytest.raises(BackupError) as refused:
        act(repository, Kept(repository, snapshot), tmp_path / "out", Tally(), 1.0)
    assert str(refused.value) == words
