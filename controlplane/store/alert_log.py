"""Stored alerts: instances, and the history of their transitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from alerts.errors import NotReadable, NotStored
from alerts.interfaces import AlertInstance, AlertState, Transition
from alerts.received import RECEIVED
from alerts.rule_ids import RuleIds
from alerts.state import removed
from alerts.stored import checked, reading
from alerts.wire import INSTANCE_FORMAT, instance_from_json, instance_to_json
from collectors.samples import labels_of
from controlplane.errors import NotFound, NotStorable
from controlplane.store.alert_rows import EVENTS, INSTANCES, Found, read_row, read_rows, readable_instances, row_key
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.revision import touch
from controlplane.store.stored import Unread
from controlplane.store.tables.alerts import AlertEventRow, AlertInstanceRow
from controlplane.store.unreadable import preserve

LOOK_BACK = 10
"""Maximum number of transitions of one alert that are tried to read it. Chosen."""
ACTIVE = (AlertState.FIRING.value, AlertState.PENDING.value)


class AlertEvent(NamedTuple):
    """One stored transition. `instance` is the alert after the transition; `at` is unix seconds."""

    id: int
    at: float
    fingerprint: str
    before: AlertState
    after: AlertState
    sentence: str
    instance: AlertInstance


def no_lease() -> Lease | None:
    """Return None: tests and tools that are the only process need no lease."""
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
            query = select(AlertInstanceRow).where(AlertInstanceRow.rule == rule)
            return sorted(readable_instances(session, self._db.unread, query), key=lambda i: i.labels)

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        """Replace a rule's instances and append its transitions, in one transaction.

        Raises LeaseLost when another process now evaluates the rules, Unavailable, and alerts.errors.NotStored for an
        alert that the database cannot hold. Nothing was written then.
        """
        try:
            with self._db.transaction() as session:
                check_lease(session, self._lease())
                put_rule(session, self._db.unread, rule, instances)
                append_history(session, transitions)
        except NotStorable as error:
            raise NotStored(f"its alerts cannot be stored: {error}") from error

    def retire(self, rules: Collection[str], at: float) -> list[Transition]:
        """Resolve the active alerts of rules that are not in `rules` (they left the configuration).

        Return the transitions. The alerts stay as resolved ones, so that receivers are notified. A rule whose file
        only moved to another path keeps its alerts. Alerts of other senders have no rule and stay. Raises LeaseLost.
        """
        ids = RuleIds(rules)
        with self._db.transaction() as session:
            check_lease(session, self._lease())
            _rename(session, ids)
            query = select(AlertInstanceRow).where(col(AlertInstanceRow.state).in_(ACTIVE))
            gone = []
            for row, found in read_rows(session, self._db.unread, query):
                if ids.meant(row.rule) == row.rule or row.rule.startswith(RECEIVED):
                    continue
                _keep(session, row, found)
                if found.instance is None:
                    session.delete(row)  # the rule is gone too: no evaluation would ever replace this row
                else:
                    gone.append((row, removed(found.instance, at)))
            for row, transition in gone:
                _change(row, _changes(row, transition.instance))
            append_history(session, [transition for _, transition in gone])
            return [transition for _, transition in gone]

    def active(self, state: AlertState | None = None, limit: int = 10_000) -> list[AlertInstance]:
        """Return firing and pending alerts (or those of one state), firing first, then the oldest first."""
        states = ACTIVE if state is None else (state.value,)
        order = (col(AlertInstanceRow.state), col(AlertInstanceRow.active_at), col(AlertInstanceRow.fingerprint))
        query = select(AlertInstanceRow).where(col(AlertInstanceRow.state).in_(states)).order_by(*order).limit(limit)
        with self._db.reading() as session:
            return readable_instances(session, self._db.unread, query)

    def active_by_rule(self) -> dict[str, list[AlertInstance]]:
        """Return every readable firing and pending alert, by rule."""
        found: dict[str, list[AlertInstance]] = {}
        with self._db.reading() as session:
            query = select(AlertInstanceRow).where(col(AlertInstanceRow.state).in_(ACTIVE))
            for row, read in read_rows(session, self._db.unread, query):
                if read.instance is not None:
                    found.setdefault(row.rule, []).append(read.instance)
        return found

    def received_rules(self) -> list[str]:
        """Return the rule ids of the stored alerts of other senders."""
        with self._db.reading() as session:
            query = select(AlertInstanceRow.rule).where(
                col(AlertInstanceRow.rule).startswith(RECEIVED, autoescape=True)
            )
            return list(session.exec(query.distinct()))

    def counts(self) -> dict[AlertState, int]:
        """Return the numbers of firing and pending alerts, without those of severity none (Watchdog)."""
        query = (
            select(AlertInstanceRow.state, func.count())
            .where(col(AlertInstanceRow.state).in_(ACTIVE), col(AlertInstanceRow.severity) != "none")
            .group_by(AlertInstanceRow.state)
        )
        with self._db.reading() as session:
            found = {AlertState(state): count for state, count in session.exec(query)}
        return {AlertState(state): found.get(AlertState(state), 0) for state in ACTIVE}

    def resolved(self, limit: int = 100) -> list[AlertInstance]:
        """Return the alerts that stopped firing last, newest first. They come from the history: no row is needed."""
        query = (
            select(AlertEventRow)
            .where(AlertEventRow.before == AlertState.FIRING.value, AlertEventRow.after == AlertState.INACTIVE.value)
            .order_by(col(AlertEventRow.id).desc())
            .limit(limit)
        )
        with self._db.reading() as session:
            return self._db.unread.readable(EVENTS, session.exec(query), _event_key, _instance_after)

    def by_fingerprint(self, fingerprint: str) -> AlertInstance | None:
        """Return the alert with this fingerprint, or its last state in the history. None when there is neither."""
        with self._db.reading() as session:
            query = select(AlertInstanceRow).where(AlertInstanceRow.fingerprint == fingerprint)
            rows = readable_instances(session, self._db.unread, query)
            # Two rules may yield the same labels: firing comes before pending, and pending before inactive.
            found = sorted(rows, key=lambda i: (i.state is AlertState.INACTIVE, i.state))
            if found:
                return found[0]
            events = session.exec(_history(fingerprint).limit(LOOK_BACK))
            return next(iter(self._db.unread.readable(EVENTS, events, _event_key, _instance_after)), None)

    def get(self, fingerprint: str) -> AlertInstance:
        """Return the alert with this fingerprint, or its last state in the history. Raises NotFound."""
        found = self.by_fingerprint(fingerprint)
        if found is None:
            raise NotFound(f"there is no alert {fingerprint}, active or resolved; `cp alerts list` lists them")
        return found

    def history(self, fingerprint: str, limit: int = 100) -> list[AlertEvent]:
        """Return an alert's transitions, newest first."""
        with self._db.reading() as session:
            return self._events(session.exec(_history(fingerprint).limit(limit)))

    def recent(self, limit: int = 100) -> list[AlertEvent]:
        """Return the transitions of all alerts, newest first."""
        with self._db.reading() as session:
            query = select(AlertEventRow).order_by(col(AlertEventRow.id).desc()).limit(limit)
            return self._events(session.exec(query))

    def between(self, since: float, until: float, limit: int) -> list[AlertEvent]:
        """Return the transitions from `since` to before `until` (unix seconds), oldest first, `limit` at most."""
        at = col(AlertEventRow.at)
        query = select(AlertEventRow).where(at >= since, at < until).order_by(at, col(AlertEventRow.id)).limit(limit)
        with self._db.reading() as session:
            return self._events(session.exec(query))

    def since(self, after: int, limit: int = 100) -> list[AlertEvent]:
        """Return the transitions after the one of id `after`, oldest first."""
        with self._db.reading() as session:
            while True:
                query = select(AlertEventRow).where(col(AlertEventRow.id) > after).order_by(col(AlertEventRow.id))
                rows = session.exec(query.limit(limit)).all()
                # A page without one readable row is not the end: a reader would stay at that page for ever.
                if (found := self._events(rows)) or len(rows) < limit:
                    return found
                after = rows[-1].id or after

    def _events(self, rows: Iterable[AlertEventRow]) -> list[AlertEvent]:
        """Return the readable events. An event with a damaged alert has only the alert's name and the sentence."""
        pairs = self._db.unread.sort_out(EVENTS, rows, _event_key, _instance_after)
        events = [_event(row, _outline(row) if instance is None else instance) for row, instance in pairs]
        return [event for event in events if event is not None]

    def prune(self, before: float) -> int:
        """Delete transitions before a time. Return how many."""
        with self._db.transaction() as session:
            gone = delete(AlertEventRow).where(col(AlertEventRow.at) < before).returning(col(AlertEventRow.id))
            return len(session.execute(gone).all())


