"""Stored alert groups. A group's state and the message that it causes are stored in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from alerts.dispatch import Decide, Deliveries, GroupState, GroupStep, Picture, ToldFlap
from alerts.errors import NotReadable
from alerts.interfaces import MessageRef
from alerts.sender import KIND
from alerts.stored import Document, Upgrade, checked, items, reading, upgraded
from alerts.wire import instance_from_json, instance_to_json, message_to_json
from collectors.samples import labels_of
from controlplane.errors import NotStorable
from controlplane.store.alert_log import no_lease, read_instances
from controlplane.store.alert_rows import GROUPS
from controlplane.store.alerting.happened import read_happened
from controlplane.store.alerting.mirror import Mirror
from controlplane.store.database import Database, part, slices
from controlplane.store.holding.acknowledgements import read_holds
from controlplane.store.lease import Lease, check_lease
from controlplane.store.outbox import OutboxStatus, Queued, enqueue_all
from controlplane.store.revision import touch
from controlplane.store.stored import Unread
from controlplane.store.tables.alerts import AlertGroupRow
from controlplane.store.tables.outbox import OutboxRow
from controlplane.store.unreadable import preserve

log = logging.getLogger(__name__)


def _unchanged(row: Document) -> Document:
    """Upgrade a row of before formats were counted, or before groups had `held` or `flaps`, whose defaults are []."""
    return row


_UPGRADES: tuple[Upgrade, ...] = (_unchanged, _unchanged, _unchanged)
FORMAT = len(_UPGRADES)
"""Format number of a group's row. The alerts in `notified` have their own format number."""
_PUT_ROOT = (
    update(AlertGroupRow)
    .where(col(AlertGroupRow.key) == bindparam("of_key"), col(AlertGroupRow.generation) == bindparam("of_generation"))
    .values(root_place=bindparam("place"))
)
_COLUMNS = ("key", "receiver", "generation", "sequence", "is_open", "opened_at", "notified_at")


class SqlGroupLog:
    """Implements alerts.dispatch.GroupLog. `lease` returns the lease under which this process dispatches alerts.

    With a `mirror`, alerts and groups are read once a lease and not at each decision.
    """

    def __init__(
        self, db: Database, lease: Callable[[], Lease | None] = no_lease, mirror: Mirror | None = None
    ) -> None:
        self._db, self._lease, self._mirror = db, lease, mirror
        self._said: set[str] = set()
        """Keys of the groups for which the log already says that they cannot be stored."""

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep]:
        """Read, decide, store and enqueue, in one transaction. Raises LeaseLost and Unavailable: nothing was written.

        A group that the database cannot hold stays as it was and is logged once. The other groups are stored.
        """
        lease = self._lease()
        mirror = Mirror() if self._mirror is None else self._mirror
        known = mirror.under(lease)
        try:
            with self._db.transaction() as session:
                check_lease(session, lease)
                if known.instances() is None:
                    known.read(read_instances(session, self._db.unread))
                if (groups := known.groups()) is None:
                    groups = _states(self._db.unread, session.exec(select(AlertGroupRow)))
                holds = read_holds(session, self._db, at)
                happened = partial(read_happened, session)
                steps = decide(Picture(known.instances() or (), groups, _deliveries(session), holds, happened))
                written = self._written(session, steps, at)
        except BaseException:
            mirror.forget()  # an error of a commit does not tell whether it took place
            raise
        known.read_groups(groups, written)
        return written

    def read(self) -> Picture:
        """Return the input of a decision. Raises Unavailable."""
        with self._db.reading() as session:
            groups = _states(self._db.unread, session.exec(select(AlertGroupRow)))
            holds = read_holds(session, self._db, None)
            return Picture(read_instances(session, self._db.unread), groups, _deliveries(session), holds)

    def roots(self, wanted: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], MessageRef]:
        """Return the places of the first messages of groups, given as key and generation, as far as they are stored.

        Messages about other things than alerts, such as a rollout, have no row here: the outbox has their first place.
        """
        if not wanted:
            return {}
        with self._db.reading() as session:
            stored = select(AlertGroupRow.key, AlertGroupRow.generation, col(AlertGroupRow.root_place)).where(
                col(AlertGroupRow.key).in_({key for key, _ in wanted})
            )
            rows = session.exec(stored).all()
            found = {(key, generation): MessageRef(place) for key, generation, place in rows if place is not None}
            known = {key for key, _, _ in rows}
            others = [group for group in wanted if group[0] not in known]
            return {group: ref for group, ref in (found | _first_places(session, others)).items() if group in wanted}

    def remember(self, places: Mapping[tuple[str, int], MessageRef]) -> None:
        """Store the places of groups' messages. A group that has reopened since keeps its own."""
        with self._db.transaction() as session:
            put_roots(session, places)

    def _written(self, session: Session, steps: Sequence[GroupStep], at: float) -> Sequence[GroupStep]:
        """Store steps with their messages. Return those that the database can hold."""
        try:
            with part(session):
                _write_steps(session, steps, at)
        except NotStorable:
            return [step for step in steps if self._stored(session, step, at)]
        self._said.difference_update(step.state.key for step in steps)
        return list(steps)

    def _stored(self, session: Session, step: GroupStep, at: float) -> bool:
        try:
            with part(session):
                _write_steps(session, [step], at)
        except NotStorable as error:
            if step.state.key not in self._said:
                self._said.add(step.state.key)
                log.error("alerting: no notification of group %r can be sent: %s", step.state.key, error)
            return False
        self._said.discard(step.state.key)
        return True

    def prune(self, before: float) -> int:
        """Delete closed groups without a queued message that opened and were last notified before a time.

        Return how many.
        """
        with self._db.transaction() as session:
            gone = (
                delete(AlertGroupRow)
                .where(~col(AlertGroupRow.is_open), col(AlertGroupRow.opened_at) < before)
                .where(col(AlertGroupRow.notified_at).is_(None) | (col(AlertGroupRow.notified_at) < before))
                .where(col(AlertGroupRow.key).not_in(_underway()))
                .returning(col(AlertGroupRow.key))
            )
            return len(session.execute(gone).all())


