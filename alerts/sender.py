"""Sends queued messages: at least once, and in order within a group. Gives a message up only for a permanent failure.

Each receiver has a worker of its own while it has messages, so that one that hangs holds up no other. A receiver may
ask for a wait (Retry-After); its messages are then held until that time, also over a restart.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from alerts.dispatch import GroupLog
from alerts.errors import DeliveryFailed, NotReadable
from alerts.interfaces import Clock, Message, MessageRef, Notifier
from alerts.sending import MAX_RETRY_AFTER_S, Entry, Fate, Outbox, Outcome, Recorder, Substitute
from alerts.wire import message_from_json, message_to_json

KIND = "alert"
"""Kind of this module's messages in the outbox."""

UNREAD_ATTEMPTS = 5
"""Claims after which an unreadable message is given up, about a minute after the first. Until then a process of a newer
release may claim it. Later messages of its lane must not wait for longer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SenderLimits:
    """Limits of the sender; durations are seconds. Messages whose turn does not come within a claim are given back."""

    claim_s: float = 60.0
    """Duration of a claim. The messages of a sender that died are free after it."""
    send_s: float = 15.0
    batch: int = 32
    """Messages of one receiver in a claim. Chosen: each claim searches the queue, and a sender that dies holds as many
    back for `claim_s`."""
    abreast: int = 4
    """Messages of one receiver that are sent at the same time. Chosen: a receiver that takes 100 ms for a message gets
    40 a second, and one that fails gets them one at a time."""
    least_wait_s: float = 1.0
    first_backoff_s: float = 2.0
    most_backoff_s: float = 300.0


class _Job(NamedTuple):
    """A claimed message as it was read, with the place of its group's message."""

    entry: Entry
    message: Message | None
    """None: it cannot be read."""
    fault: str
    root: MessageRef | None


@dataclass
class _Turn:
    """A receiver's messages of one claim."""

    receiver: str
    last_start: float
    """Last moment of `elapsed` at which a send may begin. One that begins later may outlast the claim, and another
    sender would then send the message too."""
    held_until: float | None = None
    """Unix second until which the receiver asked to wait during this turn."""


