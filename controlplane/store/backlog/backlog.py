"""The backlog of alerting while its database cannot be written. It is in memory and ends with the process.

Invariant: while `paused`, only write_back writes to the database, and the backlog holds every change that is not
written, the newest state last. `seen` is the content of the database when it was last read or written: decisions start
from it even when the database cannot be read.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from alerts.dispatch import Decide, Deliveries, GroupState, GroupStep, Picture
from alerts.holds import Holds
from alerts.interfaces import AlertInstance, Clock, MessageRef, Transition
from alerts.sending import MAX_RETRY_AFTER_S
from alerts.wire import message_to_json
from controlplane.errors import Unavailable
from controlplane.store.backlog.held import Held
from controlplane.store.outbox import OutboxEntry, OutboxStatus

log = logging.getLogger(__name__)

MAX_TRANSITIONS = 50_000
"""Maximum number of transitions in the backlog, about 1 kB each. The oldest are dropped. States are not limited."""
MAX_FINISHED = 10_000
"""Maximum number of sent or given-up messages in the backlog; they are kept for the outbox's record. Chosen."""


@dataclass
class Seen:
    """Content of the database when it was last read or written."""

    instances: dict[str, tuple[AlertInstance, ...]]
    """By rule."""
    groups: dict[str, GroupState]
    underway: set[str]
    """Lanes with a queued message."""
    dead: set[str]
    """Lanes whose last message was given up."""
    holds: Holds = field(default_factory=Holds)


