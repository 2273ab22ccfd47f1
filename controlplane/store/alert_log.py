"""The durable memory of alerting: instances, and the history of their transitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from alerts.errors import NotStored
from alerts.interfaces import AlertInstance, AlertState, Transition
from alerts.rule_ids import RuleIds
from alerts.state import removed
from alerts.wire import annotations_of, instance_from_json, instance_to_json
from collectors.samples import labels_of
from controlplane.errors import NotStorable
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.revision import touch
from controlplane.store.tables.alerts import AlertEventRow, AlertInstanceRow

ACTIVE = (AlertState.FIRING.value, AlertState.PENDING.value)


class AlertEvent(NamedTuple):
    """One transition as read. `instance` is the alert as it was after it; `at` is unix seconds."""

    id: int
    at: float
    fingerprint: str
    before: AlertState
    after: AlertState
    sentence: str
    instance: AlertInstance


def no_lease() -> Lease | None:
    """Stand in for a lease in tests and tools that are alone."""
    return None


class SqlAlertLog:
    """Implements alerts.interfaces.AlertLog, and the listings of the API.

    `lease` returns the lease under which this process evaluates; every write checks it and raises LeaseLost.
    """

    def __init__(self, db: Database, lease: Callable[[], Lease | None] = no_lease) -> None:
        self._db, self._lease = db, lease

    def load(self, rule: str) -> Sequence[AlertInstance]:
        """Return a rule's instances as last recorded, ordered by labels."""
        with self._db.reading() as session:
            rows = session.exec(select(AlertInstanceRow).where(AlertInstanceRow.rule == rule)).all()
            return sorted((_instance(row) for row in rows), key=lambda i: i.labels)

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        """Replace a rule's instances and append its transitions, in one transaction.

        Raises LeaseLost when another process evaluates by now, Unavailable, and alerts.errors.NotStored for an alert
        that the database cannot hold; nothing was written then.
        """
        try:
            with self._db.transaction() as session:
                check_lease(session, self._lease())
                put_rule(session, rule, instances)
                append_history(session, transitions)
        except NotStorable as error:
            raise NotStored(f"its alerts cannot be stored: {error}") from error

    def retire(self, rules: Collection[str], at: float) -> list[Transition]:
        """End the active alerts of rules that are not in `rules` (they left the configuration), and return how.

        They stay as resolved ones, so that receivers are told. A rule whose file only lies elsewhere keeps its alerts.
        Raises LeaseLost.
        """
        ids = RuleIds(rules)
        with self._db.transaction() as session:
            check_lease(session, self._lease())
            _rename(session, ids)
            rows = session.exec(select(AlertInstanceRow).where(col(AlertInstanceRow.state).in_(ACTIVE))).all()
            gone = [(row, removed(_instance(row), at)) for row in rows if ids.meant(row.rule) != row.rule]
            for row, transition in gone:
                _write(session, row, transition.instance)
            append_history(session, [transition for _, transition in gone])
            return [transition for _, transition in gone]

    def active(self, state: AlertState | None = None, limit: int = 10_000) -> list[AlertInstance]:
        """Return firing and pending alerts (or those of one state), firing first, then the oldest first."""
        states = ACTIVE if state is None else (state.value,)
        order = (col(AlertInstanceRow.state), col(AlertInstanceRow.active_at), col(AlertInstanceRow.fingerprint))
        query = select(AlertInstanceRow).where(col(AlertInstanceRow.state).in_(states)).order_by(*order).limit(limit)
        with self._db.reading() as session:
            return [_instance(row) for row in session.exec(query)]

    def active_by_rule(self) -> dict[str, list[AlertInstance]]:
        """Return every firing and pending alert, by rule."""
        found: dict[str, list[AlertInstance]] = {}
        with self._db.reading() as session:
            for row in session.exec(select(AlertInstanceRow).where(col(AlertInstanceRow.state).in_(ACTIVE))):
                found.setdefault(row.rule, []).append(_instance(row))
        return found

    def counts(self) -> dict[AlertState, int]:
        """Return how many alerts fire and pend; those of severity none (the Watchdog) are not counted."""
        query = (
            select(AlertInstanceRow.state, func.count())
            .where(col(AlertInstanceRow.state).in_(ACTIVE), col(AlertInstanceRow.severity) != "none")
            .group_by(AlertInstanceRow.state)
        )
        with self._db.reading() as session:
            found = {AlertState(state): count for state, count in session.exec(query)}
        return {AlertState(state): found.get(AlertState(state), 0) for state in ACTIVE}

    def resolved(self, limit: int = 100) -> list[AlertInstance]:
        """Return the alerts that last left firing, newest first, from the history: no row need be left of them."""
        query = (
            select(AlertEventRow)
            .where(AlertEventRow.before == AlertState.FIRING.value, AlertEventRow.after == AlertState.INACTIVE.value)
            .order_by(col(AlertEventRow.id).desc())
            .limit(limit)
        )
        with self._db.reading() as session:
            return [instance_from_json(row.instance) for row in session.exec(query)]

    def by_fingerprint(self, fingerprint: str) -> AlertInstance | None:
        """Return an alert as it stands, or as its history last saw it; None when it never was."""
        with self._db.reading() as session:
            rows = session.exec(select(AlertInstanceRow).where(AlertInstanceRow.fingerprint == fingerprint)).all()
            # Two rules may yield the same labels: firing comes before inactive and pending by name, oldest first.
            found = sorted((_instance(r) for r in rows), key=lambda i: (i.state is AlertState.INACTIVE, i.state))
            if found:
                return found[0]
            event = session.exec(_history(fingerprint).limit(1)).first()
            return None if event is None else instance_from_json(event.instance)

    def history(self, fingerprint: str, limit: int = 100) -> list[AlertEvent]:
        """Return an alert's transitions, newest first."""
        with self._db.reading() as session:
            return [_event(row) for row in session.exec(_history(fingerprint).limit(limit))]

    def recent(self, limit: int = 100) -> list[AlertEvent]:
        """Return the transitions of all alerts, newest first."""
        with self._db.reading() as session:
            query = select(AlertEventRow).order_by(col(AlertEventRow.id).desc()).limit(limit)
            return [_event(row) for row in session.exec(query)]

    def since(self, after: int, limit: int = 100) -> list[AlertEvent]:
        """Return the transitions after the one of id `after`, oldest first."""
        with self._db.reading() as session:
            query = select(AlertEventRow).where(col(AlertEventRow.id) > after).order_by(col(AlertEventRow.id))
            return [_event(row) for row in session.exec(query.limit(limit))]

    def prune(self, before: float) -> int:
        """Delete history before a time; return how many transitions went."""
        with self._db.transaction() as session:
            gone = delete(AlertEventRow).where(col(AlertEventRow.at) < before).returning(col(AlertEventRow.id))
            return len(session.execute(gone).all())


