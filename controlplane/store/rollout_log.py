"""Stored rollouts: one row each, their histories, and every model's stable version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import func, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from alerts.interfaces import Message
from controlplane.errors import Conflict, NotFound
from controlplane.store.audit import audit
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.revision import touch
from controlplane.store.rollout_rows.events import ModelEvent, events_between, events_since, newest_events
from controlplane.store.rollout_rows.findings import LATEST, FindingRecord, findings_of
from controlplane.store.rollout_rows.quarantines import Quarantine, lift, quarantined
from controlplane.store.rollout_rows.records import (
    EventRecord,
    ModelMark,
    ModelRecord,
    RolloutRecord,
    StableChange,
    Stamp,
    columns_of,
    model_of,
    record_of,
)
from controlplane.store.rollout_rows.saving import StepChange, add_event, ended, save_steps, tell
from controlplane.store.rollout_rows.wishes import WishRecord, add_wish, wishes_of
from controlplane.store.tables.rollouts import ModelStateRow, RolloutEventRow, RolloutRow

_ANY = text("SELECT 1 FROM rollout LIMIT 1")
_STAMPS = text(
    "SELECT id, updated_at, turn_back, (SELECT max(w.id) FROM rollout_wish w WHERE w.rollout_id = rollout.id) "
    "FROM rollout WHERE active_model IS NOT NULL"
)
_MARKS = text("SELECT model, stable, observed_at FROM model_state")
_ACTIVE = text("SELECT 1 FROM rollout WHERE active_model IS NOT NULL LIMIT 1")


class RolloutLog:
    """Reads and writes rollouts. Synchronous; callers on an event loop use a thread."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def seed(self, model: str, stable: str) -> ModelRecord:
        """Return the stored model. A model that is not stored yet starts at `stable`. Raises Unavailable."""
        known = self.model(model)
        if known is None:
            self.seed_all({model: stable})
            known = self.model(model)
        assert known is not None  # rows of models are never deleted
        return known

    def seed_all(self, stables: Mapping[str, str]) -> dict[str, ModelMark]:
        """Store each model that is not stored yet with its stable version, in one transaction.

        Return the marks of all stored models. Raises Unavailable.
        """
        insert = sqlite.insert if self._db.is_sqlite else postgresql.insert
        fresh = insert(ModelStateRow).on_conflict_do_nothing(index_elements=["model"])
        rows = [{"model": model, "stable": stable, "drift": ""} for model, stable in stables.items()]
        with self._db.transaction() as session:
            session.connection().execute(fresh, rows)
            for model in stables:
                touch(session, "models", model)
            return _marks(session)

    def model(self, model: str) -> ModelRecord | None:
        """Return the stored model. None: the rollout engine has not observed it yet."""
        with self._db.reading() as session:
            row = session.get(ModelStateRow, model)
            return None if row is None else model_of(row)

    def models(self) -> dict[str, ModelRecord]:
        """Return the stored models by name."""
        with self._db.reading() as session:
            return {row.model: model_of(row) for row in session.exec(select(ModelStateRow))}

    def active(self) -> list[RolloutRecord]:
        """Return every rollout that has not finished."""
        # The usual case, every few seconds. The ORM's query costs three times as much.
        if self._db.first(_ACTIVE) is None:
            return []
        with self._db.reading() as session:
            rows = session.exec(select(RolloutRow).where(col(RolloutRow.active_model).is_not(None))).all()
            return _with_wishes(session, rows)

    def stamps(self) -> dict[str, Stamp]:
        """Return the stamps of the running rollouts by id. A rollout with the same stamp was not written since."""
        with self._db.reading() as session:
            return {row[0]: Stamp(*row[1:]) for row in session.connection().execute(_STAMPS)}

    def running(self, rollout_ids: Sequence[str]) -> list[RolloutRecord]:
        """Return those of these rollouts that have not finished."""
        wanted = select(RolloutRow).where(col(RolloutRow.id).in_(rollout_ids))
        with self._db.reading() as session:
            rows = session.exec(wanted.where(col(RolloutRow.active_model).is_not(None))).all()
            return _with_wishes(session, rows)

    def marks(self) -> dict[str, ModelMark]:
        """Return the stable version and the last observation's time of every stored model."""
        with self._db.reading() as session:
            return _marks(session)

    def recent(self, model: str | None = None, limit: int = 50) -> list[RolloutRecord]:
        """Return the newest rollouts first, of all models or of `model`."""
        query = select(RolloutRow).order_by(col(RolloutRow.created_at).desc(), col(RolloutRow.id).desc()).limit(limit)
        if model is not None:
            query = query.where(RolloutRow.model == model)
        with self._db.reading() as session:
            return [record_of(row) for row in session.exec(query)]

    def newest(self) -> list[RolloutRecord]:
        """Return the newest rollout of each model."""
        if self._db.first(_ANY) is None:
            return []
        latest = select(RolloutRow.model, func.max(RolloutRow.created_at).label("at")).group_by(RolloutRow.model)
        found = latest.subquery()
        query = select(RolloutRow).join(
            found, (col(RolloutRow.model) == found.c.model) & (col(RolloutRow.created_at) == found.c.at)
        )
        with self._db.reading() as session:
            rows = session.exec(query.order_by(col(RolloutRow.model), col(RolloutRow.id)))
            return _with_wishes(session, list({row.model: row for row in rows}.values()))

    def get(self, rollout_id: str) -> RolloutRecord:
        """Return one rollout. Raises NotFound."""
        with self._db.reading() as session:
            return _with_wishes(session, [_row(session, rollout_id)])[0]

    def events(self, rollout_id: str) -> list[EventRecord]:
        """Return a rollout's history, oldest first."""
        with self._db.reading() as session:
            query = select(RolloutEventRow).where(RolloutEventRow.rollout_id == rollout_id)
            return [
                EventRecord(r.at, r.phase, r.sentence) for r in session.exec(query.order_by(col(RolloutEventRow.id)))
            ]

    def recent_events(self, limit: int) -> list[ModelEvent]:
        """Return the events of all rollouts, newest first."""
        with self._db.reading() as session:
            return newest_events(session, limit)

    def events_between(self, since: float, until: float, limit: int) -> list[ModelEvent]:
        """Return the events of all rollouts from `since` to before `until` (unix seconds), newest first."""
        with self._db.reading() as session:
            return events_between(session, since, until, limit)

    def events_since(self, after: int, limit: int) -> list[ModelEvent]:
        """Return the events of all rollouts after the event of id `after`, oldest first."""
        with self._db.reading() as session:
            return events_since(session, after, limit)

    def by_key(self, idempotency_key: str) -> RolloutRecord | None:
        """Return the rollout that was started with this idempotency key, or None."""
        with self._db.reading() as session:
            row = session.exec(select(RolloutRow).where(RolloutRow.idempotency_key == idempotency_key)).one_or_none()
            return None if row is None else record_of(row)

    def start(self, record: RolloutRecord, messages: Sequence[Message] = (), set_by_hand: Sequence[str] = ()) -> None:
        """Store a new rollout, its first event, its audit rows and its notifications in one transaction.

        `set_by_hand` are sentences about options and gates that its author changed; each is an audit row of its own.

        Raises Conflict when the model has a running rollout or the idempotency key was used meanwhile.
        """
        try:
            with self._db.transaction() as session:
                running = session.exec(select(RolloutRow).where(RolloutRow.active_model == record.model)).first()
                if running is not None:
                    raise Conflict(
                        f"rollout {running.id} of model {record.model} is running ({running.phase}: {running.sentence})"
                    )
                session.add(RolloutRow(**columns_of(record), active_model=record.model))
                session.flush()
                add_event(session, record.id, EventRecord(record.created_at, record.phase, record.sentence))
                audit(
                    session,
                    record.created_by,
                    f"rollout.{record.kind}",
                    f"model/{record.model}",
                    f"{record.from_version} -> {record.to_version} by {record.strategy} (rollout {record.id})",
                    record.created_at,
                )
                for sentence in set_by_hand:
                    detail = f"rollout {record.id}: {sentence}"
                    audit(
                        session, record.created_by, "rollout.option", f"model/{record.model}", detail, record.created_at
                    )
                tell(session, messages, record.created_at)
        except IntegrityError as error:
            raise Conflict(
                f"another rollout of model {record.model} was started at the same moment; see `cp rollouts list`"
            ) from error

    def request_turn_back(self, rollout_id: str, reason: str, actor: str, action: str, at: float) -> RolloutRecord:
        """Store the request to roll a running rollout back. A repeated request changes nothing.

        Raises NotFound, and Conflict when the rollout has finished.
        """
        with self._db.transaction() as session:
            session.execute(select(RolloutRow.id).where(col(RolloutRow.id) == rollout_id).with_for_update())
            row = _row(session, rollout_id)
            if row.active_model is None:
                raise _ended(row, "abort")
            if not row.turn_back:
                row.turn_back = reason
                session.add(row)
                add_event(session, row.id, EventRecord(at, row.phase, f"{reason}."))
                audit(session, actor, action, f"model/{row.model}", f"rollout {row.id}: {reason}", at)
            return record_of(row)

    def wish(self, rollout_id: str, wish: Callable[[RolloutRecord], WishRecord | None]) -> RolloutRecord:
        """Store a wish for a running rollout. `wish` returns it for the stored rollout; None: it changes nothing.

        An error that `wish` raises is raised, and nothing is stored. Raises NotFound.
        """
        with self._db.transaction() as session:
            query = select(RolloutRow).where(RolloutRow.id == rollout_id).with_for_update()
            row = session.exec(query).one_or_none() or _row(session, rollout_id)
            (record,) = _with_wishes(session, [row])
            made = wish(record)
            if made is None:
                return record
            add_wish(session, rollout_id, made)
            because = f": {made.reason}" if made.reason else ""
            add_event(session, row.id, EventRecord(made.at, row.phase, f"{made.actor}: {made.verb}{because}."))
            detail = f"rollout {row.id}, step {made.step + 1}{because}"
            audit(session, made.actor, f"rollout.{made.verb}", f"model/{row.model}", detail, made.at)
            return replace(record, wishes=(*record.wishes, made))

    def findings(self, rollout_id: str, limit: int) -> list[FindingRecord]:
        """Return the newest findings of a rollout, oldest first. Raises NotFound."""
        with self._db.reading() as session:
            _row(session, rollout_id)
            return findings_of(session, rollout_id, limit)

    def latest_finding(self, rollout_id: str, kind: str, name: str) -> FindingRecord | None:
        """Return the latest finding of a kind and name with the worker's own data, or None."""
        # Each look reads the one before, of hundreds of models. The ORM's query costs five times as much.
        row = self._db.first(LATEST, rollout_id=rollout_id, kind=kind, name=name)
        return None if row is None else FindingRecord._make(row)

    def quarantines(self, model: str | None = None) -> list[Quarantine]:
        """Return the versions in quarantine, of all models or of `model`, oldest first."""
        with self._db.reading() as session:
            return quarantined(session, model)

    def lift(self, model: str, version: str, actor: str, reason: str, at: float) -> Quarantine | None:
        """Lift the quarantine of a version, with its audit row. None: the version is in no quarantine."""
        with self._db.transaction() as session:
            lifted = lift(session, model, version, actor, reason, at)
            if lifted is not None:
                detail = f"{version}, in quarantine since rollout {lifted.rollout_id}: {reason}"
                audit(session, actor, "quarantine.lift", f"model/{model}", detail, at)
                touch(session, "models", model)
            return lifted

    def close(self, rollout_id: str, sentence: str, actor: str, at: float) -> RolloutRecord:
        """End a running rollout as failed. Its stored state is not read and stays as it is.

        Raises NotFound, and Conflict when the rollout has finished.
        """
        with self._db.transaction() as session:
            row = _row(session, rollout_id)
            if row.active_model is None:
                raise _ended(row, "close")
            row.active_model, row.phase, row.ok, row.sentence = None, "failed", False, sentence
            row.finished_at = row.updated_at = at
            session.add(row)
            add_event(session, row.id, EventRecord(at, row.phase, sentence))
            audit(session, actor, "rollout.close", f"model/{row.model}", f"rollout {row.id}: {sentence}", at)
            touch(session, "models", row.model)
            return record_of(row)

    def save(
        self,
        record: RolloutRecord,
        events: Sequence[EventRecord],
        stable: StableChange | None,
        lease: Lease | None,
        messages: Sequence[Message] = (),
        findings: Sequence[FindingRecord] = (),
        quarantine: Quarantine | None = None,
    ) -> None:
        """Store a running rollout with all that its step changes, in one transaction.

        Raises LeaseLost, and Conflict for a rollout that an operator ended meanwhile. Nothing was written then.
        """
        change = StepChange(record, events, stable, messages, findings, quarantine)
        if self.save_all([change], lease):
            raise Conflict(ended(record))

    def save_all(self, changes: Sequence[StepChange], lease: Lease | None) -> frozenset[str]:
        """Store steps of several running rollouts in one transaction.

        Return the ids of those that an operator ended meanwhile: nothing of them is written. Raises LeaseLost.
        """
        with self._db.transaction() as session:
            check_lease(session, lease)
            return save_steps(session, changes)

    def damaged_models(self) -> frozenset[str]:
        """Return the models whose stored row could not be read when this process last read it."""
        return frozenset(row.key for row in self._db.unread.rows() if row.table == ModelStateRow.__tablename__)

    def observed(self, model: str, observation: dict[str, Any], drift: str, at: float, lease: Lease | None) -> None:
        """Store the observation of a model's engines at unix second `at`. Raises LeaseLost."""
        self.observed_all({model: (observation, drift)}, (), at, lease)

    def observed_all(
        self, changed: Mapping[str, tuple[dict[str, Any], str]], same: Sequence[str], at: float, lease: Lease | None
    ) -> None:
        """Store observations and drift of models at unix second `at`, in one transaction. Raises LeaseLost.

        The observations of the models in `same` are as they were: only their time is new.
        """
        with self._db.transaction() as session:
            check_lease(session, lease)
            for row in session.exec(select(ModelStateRow).where(col(ModelStateRow.model).in_(changed))):
                observation, drift = changed[row.model]
                if row.observation != observation or row.drift != drift:
                    touch(session, "models", row.model)
                row.observation, row.observed_at, row.drift = observation, at, drift
                session.add(row)
            if same:
                states = update(ModelStateRow).where(col(ModelStateRow.model).in_(same))
                session.execute(states.values(observed_at=at))


def _marks(session: Session) -> dict[str, ModelMark]:
    return {row[0]: ModelMark(*row[1:]) for row in session.connection().execute(_MARKS)}


def _row(session: Session, rollout_id: str) -> RolloutRow:
    row = session.get(RolloutRow, rollout_id)
    if row is None:
        raise NotFound(f"there is no rollout {rollout_id}; `cp rollouts list` names them")
    return row


def _ended(row: RolloutRow, verb: str) -> Conflict:
    """Return the refusal of a verb on a rollout that has ended."""
    told = f"{row.phase}: {row.sentence}"
    return Conflict(f"rollout {row.id} of model {row.model} has ended ({told}); there is nothing to {verb}")


def _with_wishes(session: Session, rows: Sequence[RolloutRow]) -> list[RolloutRecord]:
    wishes = wishes_of(session, [row.id for row in rows])
    return [replace(record_of(row), wishes=wishes.get(row.id, ())) for row in rows]
