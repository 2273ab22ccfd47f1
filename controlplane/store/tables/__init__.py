"""Tables, one module for each noun. Times are unix seconds. Rows stay inside the store; its callers get records."""

from __future__ import annotations

from sqlmodel import SQLModel

# Set before any table is defined: a later migration cannot change a constraint without a name.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

from controlplane.store.tables import (  # noqa: E402
    alerts,
    audit,
    backup,
    gateway,
    heartbeats,
    holds,
    lease,
    ledger,
    outbox,
    received,
    replica,
    restoration,
    revision,
    rollouts,
    rotas,
    schedule,
    token,
    unreadable,
    versions,
)

__all__ = [
    "alerts",
    "audit",
    "backup",
    "gateway",
    "heartbeats",
    "holds",
    "lease",
    "ledger",
    "outbox",
    "received",
    "replica",
    "restoration",
    "revision",
    "rollouts",
    "rotas",
    "schedule",
    "token",
    "unreadable",
    "versions",
]