def put_rule(session: Session, rule: str, instances: Sequence[AlertInstance]) -> None:
    """Replace a rule's instances, in the caller's transaction."""
    query = select(AlertInstanceRow).where(AlertInstanceRow.rule == rule)
    old = {row.fingerprint: row for row in session.exec(query)}
    for instance in instances:
        _write(session, old.pop(instance.fingerprint, None), instance)
    for row in old.values():
        session.delete(row)


def append_history(session: Session, transitions: Sequence[Transition]) -> None:
    """Append transitions to the history, and tell the console, in the caller's transaction."""
    for transition in transitions:
        instance = transition.instance
        session.add(
            AlertEventRow(
                at=transition.at,
                rule=instance.rule,
                fingerprint=instance.fingerprint,
                name=dict(instance.labels).get("alertname", ""),
                before=transition.before.value,
                after=transition.after.value,
                sentence=transition.sentence,
                instance=instance_to_json(instance),
            )
        )
        # Values refresh at every evaluation; the console is told of transitions only.
        touch(session, "alerts", instance.fingerprint)


def read_instances(session: Session) -> list[AlertInstance]:
    """Return every instance, inactive ones included, in the caller's transaction."""
    return [_instance(row) for row in session.exec(select(AlertInstanceRow))]


def _rename(session: Session, ids: RuleIds) -> None:
    """Give alerts the ids that their rules have in this process, unless these have such alerts of their own."""
    for rule in session.exec(select(AlertInstanceRow.rule).distinct()).all():
        meant = ids.meant(rule)
        if meant is None or meant == rule:
            continue
        own = select(AlertInstanceRow.fingerprint).where(AlertInstanceRow.rule == meant)
        stored = update(AlertInstanceRow).where(col(AlertInstanceRow.rule) == rule)
        session.execute(stored.where(col(AlertInstanceRow.fingerprint).not_in(own)).values(rule=meant))


def _history(fingerprint: str) -> SelectOfScalar[AlertEventRow]:
    return select(AlertEventRow).where(AlertEventRow.fingerprint == fingerprint).order_by(col(AlertEventRow.id).desc())


def _write(session: Session, row: AlertInstanceRow | None, instance: AlertInstance) -> None:
    labels = dict(instance.labels)
    values: dict[str, Any] = {
        "rule": instance.rule,
        "fingerprint": instance.fingerprint,
        "name": labels.get("alertname", ""),
        "severity": labels.get("severity", ""),
        "labels": labels,
        "annotations": dict(instance.annotations),
        "state": instance.state.value,
        "value": None if math.isnan(instance.value) else instance.value,
        "active_at": instance.active_at,
        "fired_at": instance.fired_at,
        "keep_firing_since": instance.keep_firing_since,
        "resolved_at": instance.resolved_at,
        "unknown_since": instance.unknown_since,
        "away": list(instance.away),
    }
    if row is None:
        session.add(AlertInstanceRow(**values))
        return
    for name, value in values.items():
        if getattr(row, name) != value:
            setattr(row, name, value)


def _instance(row: AlertInstanceRow) -> AlertInstance:
    return AlertInstance(
        rule=row.rule,
        labels=labels_of(row.labels),
        annotations=annotations_of(row.annotations),
        state=AlertState(row.state),
        value=math.nan if row.value is None else row.value,
        active_at=row.active_at,
        fired_at=row.fired_at,
        keep_firing_since=row.keep_firing_since,
        resolved_at=row.resolved_at,
        unknown_since=row.unknown_since,
        away=tuple(row.away),
    )


def _event(row: AlertEventRow) -> AlertEvent:
    assert row.id is not None
    before, after = AlertState(row.before), AlertState(row.after)
    return AlertEvent(row.id, row.at, row.fingerprint, before, after, row.sentence, instance_from_json(row.instance))
