"""Rollouts, their events, and the stable version of each model."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from controlplane.store.stored import StoredJson


class RolloutRow(SQLModel, table=True):
    """One attempt to move a model from one version to another."""

    __tablename__ = "rollout"

    id: str = Field(primary_key=True)
    model: str = Field(index=True)
    active_model: str | None = Field(default=None, unique=True)
    """The model while the rollout runs, NULL afterwards. Being unique, it allows one running rollout for each model."""
    from_version: str
    to_version: str
    kind: str
    strategy: str
    phase: str
    ok: bool | None = None
    switched: bool = False
    sentence: str
    turn_back: str = ""
    """The operator's request to roll back. Only the service writes it; the engine writes all other columns."""
    created_by: str
    created_at: float = Field(index=True)
    updated_at: float
    finished_at: float | None = None
    idempotency_key: str | None = Field(default=None, unique=True)
    request: str = ""
    """The request that the idempotency key was first used for."""
    state: dict[str, Any] = Field(default_factory=dict, sa_column=Column(StoredJson, nullable=False))
    """Intents, deadlines and the driver's configuration: the engine needs them to go on after a crash."""


class RolloutEventRow(SQLModel, table=True):
    """One sentence of a rollout's history. Rows are only ever added."""

    __tablename__ = "rollout_event"

    id: int | None = Field(default=None, primary_key=True)
    rollout_id: str = Field(index=True, foreign_key="rollout.id")
    at: float
    phase: str
    sentence: str


class ModelStateRow(SQLModel, table=True):
    """The stored state of one model. `stable` of fleet.yaml is only the initial value of a new row."""

    __tablename__ = "model_state"

    model: str = Field(primary_key=True)
    stable: str
    previous: str | None = None
    observation: dict[str, Any] | None = Field(
        default=None, sa_column=Column(StoredJson(none_as_null=True), nullable=True)
    )
    observed_at: float | None = None
    drift: str = ""
    """A sentence when an engine serves another version than `stable` without a rollout; "" otherwise."""


class RolloutWishRow(SQLModel, table=True):
    """One wish of an operator for a running rollout: pause, resume, approve, full. Rows are only ever added."""

    __tablename__ = "rollout_wish"

    id: int | None = Field(default=None, primary_key=True)
    rollout_id: str = Field(index=True, foreign_key="rollout.id")
    verb: str
    actor: str
    role: str
    at: float
    step: int
    reason: str = ""
    ends: str = ""
    """Name of the wait of the step that a resume ends."""


class RolloutFindingRow(SQLModel, table=True):
    """The finding of one work of a rollout. Rows are kept as long as the rollout."""

    __tablename__ = "rollout_finding"

    id: int | None = Field(default=None, primary_key=True)
    rollout_id: str = Field(index=True, foreign_key="rollout.id")
    kind: str
    name: str
    step: int
    number: int
    since: float
    at: float
    outcome: str
    document: dict[str, Any] = Field(default_factory=dict, sa_column=Column(StoredJson, nullable=False))
    """Reasons and samples."""
    carry: str = ""
    """The worker's own data. Only the latest finding of a kind and name has it: it may be large."""


class VersionQuarantineRow(SQLModel, table=True):
    """One quarantine of a version that was rolled back. It holds until somebody lifts it."""

    __tablename__ = "version_quarantine"

    id: int | None = Field(default=None, primary_key=True)
    model: str = Field(index=True)
    version: str
    since: float
    rollout_id: str
    reason: str
    lifted_at: float | None = None
    lifted_by: str = ""
    lifted_because: str = ""
