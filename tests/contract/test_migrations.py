"""Migrations make exactly the schema that the tables declare, all or nothing, however many processes start at once."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from alembic import command
from sqlalchemy import inspect, text

from controlplane.errors import ConfigError
from controlplane.store.audit import AuditStore, audit
from controlplane.store.database import Database
from controlplane.store.migrate import differences, migrate
from controlplane.store.revision import RevisionStore, touch
from tests.patience import PROCESS_S


def tables(db: Database) -> set[str]:
    return set(inspect(db.engine).get_table_names())


def test_a_migrated_database_has_the_schema_that_the_tables_declare(empty_database: Database) -> None:
    assert tables(empty_database) == set()

    migrate(empty_database)

    assert {"alembic_version", "lease", "outbox", "alert_instance", "rollout", "ledger"} <= tables(empty_database)
    assert differences(empty_database) == []


def test_a_schema_that_differs_is_noticed(empty_database: Database) -> None:
    migrate(empty_database)
    with empty_database.transaction() as session:
        session.execute(text("ALTER TABLE audit DROP COLUMN detail"))
        session.execute(text("DROP INDEX ix_outbox_due"))

    assert sorted(difference[0] for difference in differences(empty_database)) == ["add_column", "add_index"]


def test_migrating_again_keeps_what_is_there(empty_database: Database) -> None:
    migrate(empty_database)
    with empty_database.transaction() as session:
        audit(session, "ops", "rollout.start", "model/chat", "v1 to v2", 1.0)

    migrate(empty_database)

    assert len(AuditStore(empty_database).recent(10)) == 1


def test_a_migration_that_fails_leaves_nothing(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = command.upgrade

    def break_off(*args: Any) -> None:
        upgrade(*args)
        raise ZeroDivisionError

    monkeypatch.setattr(command, "upgrade", break_off)
    with pytest.raises(ZeroDivisionError):
        migrate(empty_database)

    assert tables(empty_database) == set()


def test_processes_that_start_at_once_migrate_once(empty_database: Database) -> None:
    url = empty_database.engine.url.render_as_string(hide_password=False)
    program = (
        "import sys; from controlplane.store.database import Database; from controlplane.store.migrate import migrate;"
        "sys.stdin.readline(); migrate(Database(sys.argv[1]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()

    assert [(p.communicate(timeout=PROCESS_S)[1], p.returncode) for p in processes] == [(b"", 0)] * 3
    assert differences(empty_database) == []


def test_a_database_of_a_newer_version_is_refused_and_not_touched(empty_database: Database) -> None:
    migrate(empty_database)
    with empty_database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(ConfigError, match=r"a schema that this version does not know .*9999.*: run the version"):
        migrate(empty_database)


def test_revision_numbers_are_not_reused_on_a_migrated_database(empty_database: Database) -> None:
    migrate(empty_database)
    for _ in range(2):
        with empty_database.transaction() as session:
            touch(session, "alerts")
    with empty_database.transaction() as session:
        session.execute(text("DELETE FROM revision"))
        touch(session, "alerts")

    assert [r.id for r in RevisionStore(empty_database).since(0)] == [3]
