"""Migration of a database to the schema of this version, at start-up.

`python -m controlplane.store.migrate "Add a column"` writes the next migration: the differences between the tables in
the code and the schema that the existing migrations create.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from controlplane.errors import ConfigError
from controlplane.store.database import Database, Patience

_MIGRATION_LOCK = 0x63705F6D6967
"""Key of the PostgreSQL advisory lock under which one process at a time migrates ("cp_mig")."""

_PATIENCE = Patience(connections=1, more=0, answer_s=0)
"""A large table may take long to change."""


def migrate(db: Database) -> None:
    """Upgrade to the newest schema, all or nothing. No-op when it is current. Several processes may call it at once.

    Raises ConfigError when a newer version of the program wrote the database, and Unavailable.
    """
    patient = db.apart(_PATIENCE)
    try:
        _migrate(patient)
    finally:
        patient.close()


def stored_revision(connection: Connection) -> str | None:
    """Return the revision of the database's schema, such as `0012`. None: it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def is_known(connection: Connection, revision: str) -> bool:
    """Return whether this version has the migration that makes a revision."""
    return any(
        script.revision == revision for script in ScriptDirectory.from_config(_config(connection)).walk_revisions()
    )


def upgrade_to(connection: Connection, revision: str = "head") -> None:
    """Upgrade the schema in the caller's transaction. `revision` is one that `is_known`, or `head` for the newest."""
    command.upgrade(_config(connection), revision)


def _migrate(db: Database) -> None:
    with db.transaction() as session:
        connection = session.connection()
        if not db.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        try:
            command.upgrade(_config(connection), "head")
        except CommandError as error:
            raise ConfigError(
                f"{db.place} has a schema that this version does not know ({error}): run the version that wrote it "
                "or a later one, or restore a backup from before",
                field="database",
            ) from error


def differences(db: Database) -> list[Any]:
    """Return the differences between the database's schema and the tables as alembic operations. Empty: none."""
    with db.transaction() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        return list(compare_metadata(context, SQLModel.metadata))


def write_migration(message: str) -> Path:
    """Write the next migration: the differences between the tables and the existing migrations. Return its file."""
    with tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{folder}/schema.db")
        migrate(db)
        with db.transaction() as session:
            config = _config(session.connection())
            number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
            script = command.revision(config, message, autogenerate=True, rev_id=f"{number:04}")
        db.close()
    assert script is not None
    assert not isinstance(script, list)
    return Path(script.path)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


if __name__ == "__main__":
    write_migration(" ".join(sys.argv[1:]))
