"""A control plane's backup brings its database back, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

from controlplane.backup.drills import plane
from controlplane.backup.drills.drill import drill
from controlplane.backup.errors import BackupError, Damaged
from controlplane.backup.plane import postgres_copy
from controlplane.backup.plane.bring_back import Kept, restore_folder, restore_postgres
from controlplane.backup.plane.collect import collect
from controlplane.backup.plane.manifest import FACT, SQLITE_FILE
from controlplane.backup.repository import Repository
from controlplane.backup.sources.walk import Source
from controlplane.backup.tally import Tally
from controlplane.backup.writing.create import About, Options, create_snapshot
from controlplane.config.loader import load_fleet
from controlplane.store.audit import AuditStore, audit
from controlplane.store.backups.restored import RAISED_BY, hold_of
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.migrate import differences, migrate
from controlplane.store.outbox import OutboxStatus, OutboxStore, enqueue
from controlplane.store.tables.rollouts import RolloutEventRow, RolloutRow
from tests.contract.conftest import PostgresServer
from tests.unit.controlplane.backup.world import KEY, Clock, new_store

MADE, RESTORED = 1_000.0, 2_000.0
AWKWARD = "a tab\t, a new line\n, a back\\slash, \\N, \\., 'quotes\" and größe 模型"
CHANGED = {"lease", "outbox", "restoration", "audit", "alembic_version"}
"""Tables that a restoration changes."""


def fill(db: Database) -> None:
    """Write a running rollout, messages, a lease, and a row whose number must not be given again."""
    migrate(db)
    LeaseStore(db).acquire("rollouts", "host/1", 30.0)
    with db.transaction() as session:
        state = {"text": AWKWARD, "share": 0.1, "none": None}
        rollout = RolloutRow(
            id="r-1", model="chat", active_model="chat", from_version="v1", to_version="v2", kind="promote",
            strategy="canary", phase="shifting", sentence=AWKWARD, created_by="ann", created_at=0.1 + 0.2,
            updated_at=2.0, state=state,
        )  # fmt: skip
        session.add(rollout)
        session.flush()
        session.add(RolloutEventRow(rollout_id="r-1", at=1.0, phase="shifting", sentence=AWKWARD))
        for number in range(3):
            enqueue(session, "test", "slack", f"m-{number}", {"text": AWKWARD}, 1.0)
            audit(session, "ann", "rollout.start", "model/chat", AWKWARD, float(number))
    with db.transaction() as session:
        session.execute(text("DELETE FROM audit WHERE id = 3"))


def rows(db: Database) -> dict[str, list[Any]]:
    with db.reading() as session:
        connection = session.connection()
        names = inspect(connection).get_table_names()
        return {name: sorted(map(repr, connection.execute(text(f'SELECT * FROM "{name}"')))) for name in names}


def url_of(db: Database) -> str:
    return db.engine.url.render_as_string(hide_password=False)


def saved(db: Database, folder: Path) -> tuple[Repository, Kept]:
    """Back the control plane of `db` up. Its fleet.yaml names one rule file."""
    (folder / "etc" / "rules").mkdir(parents=True)
    (folder / "etc" / "rules" / "own.yml").write_text("groups: []\n")
    (folder / "etc" / "fleet.yaml").write_text("fleet: {name: test}\nrules: [builtin:llm, rules/*.yml]\n")
    (folder / "staged").mkdir()
    manifest = collect(url_of(db), load_fleet(folder / "etc" / "fleet.yaml"), folder / "staged", MADE)
    repository = Repository.open(new_store(), [KEY])
    about = About("control-plane", facts={FACT: "1", "database": manifest.database})
    made = create_snapshot(repository, Source(folder / "staged"), about, options=Options(lanes=1, now=Clock()))
    repository.refresh()
    return repository, Kept(repository, made.snapshot)


def brought_back(db: Database, folder: Path, request: pytest.FixtureRequest) -> tuple[Kept, Database]:
    repository, kept = saved(db, folder)
    if db.is_sqlite:
        restore_folder(repository, kept, folder / "out", Tally(), RESTORED)
        return kept, Database(f"sqlite:///{folder / 'out' / SQLITE_FILE}")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.url(server.fresh())
    restore_postgres(kept, url, RESTORED)
    return kept, Database(url)


def test_every_row_comes_back_and_what_would_act_is_held(
    empty_database: Database, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fill(empty_database)
    before = rows(empty_database)
    kept, restored = brought_back(empty_database, tmp_path, request)
    try:
        after = rows(restored)
        assert before.keys() == after.keys()
        assert {name for name in before if before[name] != after[name]} <= CHANGED
        assert differences(restored) == []
        hold = hold_of(restored)
        assert hold is not None
        assert (hold.snapshot, hold.taken_at, hold.messages, hold.rollouts) == (kept.snapshot.id, MADE, 3, 1)
        messages = OutboxStore(restored).recent(10)
        assert [(m.message_id, m.status, m.payload["text"]) for m in messages] == [
            (f"m-{number}", OutboxStatus.HELD, AWKWARD) for number in (2, 1, 0)
        ]
        (lease,) = LeaseStore(restored).list()
        assert (lease.holder, lease.epoch) == ("", 1 + RAISED_BY)
        # PostgreSQL's numbers go on after those of rows that were deleted. SQLite's never did.
        number = 3 if restored.is_sqlite else 4
        assert [(act.id, act.action) for act in AuditStore(restored).recent(1)] == [(number, "database.restore")]
    finally:
        restored.close()


def test_a_drill_counts_every_row_and_finds_a_damaged_database(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(empty_database)
    there = {name: len(found) for name, found in rows(empty_database).items()}
    repository, kept = saved(empty_database, tmp_path)
    scratch = tmp_path / "scratch"
    done = drill(repository, kept.snapshot, scratch, tally=Tally(), now=lambda: RESTORED)
    assert done.counted is not None and list(scratch.iterdir()) == []
    if empty_database.is_sqlite:
        there["restoration"], there["audit"] = 1, there["audit"] + 1  # the restoration has added them
    else:
        del there["alembic_version"]  # the manifest has it
    assert (done.counted.tables, done.counted.rows) == (len(there), sum(there.values()))

    def torn(file: Path, *_: Any) -> Any:
        raise Damaged(f"the database {file}", "row 3 missing from index ix_audit")

    monkeypatch.setattr(plane, "restore_folder" if empty_database.is_sqlite else "_lines", torn)
    with pytest.raises(Damaged, match="row 3 missing"):
        drill(repository, kept.snapshot, scratch, tally=Tally())
    assert list(scratch.iterdir()) == []


def test_the_configuration_is_in_the_backup(empty_database: Database, tmp_path: Path) -> None:
    migrate(empty_database)
    _, kept = saved(empty_database, tmp_path)
    etc = tmp_path / "etc"
    assert dict(kept.manifest.config) == {
        "config/fleet.yaml": str(etc / "fleet.yaml"),
        "config/rules/own.yml": str(etc / "rules" / "own.yml"),
    }
    for path, was in kept.manifest.config.items():
        assert b"".join(kept.content(path)) == Path(was).read_bytes()


@pytest.mark.needs("postgres")
def test_writes_during_the_copy_are_not_in_it(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    database = Database(postgres_server.url(postgres_server.fresh()))
    fill(database)
    original = postgres_copy._copy_out

    def disturbed(connection: Connection, name: str, columns: tuple[str, ...], folder: Path) -> Any:
        with database.transaction() as session:
            audit(session, "bob", "meanwhile", name, "", 9.0)
        return original(connection, name, columns, folder)

    monkeypatch.setattr(postgres_copy, "_copy_out", disturbed)
    _, restored = brought_back(database, tmp_path, request)
    database.close()
    try:
        assert [act.actor for act in AuditStore(restored).recent(100)] == ["backup", "ann", "ann"]
    finally:
        restored.close()


@pytest.mark.needs("postgres")
def test_a_database_with_tables_is_refused_and_stays_as_it_is(postgres_server: PostgresServer, tmp_path: Path) -> None:
    source, target = (Database(postgres_server.url(postgres_server.fresh())) for _ in range(2))
    fill(source)
    migrate(target)
    before = rows(target)
    _, kept = saved(source, tmp_path)
    with pytest.raises(BackupError, match=r"is not empty: it has .*alembic_version, "):
        restore_postgres(kept, url_of(target), RESTORED)
    assert rows(target) == before
    source.close()
    target.close()


@pytest.mark.needs("postgres")
def test_an_import_that_fails_leaves_the_database_empty(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = (Database(postgres_server.url(postgres_server.fresh())) for _ in range(2))
    fill(source)
    _, kept = saved(source, tmp_path)
    original = kept.content
    for content, error in (
        (lambda path: [b"not a row\n"], BackupError),
        (lambda path: [] if "audit" in path else original(path), Damaged),
    ):
        monkeypatch.setattr(kept, "content", content)
        with pytest.raises(error, match=r"could not be filled, and is as it was|the manifest says 2"):
            restore_postgres(kept, url_of(target), RESTORED)
        assert rows(target) == {}
    source.close()
    target.close()


def test_a_schema_of_a_newer_release_and_another_database_are_refused(empty_database: Database, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"not a control plane's database|there is no database"):
        saved(empty_database, tmp_path / "without")
    migrate(empty_database)
    with empty_database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(BackupError, match="the schema 9999, which this release does not know"):
        saved(empty_database, tmp_path / "newer")
