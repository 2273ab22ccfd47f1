"""Steps of running rollouts, written together: each with all that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, insert, select, text, update
from sqlmodel import Session, col

from alerts.interfaces import Message
from alerts.wire import message_to_json
from controlplane.store.audit import audit
from controlplane.store.outbox import enqueue
from controlplane.store.revision import touch
from controlplane.store.rollout_rows.findings import FindingRecord, add_findings
from controlplane.store.rollout_rows.quarantines import Quarantine, put
from controlplane.store.rollout_rows.records import COLUMNS, EventRecord, RolloutRecord, StableChange, columns_of
from controlplane.store.tables.rollouts import RolloutEventRow, RolloutRow

ENGINE_ACTOR = "rollout-engine"
MESSAGE_KIND = "rollout"
"""Kind of rollouts' messages in the outbox."""
_SERVICES = ("id", "turn_back", "created_at", "created_by", "idempotency_key", "request")
"""Columns that the engine does not write: they never change, or the service writes them."""
_WRITTEN = tuple(name for name in COLUMNS if name not in _SERVICES)
_STABLE = text("UPDATE model_state SET stable = :stable, previous = :previous, drift = '' WHERE model = :of")


class StepChange(NamedTuple):
    """One step of a running rollout, and what follows from it."""

    record: RolloutRecord
    events: Sequence[EventRecord] = ()
    stable: StableChange | None = None
    messages: Sequence[Message] = ()
    findings: Sequence[FindingRecord] = ()
    quarantine: Quarantine | None = None


def save_steps(session: Session, changes: Sequence[StepChange]) -> frozenset[str]:
    """Write steps of running rollouts. Return the ids of those that an operator ended meanwhile: nothing is written.

    An operator ends a rollout by closing it, or by a request to go back that its last step did not see. `turn_back`
    stays as it is in the database: the service writes it.
    """
    ids = [change.record.id for change in changes]
    columns = select(col(RolloutRow.id), col(RolloutRow.turn_back))
    running = columns.where(col(RolloutRow.id).in_(ids), col(RolloutRow.active_model).is_not(None))
    asked = {row.id: row.turn_back for row in session.execute(running.with_for_update())}
    open_ids = {c.record.id for c in changes if c.record.id in asked and not _missed(c.record, asked[c.record.id])}
    kept = [change for change in changes if change.record.id in open_ids]
    if kept:
        table = RolloutRow.__table__  # type: ignore[attr-defined]
        written = update(table).where(table.c.id == bindparam("of")).values({n: bindparam(n) for n in _ROW})
        session.connection().execute(written, [_values(change.record) for change in kept])
        events = [
            {"rollout_id": change.record.id, "at": event.at, "phase": event.phase, "sentence": event.sentence}
            for change in kept
            for event in change.events
        ]
        if events:
            session.connection().execute(insert(RolloutEventRow), events)
    stables = [
        {"of": change.record.model, "stable": change.stable.stable, "previous": change.stable.previous}
        for change in kept
        if change.stable is not None
    ]
    if stables:
        session.connection().execute(_STABLE, stables)
    add_findings(session, [(change.record.id, finding) for change in kept for finding in change.findings])
    for change in kept:
        _follow(session, change)
    return frozenset(ids) - open_ids


def ended(record: RolloutRecord) -> str:
    """Return in words why a step was not written."""
    return f"rollout {record.id} of model {record.model} was closed by an operator, or is to go back; nothing is done"


def _missed(record: RolloutRecord, turn_back: str) -> bool:
    """Return whether a step ends a rollout without having seen the request to go back."""
    ends = record.finished_at is not None or record.state.get("ending") is not None
    return ends and turn_back != "" and record.turn_back == ""


_ROW = (*_WRITTEN, "active_model")


def _values(record: RolloutRecord) -> dict[str, object]:
    active = None if record.finished_at is not None else record.model
    values = columns_of(record)
    return {"of": record.id, "active_model": active, **{name: values[name] for name in _WRITTEN}}


def _follow(session: Session, change: StepChange) -> None:
    """Write what follows from a step."""
    record = change.record
    if change.stable is not None:
        touch(session, "models", record.model)
    if change.quarantine is not None:
        put(session, change.quarantine)
    if record.finished_at is not None:
        sentence = f"rollout {record.id} {record.phase}: {record.sentence}"
        audit(session, ENGINE_ACTOR, "rollout.finish", f"model/{record.model}", sentence, record.updated_at)
    tell(session, change.messages, record.updated_at)
    touch(session, "rollouts", record.id)


def tell(session: Session, messages: Sequence[Message], at: float) -> None:
    """Put messages of a rollout into the outbox."""
    for message in messages:
        payload = message_to_json(message)
        enqueue(session, MESSAGE_KIND, message.receiver, message.id, payload, at, lane=message.group_key)


def add_event(session: Session, rollout_id: str, event: EventRecord) -> None:
    """Append a sentence to a rollout's history."""
    session.add(RolloutEventRow(rollout_id=rollout_id, at=event.at, phase=event.phase, sentence=event.sentence))
    touch(session, "rollouts", rollout_id)
