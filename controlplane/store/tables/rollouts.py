"""Rollouts, what happened in them, and which version of each model is stable."""

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
    """The model while the rollout runs, NULL afterwards: the database itself allows one running rollout a model."""
    from_version: str
    to_version: str
    kind: str
    strategy: str
    phase: str
    ok: bool | None = None
    switched: bool = False
    sentence: str
    turn_back: str = ""
    """Who asked for it to be turned back, and why. Written by the service only, everything else by the engine."""
    created_by: str
    created_at: float = Field(index=True)
    updated_at: float
    finished_at: float | None = None
    idempotency_key: str | None = Field(default=None, unique=True)
    request: str = ""
    """What the idempotency key was first used for."""
    state: dict[str, Any] = Field(default_factory=dict, sa_column=Column(StoredJson, nullable=False))
    """Intents, deadlines and the driver's configuration: what the engine needs to go on after a crash."""


class RolloutEventRow(SQLModel, table=True):
    """One sentence of a rollout's history. Rows are only ever added."""

    __tablename__ = "rollout_event"

    id: int | None = Field(default=None, primary_key=True)
    rollout_id: str = Field(index=True, foreign_key="rollout.id")
    at: float
    phase: str
    sentence: str


class ModelStateRow(SQLModel, table=True):
    """What the control plane knows of one model: fleet.yaml's `stable` only seeds a fresh row."""

    __tablename__ = "model_state"

    model: str = Field(primary_key=True)
    stable: str
    previous: str | None = None
    observation: dict[str, Any] | None = Field(
        default=None, sa_column=Column(StoredJson(none_as_null=True), nullable=True)
    )
    observed_at: float | None = None
    drift: str = ""
    """A sentence when the engines serve something else than `stable` and no rollout explains it."""
