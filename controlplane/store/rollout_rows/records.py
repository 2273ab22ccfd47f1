"""Stored rollouts and models as values. Rows stay inside the store."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from controlplane.store.rollout_rows.wishes import WishRecord
from controlplane.store.tables.rollouts import ModelStateRow, RolloutRow


@dataclass(frozen=True)
class RolloutRecord:
    """A stored rollout. Times are unix seconds; `state` is the rollout engine's JSON."""

    id: str
    model: str
    from_version: str
    to_version: str
    kind: str
    strategy: str
    phase: str
    ok: bool | None
    switched: bool
    sentence: str
    turn_back: str
    created_by: str
    created_at: float
    updated_at: float
    finished_at: float | None
    idempotency_key: str | None
    request: str
    state: dict[str, Any] = field(default_factory=dict)
    wishes: tuple[WishRecord, ...] = ()
    """Operators' wishes, oldest first, in records of running rollouts. They are rows of their own."""


COLUMNS = tuple(each.name for each in fields(RolloutRecord) if each.name != "wishes")


class EventRecord(NamedTuple):
    """One sentence of a rollout's history."""

    at: float
    phase: str
    sentence: str


@dataclass(frozen=True)
class ModelRecord:
    """A stored model. `observation` is the JSON of its writer; None: never observed.

    Damaged JSON is a store.stored.Damaged, as in RolloutRecord.state.
    """

    model: str
    stable: str
    previous: str | None
    observation: dict[str, Any] | None
    observed_at: float | None
    drift: str


class StableChange(NamedTuple):
    """The model's new stable version, and the version that a rollback goes to (None: there is none)."""

    stable: str
    previous: str | None


class ModelMark(NamedTuple):
    """The stable version of a model, and the unix seconds of its last observation."""

    stable: str
    observed_at: float | None


class Stamp(NamedTuple):
    """Marks that change with each write of a running rollout."""

    updated_at: float
    turn_back: str
    wish: int | None
    """Id of the newest wish."""


def record_of(row: RolloutRow) -> RolloutRecord:
    """Return the record of a row, without its wishes."""
    return RolloutRecord(**{name: getattr(row, name) for name in COLUMNS})


def columns_of(record: RolloutRecord) -> dict[str, Any]:
    """Return the values of a row's columns."""
    return {name: getattr(record, name) for name in COLUMNS}


def model_of(row: ModelStateRow) -> ModelRecord:
    """Return the record of a model's row."""
    return ModelRecord(**{each.name: getattr(row, each.name) for each in fields(ModelRecord)})