def put_rule(session: Session, unread: Unread, rule: str, instances: Sequence[AlertInstance]) -> None:
    """Replace a rule's instances, in the caller's transaction. Unreadable rows are preserved (store.unreadable).

    Rows that stay as they are cost a comparison: a rule may have thousands of alerts, and few change at a time.
    """
    wanted = {instance.fingerprint: instance for instance in instances}
    for row in session.exec(select(AlertInstanceRow).where(AlertInstanceRow.rule == rule)).all():
        instance = wanted.pop(row.fingerprint, None)
        changes = {} if instance is None else _changes(row, instance)
        if instance is not None and not changes:
            unread.forget(INSTANCES, row_key(row))
            continue
        _keep(session, row, read_row(session, unread, row))
        if instance is None:
            session.delete(row)
        _change(row, changes)
    session.add_all(AlertInstanceRow(**_values(instance)) for instance in wanted.values())


def append_history(session: Session, transitions: Sequence[Transition]) -> None:
    """Append transitions to the history and notify the console, in the caller's transaction."""
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
        # Values change at every evaluation: the console is notified of transitions only.
        touch(session, "alerts", instance.fingerprint)


def read_instances(session: Session, unread: Unread) -> list[AlertInstance]:
    """Return every readable instance, inactive ones included, in the caller's transaction."""
    # Columns and not rows of the session: an object for each of thousands of alerts would cost more than reading them.
    columns = AlertInstanceRow.__table__.columns  # type: ignore[attr-defined]  # SQLModel declares no __table__
    return readable_instances(session, unread, select(*columns))


