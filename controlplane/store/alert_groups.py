"""Stored alert groups. A group's state and the message that it causes are stored in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlalchemy import delete, func
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from alerts.dispatch import Decide, Deliveries, GroupState, GroupStep, Picture
from alerts.errors import NotReadable
from alerts.interfaces import MessageRef
from alerts.sender import KIND
from alerts.stored import Document, Upgrade, checked, items, reading, upgraded
from alerts.wire import instance_from_json, instance_to_json, message_to_json
from collectors.samples import labels_of
from controlplane.errors import NotStorable
from controlplane.store.alert_log import no_lease, read_instances
from controlplane.store.alert_rows import GROUPS
from controlplane.store.database import Database, part
from controlplane.store.holding.acknowledgements import read_holds
from controlplane.store.lease import Lease, check_lease
from controlplane.store.outbox import OutboxStatus, enqueue
from controlplane.store.revision import touch
from controlplane.store.stored import Unread
from controlplane.store.tables.alerts import AlertGroupRow
from controlplane.store.tables.outbox import OutboxRow
from controlplane.store.unreadable import preserve

log = logging.getLogger(__name__)


def _unchanged(row: Document) -> Document:
    """Upgrade a row of before formats were counted, and one of before groups had `held`, whose default is []."""
    return row


_UPGRADES: tuple[Upgrade, ...] = (_unchanged, _unchanged)
FORMAT = len(_UPGRADES)
"""Format number of a group's row. The alerts in `notified` have their own format number."""
_COLUMNS = ("key", "receiver", "generation", "sequence", "is_open", "opened_at", "notified_at")


class SqlGroupLog:
    """Implements alerts.dispatch.GroupLog. `lease` returns the lease under which this process dispatches alerts."""

    def __init__(self, db: Database, lease: Callable[[], Lease | None] = no_lease) -> None:
        self._db, self._lease = db, lease
        self._said: set[str] = set()
        """Keys of the groups for which the log already says that they cannot be stored."""

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep]:
        """Read, decide, store and enqueue, in one transaction. Raises LeaseLost and Unavailable: nothing was written.

        A group that the database cannot hold stays as it was and is logged once. The other groups are stored.
        """
        with self._db.transaction() as session:
            check_lease(session, self._lease())
            rows = {row.key: row for row in session.exec(select(AlertGroupRow))}
            groups = _states(self._db.unread, rows.values())
            holds = read_holds(session, self._db, at)
            picture = Picture(read_instances(session, self._db.unread), groups, _deliveries(session), holds)
            steps = decide(picture)
            return [step for step in steps if self._stored(session, rows.get(step.state.key), step, at)]

    def read(self) -> Picture:
        """Return the input of a decision. Raises Unavailable."""
        with self._db.reading() as session:
            groups = _states(self._db.unread, session.exec(select(AlertGroupRow)))
            holds = read_holds(session, self._db, None)
            return Picture(read_instances(session, self._db.unread), groups, _deliveries(session), holds)

    def root(self, key: str, generation: int) -> MessageRef | None:
        """Return the place of the first message of this generation of a group, or None when it is not stored.

        Messages about other things than alerts, such as a rollout, have no row here: the outbox has their first place.
        """
        with self._db.reading() as session:
            row = session.get(AlertGroupRow, key)
            if row is None:
                return _first_place(session, f"{key}/{generation}/1")
            if row.generation != generation or row.root_place is None:
                return None
            return MessageRef(row.root_place)

    def remember(self, key: str, generation: int, ref: MessageRef) -> None:
        """Store the place of a group's message. Ignored when the group has reopened since."""
        with self._db.transaction() as session:
            put_root(session, key, generation, ref)

    def _stored(self, session: Session, row: AlertGroupRow | None, step: GroupStep, at: float) -> bool:
        try:
            with part(session):
                _write(session, row, step.state)
                if step.message is not None:
                    message = step.message
                    payload = message_to_json(message)
                    enqueue(session, KIND, message.receiver, message.id, payload, at, lane=message.group_key)
                    touch(session, "alerts")
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


def put_group(session: Session, state: GroupState) -> None:
    """Store a group's state, in the caller's transaction."""
    _write(session, session.get(AlertGroupRow, state.key), state)


def put_root(session: Session, key: str, generation: int, ref: MessageRef) -> None:
    """Store the place of a group's message in the caller's transaction, unless the group has reopened since."""
    row = session.get(AlertGroupRow, key)
    if row is not None and row.generation == generation:
        row.root_place = ref.place


def _first_place(session: Session, message_id: str) -> MessageRef | None:
    result = session.exec(select(OutboxRow.result).where(OutboxRow.message_id == message_id)).first()
    place = result.get("place") if isinstance(result, Mapping) else None
    return MessageRef(place) if isinstance(place, str) else None


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
            return checked(GroupState(**columns, labels=labels_of(row.labels), notified=told, held=items(row.held))), ""
    except NotReadable as fault:
        try:
            return checked(GroupState(**columns, labels=(), recalled=False)), str(fault)
        except NotReadable:
            return None, str(fault)


def _write(session: Session, row: AlertGroupRow | None, state: GroupState) -> None:
    if row is not None and (fault := _state(row)[1]):
        preserve(session, row, row.key, fault)
    if row is None:
        row = AlertGroupRow(
            key=state.key,
            receiver=state.receiver,
            labels=dict(state.labels),
            generation=state.generation,
            sequence=state.sequence,
            is_open=state.is_open,
            opened_at=state.opened_at,
            notified=[],
        )
        session.add(row)
    if row.generation != state.generation:
        row.root_place = None
    row.receiver, row.labels = state.receiver, dict(state.labels)
    row.generation, row.sequence, row.is_open = state.generation, state.sequence, state.is_open
    row.opened_at, row.notified_at, row.format = state.opened_at, state.notified_at, FORMAT
    row.notified = [instance_to_json(i) for i in state.notified]
    row.held = list(state.held)
