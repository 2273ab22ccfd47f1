"""Alembic's entry point. It runs only through controlplane.store.migrate, which passes the connection."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Render SQLModel's string type as SQLAlchemy's: migrations must not depend on SQLModel's version."""
    return "sa.String()" if kind == "type" and isinstance(item, AutoString) else False


# render_as_batch: SQLite alters a table by copying it.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
