"""Sends queued messages: at least once, and in order within a group. Gives a message up only for a permanent failure.

A receiver may ask for a wait (Retry-After); its messages are then held until that time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from alerts.dispatch import GroupLog
from alerts.errors import DeliveryFailed, NotReadable
from alerts.interfaces import Clock, Message, Notifier
from alerts.wire import message_from_json

MAX_RETRY_AFTER_S = 600.0
"""Maximum wait that a receiver can ask for, in seconds. An absurd Retry-After must not hold back an alert."""

KIND = "alert"
"""Kind of this module's messages in the outbox."""

UNREAD_ATTEMPTS = 5
"""Claims after which an unreadable message is given up, about a minute after the first. Until then a process of a newer
release may claim it. Later messages of its lane must not wait for longer."""

_log = logging.getLogger(__name__)


class Entry(Protocol):
    """A claimed message."""

    @property
    def message_id(self) -> str:
        """Id of the message."""
        ...

    @property
    def receiver(self) -> str:
        """Name of the notifier."""
        ...

    @property
    def payload(self) -> Mapping[str, Any]:
        """The message, as alerts.wire.message_to_json wrote it."""
        ...

    @property
    def attempts(self) -> int:
        """Number of claims so far, this one included."""
        ...


E = TypeVar("E", bound=Entry)


class Outbox(Protocol[E]):
    """The queue. Synchronous. `done`, `retry` and `dead` raise when the claim is no longer ours."""

    def claim(self, holder: str, now: float, ttl_s: float, limit: int) -> Sequence[E]:
        """Claim due messages. Each claim counts as an attempt."""
        ...

    def done(self, entry: E, result: Mapping[str, Any] | None, at: float) -> None:
        """Record that a message was sent."""
        ...

    def retry(self, entry: E, error: str, next_at: float) -> None:
        """Give a message back, due again at `next_at`."""
        ...

    def dead(self, entry: E, error: str, at: float) -> None:
        """Give a message up."""
        ...