def _rows(session: Session, keys: Sequence[str]) -> dict[str, AlertGroupRow]:
    found: dict[str, AlertGroupRow] = {}
    for some in slices(keys):
        found |= {row.key: row for row in session.exec(select(AlertGroupRow).where(col(AlertGroupRow.key).in_(some)))}
    return found


def _write_steps(session: Session, steps: Sequence[GroupStep], at: float) -> None:
    put_groups(session, [step.state for step in steps])
    if messages := [step.message for step in steps if step.message is not None]:
        enqueue_all(session, [Queued(m.id, KIND, m.receiver, m.group_key, message_to_json(m)) for m in messages], at)
        touch(session, "alerts")


def put_groups(session: Session, states: Sequence[GroupState]) -> None:
    """Store the states of groups, in the caller's transaction. Damaged rows are preserved (store.unreadable)."""
    rows = _rows(session, [state.key for state in states])
    new = []
    for state in states:
        row, values = rows.get(state.key), _values(state)
        if row is None:
            new.append(values | {"key": state.key})
            continue
        if fault := _state(row)[1]:
            preserve(session, row, row.key, fault)
        if row.generation != state.generation:
            row.root_place = None
        for name, value in values.items():
            setattr(row, name, value)
    session.flush()
    if new:
        session.connection().execute(insert(AlertGroupRow), new)


def put_roots(session: Session, places: Mapping[tuple[str, int], MessageRef]) -> None:
    """Store the places of groups' messages in the caller's transaction, except of groups that have reopened since."""
    if not places:
        return
    session.flush()  # the statement below does not see what the session has not written
    values = [
        {"of_key": key, "of_generation": generation, "place": ref.place} for (key, generation), ref in places.items()
    ]
    session.connection().execute(_PUT_ROOT, values)


def _first_places(session: Session, groups: Collection[tuple[str, int]]) -> dict[tuple[str, int], MessageRef]:
    if not groups:
        return {}
    ids = {f"{key}/{generation}/1": (key, generation) for key, generation in groups}
    rows = session.exec(select(OutboxRow.message_id, OutboxRow.result).where(col(OutboxRow.message_id).in_(ids)))
    places = {ids[i]: result.get("place") for i, result in rows if isinstance(result, Mapping)}
    return {group: MessageRef(place) for group, place in places.items() if isinstance(place, str)}


def _deliveries(session: Session) -> Deliveries:
    last = select(func.max(OutboxRow.id)).where(OutboxRow.kind == KIND).group_by(OutboxRow.lane).scalar_subquery()
    dead = select(OutboxRow.lane).where(col(OutboxRow.id).in_(last), OutboxRow.status == OutboxStatus.DEAD.value)
    return Deliveries(underway=set(session.exec(_underway())), dead=set(session.exec(dead)))


def _underway() -> SelectOfScalar[str]:
    return select(OutboxRow.lane).where(OutboxRow.kind == KIND, OutboxRow.status == OutboxStatus.QUEUED.value)


def _states(unread: Unread, rows: Iterable[AlertGroupRow]) -> dict[str, GroupState]:
    """Return the groups by key. A group with a damaged document is read from its columns, or left out."""
    states = {}
    for row in rows:
        state, fault = _state(row)
        if fault:
            unread.note(GROUPS, row.key, fault)
        else:
            unread.forget(GROUPS, row.key)
        if state is not None:
            states[row.key] = state
    return states


def _state(row: AlertGroupRow) -> tuple[GroupState | None, str]:
    """Return a group, and why its row is damaged ("": it is not).

    Without its documents a group is `recalled=False`: dispatch recovers its notified alerts. Sequence and generation
    cannot be recovered, so a group whose columns are damaged is None.
    """
    try:
        columns = {name: getattr(row, name) for name in _COLUMNS}
        upgraded({"format": row.format}, _UPGRADES)
        with reading():
            told = tuple(instance_from_json(i) for i in items(row.notified))
            flaps = tuple(ToldFlap(**one) for one in items(row.flaps))
            labels, held = labels_of(row.labels), items(row.held)
            return checked(GroupState(**columns, labels=labels, notified=told, held=held, flaps=flaps)), ""
    except NotReadable as fault:
        try:
            return checked(GroupState(**columns, labels=(), recalled=False)), str(fault)
        except NotReadable:
            return None, str(fault)


def _values(state: GroupState) -> dict[str, Any]:
    """Return the columns of a group, but for its key and the place of its message."""
    return {
        "receiver": state.receiver,
        "labels": dict(state.labels),
        "generation": state.generation,
        "sequence": state.sequence,
        "is_open": state.is_open,
        "opened_at": state.opened_at,
        "notified_at": state.notified_at,
        "notified": [instance_to_json(i) for i in state.notified],
        "held": list(state.held),
        "flaps": [asdict(flap) for flap in state.flaps],
        "format": FORMAT,
    }