@dataclass
class MessageSender:
    """Claims messages, sends them, and records the outcome. A crash may repeat a message but loses none."""

    outbox: Outbox[Any]
    groups: GroupLog
    notifiers: Mapping[str, Notifier]
    clock: Clock
    holder: str
    limits: SenderLimits = SenderLimits()
    elapsed: Callable[[], float] = time.monotonic
    """Monotonic clock, in seconds. It measures how long a claim is ours, whatever happens to the wall clock."""
    wake: Callable[[], None] = lambda: None
    """Called when a receiver's worker has ended: more of its messages may be due."""
    _workers: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _well: set[str] = field(default_factory=set)
    """Receivers whose last message was delivered."""
    _replaced: set[str] = field(default_factory=set)
    """Receivers whose notifier was replaced since the last claim."""
    _in_use: Counter[int] = field(default_factory=Counter)
    """Number of sends under way by the id of the notifier."""
    _faults: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._recorder = Recorder(self.outbox, self.groups)

    def use(self, notifiers: Mapping[str, Notifier]) -> None:
        """Use these notifiers from the next message on. The wait of a receiver ends if its notifier was replaced."""
        replaced = {name for name, notifier in self.notifiers.items() if notifiers.get(name) is not notifier}
        self._replaced |= replaced
        self._well -= replaced
        self.notifiers = notifiers

    def uses(self, notifier: Notifier) -> bool:
        """Return whether a message is being sent by a notifier."""
        return self._in_use[id(notifier)] > 0

    async def tick(self) -> int:
        """Send due messages and wait until all receivers have answered; return how many were handled.

        It is for callers without a loop, which repeat it until the result is 0. Raises as `hand_out` does.
        """
        handled = await self.hand_out()
        await self.idle()
        self._raise_fault()
        return handled

    async def hand_out(self) -> int:
        """Claim due messages and give them to their receivers' workers; return how many. No receiver is waited for.

        Raises the errors of the outbox, and the unexpected ones of sends since the last call. Must not be called while
        a call is under way.
        """
        replaced, self._replaced = self._replaced, set()
        if replaced:
            await asyncio.to_thread(self.outbox.free, replaced)
        last_start = self.elapsed() + self.limits.claim_s - self.limits.send_s
        jobs = await asyncio.to_thread(self._claim, frozenset(self._workers))
        by_receiver: dict[str, deque[_Job]] = {}
        for job in jobs:
            by_receiver.setdefault(job.entry.receiver, deque()).append(job)
        for receiver, queue in by_receiver.items():
            work = self._work(_Turn(receiver, last_start), queue)
            self._workers[receiver] = asyncio.create_task(work, name=f"notifications to {receiver}")
        self._raise_fault()
        return len(jobs)

    async def idle(self) -> None:
        """Wait until no receiver has a worker."""
        while self._workers:
            ended, _ = await asyncio.wait(self._workers.values())
            for task in ended:
                task.result()  # what ends the process also ends the caller

    async def close(self, grace_s: float) -> None:
        """Wait for the sends that are under way, `grace_s` seconds at most, and cancel the others.

        The messages of cancelled sends are claimed anew when their claims have run out.
        """
        if workers := list(self._workers.values()):
            _, late = await asyncio.wait(workers, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._recorder.finish()

    def _raise_fault(self) -> None:
        if self._faults:
            first, self._faults = self._faults[0], []
            raise first

    def _claim(self, busy: Collection[str]) -> list[_Job]:
        limits = self.limits
        entries = self.outbox.claim(self.holder, self.clock.now(), limits.claim_s, limits.batch, busy)
        if not entries:
            return []
        read = [(entry, *_read(entry)) for entry in entries]
        messages = [message for _, message, _ in read if message is not None]
        above = [one for message in messages if message.escalated is not None for one in message.escalated.above]
        roots = self.groups.roots({*map(_group, messages), *((one.group_key, one.generation) for one in above)})
        return [_job(*one, roots) for one in read]

    async def _work(self, turn: _Turn, queue: deque[_Job]) -> None:
        """Send a receiver's messages, oldest first: one at a time until one is delivered, then several abreast."""
        try:
            while queue:
                width = self.limits.abreast if turn.receiver in self._well else 1
                abreast = [queue.popleft() for _ in range(min(width, len(queue)))]
                await asyncio.gather(*(self._handle(turn, job) for job in abreast))
        finally:
            del self._workers[turn.receiver]
            self.wake()

    async def _handle(self, turn: _Turn, job: _Job) -> None:
        try:
            if turn.held_until is not None:
                why = f"{turn.receiver} asked to wait"
                await self._recorder.record(Outcome(job.entry, Fate.RELEASED, turn.held_until, why))
            elif self.elapsed() > turn.last_start:
                await self._give_back(turn, job.entry)
            else:
                await self._send(turn, job)
        except Exception as bug:  # noqa: BLE001 - the job boundary: one message's bug must not hold up the others
            self._faults.append(bug)

    async def _give_back(self, turn: _Turn, entry: Entry) -> None:
        """Give a message back that slow sends before it left no time for. Its claim may have ended already."""
        if self.elapsed() < turn.last_start + self.limits.send_s:
            reason = "slow messages before it took the time of this attempt"
            await self._recorder.record(Outcome(entry, Fate.RELEASED, self.clock.now(), reason))
        else:
            _log.warning("notification %s waits for the next claim: this one has ended", entry.message_id)

    async def _send(self, turn: _Turn, job: _Job) -> None:
        entry = job.entry
        notifier = self.notifiers.get(entry.receiver)
        if notifier is None:
            reason = f"no notifier is called {entry.receiver}; there are {', '.join(sorted(self.notifiers)) or 'none'}"
            await self._failed(turn, job, DeliveryFailed(reason, permanent=True))
            return
        if job.message is None:
            last = entry.attempts >= UNREAD_ATTEMPTS
            await self._failed(turn, job, DeliveryFailed(f"the message cannot be read: {job.fault}", permanent=last))
            return
        if job.message.edit and job.message.overtaken:
            left_out = {"note": "left out: a newer message of its group shows what it shows"}
            await self._recorder.record(Outcome(entry, Fate.SENT, self.clock.now(), result=left_out))
            return
        try:
            ref = await self._by(notifier, job.message, job.root, self.limits.send_s)
        except TimeoutError:
            late = DeliveryFailed(f"{entry.receiver} did not finish within {self.limits.send_s:g}s")
            await self._failed(turn, job, late)
        except DeliveryFailed as failure:
            await self._failed(turn, job, failure)
        except Exception as bug:
            # Delayed like any failure, so that it does not recur with every claim. Raised too, for the log.
            told = f"internal error ({type(bug).__name__}): see the log of the control plane"
            await self._failed(turn, job, DeliveryFailed(told))
            raise
        else:
            self._well.add(turn.receiver)
            others: tuple[Substitute, ...] = ()
            if entry.after_given_up and job.message.resolved:
                why = f"{entry.receiver} could not deliver an earlier message of these alerts"
                others = self._substitutes(job, why)
            outcome = Outcome(entry, Fate.SENT, self.clock.now(), result=_result(ref), substitutes=others)
            await self._recorder.record(outcome, _new_place(job, ref))

    async def _by(
        self, notifier: Notifier, message: Message, root: MessageRef | None, timeout_s: float
    ) -> MessageRef | None:
        self._in_use[id(notifier)] += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await notifier.send(message, root)
        finally:
            self._in_use[id(notifier)] -= 1
            self._in_use += Counter()  # drops the counts of zero

    def _substitutes(self, job: _Job, why: str) -> tuple[Substitute, ...]:
        """Return a message for every other receiver: its own refused it, so that people still see it.

        Who is told in this way that alerts fire is told of their end too, also when the receiver works again by then.
        A refused edit goes to nobody: the others have no message that it could change. Neither does an unreadable
        message, which has no content to pass on, nor a substitute, which every other receiver has already.
        """
        if job.message is None or job.message.edit or job.message.undelivered:
            return ()
        entry, payload = job.entry, message_to_json(replace(job.message, above=(), undelivered=why))
        return tuple(
            Substitute(f"{entry.message_id}~{name}", name, f"{entry.lane}~{name}", payload)
            for name in self.notifiers
            if name != entry.receiver
        )

    async def _failed(self, turn: _Turn, job: _Job, failure: DeliveryFailed) -> None:
        now, limits, entry = self.clock.now(), self.limits, job.entry
        self._well.discard(turn.receiver)
        if failure.permanent:
            _log.error("notification to %s given up (%s): %s", entry.receiver, entry.message_id, failure)
            substitutes = self._substitutes(job, f"{entry.receiver} could not deliver it: {failure}")
            await self._recorder.record(Outcome(entry, Fate.DEAD, now, str(failure), substitutes=substitutes))
            return
        # The exponent is bounded because attempts are not: 2**attempts would overflow.
        wait = min(limits.first_backoff_s * 2 ** min(entry.attempts - 1, 30), limits.most_backoff_s)
        asked = failure.retry_after
        if asked is not None and asked >= 0:  # a NaN or negative Retry-After is ignored
            wait = max(min(asked, MAX_RETRY_AFTER_S), limits.least_wait_s)
            turn.held_until = max(now + wait, turn.held_until or 0.0)
            await asyncio.to_thread(self.outbox.hold, entry.receiver, now + wait)
        _log.warning(
            "notification to %s delayed by %.0f s, attempt %d (%s): %s",
            entry.receiver,
            wait,
            entry.attempts,
            entry.message_id,
            failure,
        )
        await self._recorder.record(Outcome(entry, Fate.RETRY, now + wait, str(failure)))


def _job(entry: Entry, message: Message | None, fault: str, roots: Mapping[tuple[str, int], MessageRef]) -> _Job:
    if message is None:
        return _Job(entry, None, fault, None)
    if message.escalated is not None:
        places = (roots.get((one.group_key, one.generation)) for one in message.escalated.above)
        message = replace(message, above=tuple(ref for ref in places if ref is not None))
    # The group's message is in the place of another receiver.
    root = None if message.undelivered else roots.get(_group(message))
    return _Job(entry, message, fault, root)


def _read(entry: Entry) -> tuple[Message | None, str]:
    """Return a message, or None and why it cannot be read."""
    try:
        message = message_from_json(entry.payload)
        overtaken = entry.followed_by.startswith(f"{message.group_key}/{message.generation}/")
        return replace(message, repeat=entry.attempts > 1, overtaken=overtaken), ""
    except NotReadable as fault:
        return None, str(fault)


def _group(message: Message) -> tuple[str, int]:
    return message.group_key, message.generation


def _new_place(job: _Job, ref: MessageRef | None) -> tuple[tuple[str, int], MessageRef] | None:
    """Return the place of a group's message, if it is to be remembered."""
    if job.message is None or job.message.undelivered or ref is None or not ref.place:
        return None
    return None if job.root is not None and job.root.place == ref.place else (_group(job.message), ref)


def _result(ref: MessageRef | None) -> dict[str, str] | None:
    told: Iterable[tuple[str, str]] = () if ref is None else (("place", ref.place), ("note", ref.note))
    return {name: text for name, text in told if text} or None