@dataclass(frozen=True)
class SenderLimits:
    """Limits of the sender; durations are seconds. Messages whose turn does not come within a claim are given back."""

    claim_s: float = 60.0
    """Duration of a claim. The messages of a sender that died are free after it."""
    send_s: float = 15.0
    batch: int = 16
    """Messages of a claim. Chosen: each claim searches the queue, and a sender that dies holds as many back for
    `claim_s`."""
    least_wait_s: float = 1.0
    first_backoff_s: float = 2.0
    most_backoff_s: float = 300.0


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
    _held_until: dict[str, float] = field(default_factory=dict)
    """Unix second until which each receiver asked to wait. The wait holds for all its messages."""

    def use(self, notifiers: Mapping[str, Notifier]) -> None:
        """Use these notifiers from the next message on. A receiver whose notifier stays keeps its wait."""
        stays = {name for name, notifier in notifiers.items() if self.notifiers.get(name) is notifier}
        self.notifiers = notifiers
        self._held_until = {name: until for name, until in self._held_until.items() if name in stays}

    def clock_was_set(self, by_s: float) -> None:
        """Move the receivers' waits by the step of `clock`: a receiver asked for a duration, not for a time of day."""
        self._held_until = {receiver: until + by_s for receiver, until in self._held_until.items()}

    async def tick(self) -> int:
        """Send due messages; return how many were handled. The caller repeats it until the result is 0.

        Receivers do not wait for each other. Raises the errors of the outbox, such as a claim that ran out, after all
        messages were handled.
        """
        limits = self.limits
        # A send that starts later may outlast the claim, and another sender would then send the message too.
        last_start = self.elapsed() + limits.claim_s - limits.send_s
        entries = await asyncio.to_thread(
            self.outbox.claim, self.holder, self.clock.now(), limits.claim_s, limits.batch
        )
        by_receiver: dict[str, list[Entry]] = {}
        for entry in entries:
            by_receiver.setdefault(entry.receiver, []).append(entry)
        outcomes = await asyncio.gather(
            *(self._send_all(receiver, queue, last_start) for receiver, queue in by_receiver.items()),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return len(entries)

    async def _send_all(self, receiver: str, entries: Sequence[Entry], last_start: float) -> None:
        """Send a receiver's messages in order. Raise the first unexpected error after all of them were tried."""
        bugs: list[Exception] = []
        for entry in entries:
            try:
                if self.elapsed() > last_start:
                    await self._give_back(entry, last_start + self.limits.send_s)
                else:
                    await self._send_or_hold(receiver, entry)
            except Exception as bug:  # noqa: BLE001 - the job boundary: one message's bug must not hold up the others
                bugs.append(bug)
        if bugs:
            raise bugs[0]

    async def _give_back(self, entry: Entry, claimed_until: float) -> None:
        """Give a message back that slow sends before it left no time for. Its claim may have ended already."""
        if self.elapsed() < claimed_until:
            reason = "slow messages before it took the time of this attempt"
            await asyncio.to_thread(self.outbox.retry, entry, reason, self.clock.now())
        else:
            _log.warning("notification %s waits for the next claim: this one has ended", entry.message_id)

    async def _send_or_hold(self, receiver: str, entry: Entry) -> None:
        held = self._held_until.get(receiver, 0.0)
        # A `held` beyond the longest wait is left from before the clock was set back, and is ignored.
        if self.clock.now() < held <= self.clock.now() + MAX_RETRY_AFTER_S:
            await asyncio.to_thread(self.outbox.retry, entry, f"{receiver} asked to wait", held)
        else:
            await self._send(entry)

    async def _send(self, entry: Entry) -> None:
        notifier = self.notifiers.get(entry.receiver)
        if notifier is None:
            reason = f"no notifier is called {entry.receiver}; there are {', '.join(sorted(self.notifiers)) or 'none'}"
            await self._failed(entry, DeliveryFailed(reason, permanent=True))
            return
        try:
            message = replace(message_from_json(entry.payload), repeat=entry.attempts > 1)
        except NotReadable as fault:
            last = entry.attempts >= UNREAD_ATTEMPTS
            await self._failed(entry, DeliveryFailed(f"the message cannot be read: {fault}", permanent=last))
            return
        try:
            async with asyncio.timeout(self.limits.send_s):
                result = await self._deliver(notifier, message)
        except TimeoutError:
            failure = DeliveryFailed(f"{entry.receiver} did not finish within {self.limits.send_s:g}s")
            await self._failed(entry, failure)
        except DeliveryFailed as failure:
            await self._failed(entry, failure)
        except Exception as bug:
            # Delayed like any failure, so that it does not recur with every claim. Raised too, for the log.
            kind = type(bug).__name__
            await self._failed(entry, DeliveryFailed(f"internal error ({kind}): see the log of the control plane"))
            raise
        else:
            await asyncio.to_thread(self.outbox.done, entry, result, self.clock.now())

    async def _deliver(self, notifier: Notifier, message: Message) -> dict[str, str] | None:
        root = await asyncio.to_thread(self.groups.root, message.group_key, message.generation)
        ref = await notifier.send(message, root)
        if ref is None:
            return None
        # Before `done`: after a crash in between, the repeat updates this message instead of posting a second one.
        if ref.place:
            await asyncio.to_thread(self.groups.remember, message.group_key, message.generation, ref)
        told = {"place": ref.place, "note": ref.note}
        return {name: text for name, text in told.items() if text} or None

    async def _tell_others(self, entry: Entry, failure: DeliveryFailed) -> None:
        """Send a message that its receiver refused to every other receiver, once each, so that people still see it.

        A refused edit is sent to nobody: the others have no message that it could change.
        """
        try:
            message = message_from_json(entry.payload)
        except NotReadable:
            return  # an unreadable message has no content to pass on
        if message.edit:
            return
        message = replace(message, undelivered=f"{entry.receiver} could not deliver it: {failure}")
        others = [notifier for name, notifier in self.notifiers.items() if name != entry.receiver]
        for notifier in others:
            try:
                async with asyncio.timeout(self.limits.send_s / max(1, len(others))):
                    await notifier.send(message, None)
            except (TimeoutError, DeliveryFailed) as error:
                _log.error("notification %s could not be sent to %s either: %s", entry.message_id, notifier.name, error)

    async def _failed(self, entry: Entry, failure: DeliveryFailed) -> None:
        now, limits = self.clock.now(), self.limits
        if failure.permanent:
            _log.error("notification to %s given up (%s): %s", entry.receiver, entry.message_id, failure)
            await asyncio.to_thread(self.outbox.dead, entry, str(failure), now)
            await self._tell_others(entry, failure)
            return
        # The exponent is bounded because attempts are not: 2**attempts would overflow.
        wait = min(limits.first_backoff_s * 2 ** min(entry.attempts - 1, 30), limits.most_backoff_s)
        asked = failure.retry_after
        if asked is not None and asked >= 0:  # a NaN or negative Retry-After is ignored
            wait = max(min(asked, MAX_RETRY_AFTER_S), limits.least_wait_s)
            self._held_until[entry.receiver] = now + wait
        _log.warning(
            "notification to %s delayed by %.0f s, attempt %d (%s): %s",
            entry.receiver,
            wait,
            entry.attempts,
            entry.message_id,
            failure,
        )
        await asyncio.to_thread(self.outbox.retry, entry, str(failure), now + wait)
