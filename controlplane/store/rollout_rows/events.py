"""Histories of all rollouts together."""

from __future__ import annotations

from typing import NamedTuple

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from controlplane.store.tables.rollouts import RolloutEventRow, RolloutRow


class ModelEvent(NamedTuple):
    """One sentence of a rollout's history, with the rollout and its model."""

    id: int
    at: float
    rollout_id: str
    model: str
    phase: str
    sentence: str


def newest_events(session: Session, limit: int) -> list[ModelEvent]:
    """Return the events of all rollouts, newest first."""
    query = _events().order_by(col(RolloutEventRow.id).desc()).limit(limit)
    return [_event(row, model) for row, model in session.exec(query)]


def events_between(session: Session, since: float, until: float, limit: int) -> list[ModelEvent]:
    """Return the events of all rollouts from `since` to before `until` (unix seconds), newest first."""
    times = (col(RolloutEventRow.at) >= since, col(RolloutEventRow.at) < until)
    query = _events().where(*times).order_by(col(RolloutEventRow.id).desc()).limit(limit)
    return [_event(row, model) for row, model in session.exec(query)]


def events_since(session: Session, after: int, limit: int) -> list[ModelEvent]:
    """Return the events of all rollouts after the event of id `after`, oldest first."""
    query = _events().where(col(RolloutEventRow.id) > after).order_by(col(RolloutEventRow.id)).limit(limit)
    return [_event(row, model) for row, model in session.exec(query)]


def _events() -> Select[RolloutEventRow, str]:
    return select(RolloutEventRow, RolloutRow.model).where(RolloutEventRow.rollout_id == RolloutRow.id)


def _event(row: RolloutEventRow, model: str) -> ModelEvent:
    return ModelEvent(row.id or 0, row.at, row.rollout_id, model, row.phase, row.sentence)
