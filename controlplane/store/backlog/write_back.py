"""Writing the backlog of alerting to the database, in order and in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import update
from sqlmodel import Session, col

from alerts.dispatch import GroupState
from alerts.interfaces import AlertInstance, MessageRef, Transition
from alerts.sender import KIND
from controlplane.errors import LeaseLost, NotStorable, Unavailable
from controlplane.store.alert_groups import put_groups, put_roots
from controlplane.store.alerting.mirror import Mirror
from controlplane.store.alerting.writing import append_history, put_rule
from controlplane.store.backlog.backlog import Backlog
from controlplane.store.backlog.held import Held
from controlplane.store.database import Database, part
from controlplane.store.lease import Lease, check_lease, holder_now
from controlplane.store.outbox import OutboxStatus, enqueue
from controlplane.store.revision import touch
from controlplane.store.tables.outbox import OutboxRow

log = logging.getLogger(__name__)

ROUNDS = 3
"""Maximum number of batches in one call: changes that arrive during a batch go into the next one. Chosen."""


@dataclass(frozen=True)
class _Batch:
    instances: dict[str, tuple[AlertInstance, ...]]
    transitions: list[Transition]
    groups: dict[str, GroupState]
    roots: dict[str, tuple[int, MessageRef]]
    messages: list[Held]


def write_back(
    db: Database, backlog: Backlog, lease: Callable[[], Lease | None], holder: str, mirror: Mirror | None = None
) -> bool:
    """Write the whole backlog. True when the database can be used again. Blocking; one call at a time.

    `mirror` is forgotten before anything else is written.

    When another process has become the leader of alerting, its states count: only transitions, sent messages and
    their places are written then.
    """
    for _ in range(ROUNDS):
        if not backlog.paused:
            return True
        batch = _take(backlog)
        try:
            _write(db, batch, lease())
        except Unavailable as error:
            _put_back(batch, backlog, error)
            return False
        except LeaseLost as error:
            _put_back(batch, backlog, Unavailable(str(error)))
            if holder_now(db, lease()) in ("", holder):
                return False  # no other process holds the lease: this one takes it again at its next beat
            give_way(backlog)
            continue
        if mirror is not None:
            mirror.forget()
        if _written(batch, backlog):
            log.info("alerting: the database can be written again, and everything that waited is in it")
    return not backlog.paused


def give_way(backlog: Backlog) -> None:
    """Drop states and unsent messages, because another process has decided on alerts meanwhile."""
    with backlog.lock:
        unsent = [m for m in backlog.messages.values() if m.status is OutboxStatus.QUEUED and not m.claimed_until]
        if backlog.instances or backlog.groups or unsent:
            log.warning(
                "alerting: another process alerts by now; states of %d rules and %d messages of this one are dropped",
                len(backlog.instances),
                len(unsent),
            )
        backlog.instances.clear()
        backlog.groups.clear()
        if not backlog.sending:
            # No notification was sent of these transitions, and the other process has recorded its own.
            backlog.transitions.clear()
        for held in unsent:
            del backlog.messages[held.message_id]
        # The other process has changed the database since `seen` was read.
        backlog.seen = None


def _take(backlog: Backlog) -> _Batch:
    with backlog.lock:
        now = backlog.clock.now()
        messages = [held for held in backlog.messages.values() if held.claimed_until <= now]
        for held in messages:
            held.leaving = True
        return _Batch(
            dict(backlog.instances),
            list(backlog.transitions),
            dict(backlog.groups),
            dict(backlog.roots),
            messages,
        )


def _put_back(batch: _Batch, backlog: Backlog, error: Unavailable) -> None:
    with backlog.lock:
        backlog.fault = str(error)
        for held in batch.messages:
            held.leaving = False


def _written(batch: _Batch, backlog: Backlog) -> bool:
    """Drop the written batch from the backlog, and end the pause when it is empty. False when more has arrived."""
    with backlog.lock:
        for rule, instances in batch.instances.items():
            if backlog.instances.get(rule) is instances:
                del backlog.instances[rule]
        del backlog.transitions[: len(batch.transitions)]
        for key, state in batch.groups.items():
            if backlog.groups.get(key) is state:
                del backlog.groups[key]
        for key, root in batch.roots.items():
            if backlog.roots.get(key) is root:
                del backlog.roots[key]
        for held in batch.messages:
            backlog.messages.pop(held.message_id, None)
        if backlog.seen is not None:
            backlog.seen.instances.update(batch.instances)
            backlog.seen.groups.update(batch.groups)
        left = backlog.instances or backlog.transitions or backlog.groups or backlog.roots or backlog.messages
        if left:
            return False
        backlog.resume()
        return True


def _write(db: Database, batch: _Batch, lease: Lease | None) -> None:
    with db.transaction() as session:
        if batch.instances or batch.groups:
            check_lease(session, lease)
        for rule, instances in batch.instances.items():
            with _each(session, f"alerts of {rule}"):
                put_rule(session, db.unread, rule, instances)
        for transition in batch.transitions:
            with _each(session, f"a change of {transition.instance.rule}"):
                append_history(session, [transition])
        for key, state in batch.groups.items():
            with _each(session, f"group {key}"):
                put_groups(session, [state])
        for held in batch.messages:
            with _each(session, f"message {held.message_id}"):
                _put_message(session, held)
        put_roots(session, {(key, generation): ref for key, (generation, ref) in batch.roots.items()})
        # Always write a row: a transaction without a change succeeds on a full disk and proves nothing.
        touch(session, "alerts")


@contextmanager
def _each(session: Session, what: str) -> Iterator[None]:
    """Write one item. An item that the database cannot hold is dropped with a log line, and the others are written."""
    try:
        with part(session):
            yield
    except NotStorable as error:
        log.error("alerting: %s cannot be stored and is dropped: %s", what, error)


def _put_message(session: Session, held: Held) -> None:
    if not held.stored:
        enqueue(session, KIND, held.receiver, held.message_id, held.payload, held.created_at, lane=held.lane)
    # Only a queued message: another process may have finished it meanwhile.
    session.execute(
        update(OutboxRow)
        .where(col(OutboxRow.message_id) == held.message_id, col(OutboxRow.status) == OutboxStatus.QUEUED.value)
        .values(
            status=held.status.value,
            attempts=held.attempts,
            next_attempt_at=held.next_attempt_at,
            finished_at=held.finished_at,
            result=None if held.result is None else dict(held.result),
            error=held.error,
            claimed_by=None,
            claimed_until=None,
        )
        .execution_options(synchronize_session=False)
    )