def _rename(session: Session, ids: RuleIds) -> None:
    """Move stored alerts to the ids that their rules have in this process, unless the same alert is stored there."""
    for rule in session.exec(select(AlertInstanceRow.rule).distinct()).all():
        meant = ids.meant(rule)
        if meant is None or meant == rule:
            continue
        own = select(AlertInstanceRow.fingerprint).where(AlertInstanceRow.rule == meant)
        stored = update(AlertInstanceRow).where(col(AlertInstanceRow.rule) == rule)
        session.execute(stored.where(col(AlertInstanceRow.fingerprint).not_in(own)).values(rule=meant))


def _history(fingerprint: str) -> SelectOfScalar[AlertEventRow]:
    return select(AlertEventRow).where(AlertEventRow.fingerprint == fingerprint).order_by(col(AlertEventRow.id).desc())


def _change(row: AlertInstanceRow, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def _changes(row: AlertInstanceRow, instance: AlertInstance) -> dict[str, Any]:
    """Return the columns that differ from an instance."""
    return {name: value for name, value in _values(instance).items() if getattr(row, name) != value}


def _values(instance: AlertInstance) -> dict[str, Any]:
    labels = dict(instance.labels)
    return {
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
        "format": INSTANCE_FORMAT,
    }


def _keep(session: Session, row: AlertInstanceRow, found: Found) -> None:
    if found.fault:
        preserve(session, row, row_key(row), found.fault)


def _event_key(row: AlertEventRow) -> str:
    return str(row.id)


def _instance_after(row: AlertEventRow) -> AlertInstance:
    return instance_from_json(row.instance)


def _outline(row: AlertEventRow) -> AlertInstance | None:
    """Return an alert with a damaged document from its columns alone. Only for display, never for a decision."""
    try:
        with reading():
            labels = labels_of({"alertname": row.name})
            return checked(AlertInstance(row.rule, labels, (), AlertState(row.after), math.nan, row.at))
    except NotReadable:
        return None


def _event(row: AlertEventRow, instance: AlertInstance | None) -> AlertEvent | None:
    try:
        before, after = AlertState(row.before), AlertState(row.after)
    except ValueError:
        return None
    if instance is None or row.id is None:
        return None
    return AlertEvent(row.id, row.at, row.fingerprint, before, after, row.sentence, instance)