@dataclass
class Backlog:
    """The backlog that the alert log, the group log and the outbox of one process share. Thread-safe."""

    clock: Clock
    alone: Callable[[], bool] = lambda: True
    """Whether no other process can be alerting while this one cannot write."""
    fault: str = ""
    """Why the database cannot be written; empty while it can."""
    since: float | None = None
    """Unix seconds of the first write that failed."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    instances: dict[str, tuple[AlertInstance, ...]] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    groups: dict[str, GroupState] = field(default_factory=dict)
    roots: dict[str, tuple[int, MessageRef]] = field(default_factory=dict)
    messages: dict[str, Held] = field(default_factory=dict)
    seen: Seen | None = None
    sending: bool = True
    """Whether notifications are sent during a pause. Another process would send an unrecorded notification again."""
    waits: dict[str, float] = field(default_factory=dict)
    """Unix second until which each receiver asked this process to wait."""
    lost: int = 0
    """Number of transitions that were dropped."""
    _recent: dict[str, Held] = field(default_factory=dict)
    """Messages that this process queued in the database, and whose end it has not seen."""
    _claimed: set[str] = field(default_factory=set)
    """Messages that this process claimed in the database and has not settled."""

    @property
    def may_send(self) -> bool:
        """Whether notifications may be sent now."""
        return self.sending or not self.paused

    @property
    def paused(self) -> bool:
        """Whether writing is paused."""
        return bool(self.fault)

    def pause(self, error: Unavailable) -> None:
        """Pause writing. Messages that may still have to be sent are copied into memory."""
        with self.lock:
            if not self.paused:
                self.since, self.sending = self.clock.now(), self.alone()
                log.error("alerting: %s; states and messages are kept in memory until it can be written", error)
                if not self.sending:
                    log.error("alerting: nothing is sent until then, since another replica may be alerting")
                for held in self._recent.values():
                    if held.message_id not in self._claimed:
                        # Another process may have sent it: with attempts > 0 the notifier searches before it posts.
                        held.attempts = max(held.attempts, 1)
                        self.messages.setdefault(held.message_id, held)
                self._recent.clear()
            self.fault = str(error)

    def resume(self) -> None:
        """End the pause: everything is in the database."""
        with self.lock:
            self.fault, self.since = "", None

    def describe(self) -> str:
        """Return the fault and the size of the backlog in words, or "" while the database can be written."""
        with self.lock:
            if not self.paused:
                return ""
            waits = f"{len(self.transitions)} changes and {len(self.messages)} messages wait in memory"
            if self.sending:
                return f"{self.fault}; rules and notifications go on, {waits}"
            return f"{self.fault}; rules go on, {waits}; nothing is sent, since another replica may be alerting by now"

    def move(self, by_s: float) -> None:
        """Shift the times in memory by a step of the clock, as store.clock_steps does in the database."""
        with self.lock:
            self.instances = _moved_instances(self.instances, by_s)
            self.groups = _moved_groups(self.groups, by_s)
            if self.seen is not None:
                self.seen.instances = _moved_instances(self.seen.instances, by_s)
                self.seen.groups = _moved_groups(self.seen.groups, by_s)
                self.seen.holds = self.seen.holds.moved_by(by_s)
                if self.paused:
                    # The rows in the database keep the times of before the step: all are to be written anew.
                    self.instances = {**self.seen.instances, **self.instances}
                    self.groups = {**self.seen.groups, **self.groups}
            self.waits = {receiver: until + by_s for receiver, until in self.waits.items()}
            if by_s < 0:
                for held in (*self.messages.values(), *self._recent.values()):
                    held.next_attempt_at += by_s
                    held.claimed_until += by_s

    # -- alerts --------------------------------------------------------------------------------------------------

    def latest(self, rule: str) -> tuple[AlertInstance, ...] | None:
        """Return a rule's instances from memory, or None when the caller must read the database."""
        with self.lock:
            if rule in self.instances:
                return self.instances[rule]
            if self.paused and self.seen is not None:
                return self.seen.instances.get(rule, ())
            return None

    def wrote(self, rule: str, instances: Sequence[AlertInstance]) -> None:
        """Note the instances of a rule that are now in the database."""
        with self.lock:
            if self.seen is not None:
                self.seen.instances[rule] = tuple(instances)

    def keep(self, rule: str, instances: Sequence[AlertInstance], transitions: Iterable[Transition]) -> bool:
        """Keep a rule's instances and transitions in memory. False when the database can be written again."""
        with self.lock:
            if not self.paused:
                return False
            self.instances[rule] = tuple(instances)
            self.transitions.extend(transitions)
            if (over := len(self.transitions) - MAX_TRANSITIONS) > 0:
                if not self.lost:
                    log.error("alerting: more than %d changes wait; the oldest are dropped", MAX_TRANSITIONS)
                del self.transitions[:over]
                self.lost += over
            return True

    # -- groups --------------------------------------------------------------------------------------------------

    def read(self, picture: Picture, steps: Iterable[GroupStep], at: float) -> None:
        """Note the content of the database at a decision at unix second `at`, and the steps that were written."""
        by_rule: dict[str, list[AlertInstance]] = {}
        for instance in picture.instances:
            by_rule.setdefault(instance.rule, []).append(instance)
        with self.lock:
            self._recent = {i: held for i, held in self._recent.items() if held.lane in picture.deliveries.underway}
            self.seen = Seen(
                {rule: tuple(found) for rule, found in by_rule.items()},
                dict(picture.groups),
                set(picture.deliveries.underway),
                set(picture.deliveries.dead),
                picture.holds,
            )
            for step in steps:
                self.seen.groups[step.state.key] = step.state
                if step.message is not None:
                    held = _held(step, at)
                    held.stored = True
                    self._recent[held.message_id] = held
                    self.seen.underway.add(held.lane)
                    self.seen.dead.discard(held.lane)

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep] | None:
        """Decide from memory, and keep the steps there. None when the database can be written again.

        Raises Unavailable when the database was never read.
        """
        with self.lock:
            if not self.paused:
                return None
            if self.seen is None:
                raise Unavailable(self.fault)
            instances = {**self.seen.instances, **self.instances}
            everything = [instance for found in instances.values() for instance in found]
            groups = {**self.seen.groups, **self.groups}
            steps = decide(Picture(everything, groups, self._deliveries(self.seen), self.seen.holds))
            for step in steps:
                self.groups[step.state.key] = step.state
                if step.message is not None:
                    held = _held(step, at)
                    self.messages.setdefault(held.message_id, held)
            return steps

    def _deliveries(self, seen: Seen) -> Deliveries:
        last = {held.lane: held.status for held in self.messages.values()}
        queued = {lane for lane, status in last.items() if status is OutboxStatus.QUEUED}
        dead = {lane for lane, status in last.items() if status is OutboxStatus.DEAD}
        return Deliveries(underway=queued | (seen.underway - last.keys()), dead=dead | (seen.dead - last.keys()))

    # -- messages ------------------------------------------------------------------------------------------------

    def claim(self, now: float, ttl_s: float, limit: int, without: Collection[str] = ()) -> list[Held]:
        """Claim up to `limit` due messages of each receiver in memory for `ttl_s` seconds."""
        with self.lock:
            queued = [held for held in self.messages.values() if held.status is OutboxStatus.QUEUED]
            left = Counter({held.receiver: limit for held in queued if held.receiver not in without})
            lanes: set[str] = set()
            claimed = []
            for held in queued:
                is_first = not held.lane or held.lane not in lanes
                lanes.add(held.lane)
                is_due = is_first and not held.leaving and held.next_attempt_at <= now and held.claimed_until <= now
                if is_due and left[held.receiver] > 0:
                    left[held.receiver] -= 1
                    held.attempts += 1
                    held.claimed_until = now + ttl_s
                    claimed.append(held)
            return claimed

    def waiting(self, now: float) -> set[str]:
        """Return the receivers that asked this process to wait longer than until `now`, and forget the other waits."""
        with self.lock:
            self.waits = {name: until for name, until in self.waits.items() if now < until <= now + MAX_RETRY_AFTER_S}
            return set(self.waits)

    def claimed(self, entries: Iterable[OutboxEntry]) -> None:
        """Note the messages that this process claimed in the database."""
        with self.lock:
            self._claimed.update(entry.message_id for entry in entries)

    def settled(self, entry: OutboxEntry, status: OutboxStatus) -> None:
        """Note the status of a message in the database."""
        with self.lock:
            self._claimed.discard(entry.message_id)
            if status is not OutboxStatus.QUEUED:
                self._recent.pop(entry.message_id, None)
            if self.seen is not None and status is not OutboxStatus.QUEUED:
                self.seen.underway.discard(entry.lane)
                (self.seen.dead.add if status is OutboxStatus.DEAD else self.seen.dead.discard)(entry.lane)

    def settle(self, entry: Held | OutboxEntry, change: Callable[[Held], None], more: Iterable[Held]) -> bool:
        """Settle a message in memory, and queue more. False when it is a row and the database can be written again."""
        with self.lock:
            if isinstance(entry, Held):
                held = entry
            elif not self.paused:
                return False
            else:
                held = self.messages[entry.message_id] = Held.of(entry)
                self._claimed.discard(entry.message_id)
            held.claimed_until = 0.0
            change(held)
            for one in more:
                self.messages.setdefault(one.message_id, one)
            finished = [h for h in self.messages.values() if h.status is not OutboxStatus.QUEUED and not h.leaving]
            for old in finished[: max(0, len(finished) - MAX_FINISHED)]:
                del self.messages[old.message_id]
            return True


def _moved_instances(
    instances: Mapping[str, tuple[AlertInstance, ...]], by_s: float
) -> dict[str, tuple[AlertInstance, ...]]:
    return {rule: tuple(instance.moved_by(by_s) for instance in found) for rule, found in instances.items()}


def _moved_groups(groups: Mapping[str, GroupState], by_s: float) -> dict[str, GroupState]:
    return {key: group.moved_by(by_s) for key, group in groups.items()}


def _held(step: GroupStep, at: float) -> Held:
    message = step.message
    assert message is not None
    return Held(message.id, message.receiver, message.group_key, message_to_json(message), at, at)
