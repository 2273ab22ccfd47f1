"""Stored alerts: instances, and the history of their transitions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Text, and_, cast, delete, false, func, or_, true, update
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from alerts.errors import NotReadable, NotStored
from alerts.interfaces import AlertInstance, AlertState, Transition
from alerts.received import RECEIVED
from alerts.routing.matchers import Matcher, all_match
from alerts.rule_ids import RuleIds
from alerts.state import removed
from alerts.stored import checked, reading
from alerts.wire import instance_from_json
from collectors.samples import Labels, labels_of
from controlplane.errors import NotFound, NotStorable
from controlplane.store.alert_rows import EVENTS, read_rows, readable_instances
from controlplane.store.alerting.mirror import Mirror
from controlplane.store.alerting.writing import (
    append_history,
    change,
    changes_of,
    keep_damaged,
    put_changes,
    put_rule,
)
from controlplane.store.database import Database, slices
from controlplane.store.lease import Lease, check_lease
from controlplane.store.stored import Unread
from controlplane.store.tables.alerts import AlertEventRow, AlertInstanceRow

PAGE, MOST_SCANNED = 1000, 10_000
"""Transitions that are read at once, and in all, to find those of some labels. Chosen: a fraction of a second."""
LOOK_BACK = 10
"""Maximum number of transitions of one alert that are tried to read it. Chosen."""
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]+")
_COLUMNS = AlertInstanceRow.__table__.columns  # type: ignore[attr-defined]  # SQLModel declares no __table__
"""Columns and not rows of the session: an object for each of thousands of alerts would cost more than reading them."""
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

    `lease` returns the lease under which this process evaluates; every write checks it and raises LeaseLost. With a
    `mirror` a write costs what has changed, and not what is stored. Only the holder of the lease may have one.
    """

    def __init__(
        self, db: Database, lease: Callable[[], Lease | None] = no_lease, mirror: Mirror | None = None
    ) -> None:
        self._db, self._lease, self._mirror = db, lease, mirror

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
        lease = self._lease()
        known = None if self._mirror is None else self._mirror.under(lease)
        before = None if known is None else known.of(rule)
        try:
            with self._db.transaction() as session:
                check_lease(session, lease)
                if before is None or not put_changes(session, before, instances):
                    put_rule(session, self._db.unread, rule, instances)
                append_history(session, transitions)
        except BaseException as error:
            if self._mirror is not None:
                self._mirror.forget()  # an error of a commit does not tell whether it took place
            if isinstance(error, NotStorable):
                raise NotStored(f"its alerts cannot be stored: {error}") from error
            raise
        if self._mirror is not None and known is not None:
            self._mirror.wrote(known, rule, instances)

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
                keep_damaged(session, row, found)
                if found.instance is None:
                    session.delete(row)  # the rule is gone too: no evaluation would ever replace this row
                else:
                    gone.append((row, removed(found.instance, at)))
            for row, transition in gone:
                change(row, changes_of(row, transition.instance))
            append_history(session, [transition for _, transition in gone])
        if self._mirror is not None:
            self._mirror.forget()
        return [transition for _, transition in gone]

    def active(
        self, state: AlertState | None = None, limit: int = 10_000, only: Sequence[Matcher] = ()
    ) -> list[AlertInstance]:
        """Return firing and pending alerts (or those of one state), firing first, then the oldest first.

        `only` keeps those whose labels match all of these; `limit` counts what is kept.
        """
        states = ACTIVE if state is None else (state.value,)
        order = (col(AlertInstanceRow.state), col(AlertInstanceRow.active_at), col(AlertInstanceRow.fingerprint))
        query = select(*_COLUMNS).where(col(AlertInstanceRow.state).in_(states)).order_by(*order)
        query = query.where(*_may_match(col(AlertInstanceRow.labels), only)).limit(None if only else limit)
        with self._db.reading() as session:
            return _matching(readable_instances(session, self._db.unread, query), only)[:limit]

    def returning(self) -> list[AlertInstance]:
        """Return the alerts that fired more than once of late, whatever their state: those that may flap."""
        with self._db.reading() as session:
            query = select(*_COLUMNS).where(col(AlertInstanceRow.changes).is_not(None))
            return readable_instances(session, self._db.unread, query)

    def active_among(self, fingerprints: Sequence[str]) -> set[str]:
        """Return those of these fingerprints whose alert fires or is pending."""
        found: set[str] = set()
        with self._db.reading() as session:
            for some in slices(fingerprints):
                query = select(AlertInstanceRow.fingerprint).where(col(AlertInstanceRow.fingerprint).in_(some))
                found |= set(session.exec(query.where(col(AlertInstanceRow.state).in_(ACTIVE))))
        return found

    def firing_labels(self, among: Sequence[Mapping[str, str]]) -> list[Labels]:
        """Return the labels of every firing alert that has all label values of one of `among`, and perhaps of others.

        Only the labels `alertname` and `severity` narrow the result. Damaged rows are left out.
        """
        columns = {"alertname": col(AlertInstanceRow.name), "severity": col(AlertInstanceRow.severity)}
        kinds = [
            and_(true(), *(column == values[name] for name, column in columns.items() if name in values))
            for values in among
        ]
        query = select(AlertInstanceRow.labels).where(
            AlertInstanceRow.state == AlertState.FIRING.value, or_(false(), *kinds)
        )
        with self._db.reading() as session:
            return [labels_of(labels) for labels in session.exec(query) if _is_texts(labels)]

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

    def resolved(self, limit: int = 100, only: Sequence[Matcher] = ()) -> list[AlertInstance]:
        """Return the alerts that stopped firing last, newest first. They come from the history: no row is needed.

        `only` keeps those whose labels match all of these, among the newest MOST_SCANNED that may.
        """
        ended = col(AlertEventRow.id)
        query = (
            select(AlertEventRow)
            .where(AlertEventRow.before == AlertState.FIRING.value, AlertEventRow.after == AlertState.INACTIVE.value)
            .where(*_may_match(col(AlertEventRow.instance), only))
            .order_by(ended.desc())
        )
        found: list[AlertInstance] = []
        size, scanned = limit if not only else PAGE, 0
        with self._db.reading() as session:
            rows = session.exec(query.limit(size)).all()
            while rows:
                read = self._db.unread.readable(EVENTS, rows, _event_key, _instance_after)
                found += _matching(read, only)
                scanned += len(rows)
                if not only or len(found) >= limit or len(rows) < size or scanned >= MOST_SCANNED:
                    break
                rows = session.exec(query.where(ended < rows[-1].id).limit(size)).all()
        return found[:limit]

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


def _may_match(column: ColumnElement[Any] | Mapped[Any], only: Sequence[Matcher]) -> list[ColumnElement[bool]]:
    """Return conditions that hold for every document with these labels, and for few others.

    They look for the value in the document's text. A value that JSON may write in several ways is not looked for.
    """
    values = [one.value for one in only if one.names_a_value and _PLAIN.fullmatch(one.value)]
    return [cast(column, Text).contains(f'"{value}"', autoescape=True) for value in values]


def _matching(found: list[AlertInstance], only: Sequence[Matcher]) -> list[AlertInstance]:
    return [one for one in found if all_match(only, dict(one.labels))] if only else found


def _is_texts(labels: Any) -> bool:
    return isinstance(labels, dict) and all(isinstance(value, str) for value in labels.values())


def read_instances(session: Session, unread: Unread) -> list[AlertInstance]:
    """Return every readable instance, inactive ones included, in the caller's transaction."""
    return readable_instances(session, unread, select(*_COLUMNS))


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
