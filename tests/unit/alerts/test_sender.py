"""The sender's reaction to each outcome of a delivery, with an outbox in memory."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from alerts.dispatch import Decide, GroupStep
from alerts.errors import DeliveryFailed
from alerts.interfaces import AlertInstance, AlertState, Message, MessageRef, Notifier
from alerts.notify.card import render
from alerts.sender import MessageSender, SenderLimits
from alerts.wire import message_to_json

REF = MessageRef("C1/1.5")


def message(receiver: str = "ops", sequence: int = 1) -> Message:
    alert = AlertInstance("f;g;A", (("alertname", "A"),), (), AlertState.FIRING, 1.0, 0.0, fired_at=0.0)
    return Message(f"{receiver}{{}}", receiver, "firing", (), (alert,), (), sequence, generation=1)


@dataclass(frozen=True)
class FakeEntry:
    message_id: str
    receiver: str
    payload: Mapping[str, Any]
    attempts: int = 1


@dataclass
class FakeOutbox:
    due: list[FakeEntry] = field(default_factory=list)
    outcomes: list[tuple[str, str, object]] = field(default_factory=list)

    def claim(self, holder: str, now: float, ttl_s: float, limit: int) -> list[FakeEntry]:
        claimed, self.due = self.due[:limit], self.due[limit:]
        return claimed

    def done(self, entry: FakeEntry, result: Mapping[str, Any] | None, at: float) -> None:
        self.outcomes.append(("done", entry.message_id, result))

    def retry(self, entry: FakeEntry, error: str, next_at: float) -> None:
        self.outcomes.append(("retry", error, next_at))

    def dead(self, entry: FakeEntry, error: str, at: float) -> None:
        self.outcomes.append(("dead", error, at))


@dataclass
class FakeGroups:
    refs: dict[tuple[str, int], MessageRef] = field(default_factory=dict)

    def advance(self, decide: Decide, at: float) -> list[GroupStep]:
        raise NotImplementedError

    def root(self, key: str, generation: int) -> MessageRef | None:
        return self.refs.get((key, generation))

    def remember(self, key: str, generation: int, ref: MessageRef) -> None:
        self.refs[key, generation] = ref


@dataclass
class FakeNotifier:
    name: str = "ops"
    failures: list[Exception] = field(default_factory=list)
    sent: list[tuple[Message, MessageRef | None]] = field(default_factory=list)
    ref: MessageRef | None = REF

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        self.sent.append((message, root))
        if self.failures:
            raise self.failures.pop(0)
        return self.ref

    async def close(self) -> None: ...


@dataclass
class Post:
    """A sender with its outbox, notifiers and clock."""

    clock: Any
    outbox: FakeOutbox = field(default_factory=FakeOutbox)
    groups: FakeGroups = field(default_factory=FakeGroups)
    notifier: FakeNotifier = field(default_factory=FakeNotifier)

    def __post_init__(self) -> None:
        notifiers: dict[str, Notifier] = {"ops": self.notifier}
        self.sender = MessageSender(
            self.outbox, self.groups, notifiers, self.clock, holder="me", limits=SenderLimits(send_s=0.2)
        )

    async def send(self, *messages: Message, attempts: int = 1) -> list[tuple[str, str, object]]:
        self.outbox.due += [FakeEntry(m.id, m.receiver, message_to_json(m), attempts) for m in messages]
        self.outbox.outcomes.clear()
        await self.sender.tick()
        return self.outbox.outcomes


@pytest.fixture
def post(clock: Any) -> Post:
    clock.at = 1000.0
    return Post(clock)


async def test_a_message_is_sent_as_it_was_written_and_its_place_remembered(post: Post) -> None:
    assert await post.send(message()) == [("done", "ops{}/1/1", {"place": "C1/1.5"})]
    assert await post.send(message(sequence=2)) == [("done", "ops{}/1/2", {"place": "C1/1.5"})]
    assert post.notifier.sent == [(message(), None), (message(sequence=2), REF)]


async def test_a_note_is_recorded_and_an_empty_place_is_not_remembered(post: Post) -> None:
    post.notifier.ref = MessageRef("", "sent as plain text: no cards")
    assert await post.send(message()) == [("done", "ops{}/1/1", {"note": "sent as plain text: no cards"})]
    post.notifier.ref = MessageRef("")
    assert await post.send(message(sequence=2)) == [("done", "ops{}/1/2", None)]
    assert post.groups.refs == {}


async def test_a_medium_without_places_is_fine(post: Post) -> None:
    post.notifier.ref = None
    assert await post.send(message()) == [("done", "ops{}/1/1", None)]
    assert post.groups.refs == {}


async def test_a_second_attempt_is_marked_as_a_repeat(post: Post) -> None:
    await post.send(message(), attempts=2)
    assert post.notifier.sent == [(replace(message(), repeat=True), None)]


@pytest.mark.parametrize(("attempts", "wait"), [(1, 2), (2, 4), (5, 32), (8, 256), (9, 300), (10_000, 300)])
async def test_trouble_waits_longer_each_time_and_never_gives_up(post: Post, attempts: int, wait: float) -> None:
    post.notifier.failures = [DeliveryFailed("HTTP 500")]
    assert await post.send(message(), attempts=attempts) == [("retry", "HTTP 500", 1000.0 + wait)]


async def test_retry_after_is_honoured_for_the_whole_receiver(post: Post) -> None:
    post.notifier.failures = [DeliveryFailed("rate limited", retry_after=7)]
    assert await post.send(message(), message(sequence=2)) == [
        ("retry", "rate limited", 1007.0),
        ("retry", "ops asked to wait", 1007.0),
    ]
    assert len(post.notifier.sent) == 1
    post.clock.at = 1007.0
    assert await post.send(message(), attempts=2) == [("done", "ops{}/1/1", {"place": "C1/1.5"})]


@pytest.mark.parametrize(
    ("asked", "wait"),
    [(0.0, 1.0), (0.2, 1.0), (600.0, 600.0), (601.0, 600.0), (1e300, 600.0), (math.inf, 600.0)],
)
async def test_a_receiver_is_silent_for_ten_minutes_at_most(post: Post, asked: float, wait: float) -> None:
    post.notifier.failures = [DeliveryFailed("rate limited", retry_after=asked)]
    assert await post.send(message()) == [("retry", "rate limited", 1000.0 + wait)]
    post.clock.at += wait
    assert await post.send(message(), attempts=2) == [("done", "ops{}/1/1", {"place": "C1/1.5"})]


@pytest.mark.parametrize("asked", [math.nan, -1.0, -math.inf])
async def test_a_wait_that_is_none_is_no_wish(post: Post, asked: float) -> None:
    post.notifier.failures = [DeliveryFailed("rate limited", retry_after=asked)]
    assert await post.send(message(), message(sequence=2)) == [
        ("retry", "rate limited", 1002.0),
        ("done", "ops{}/1/2", {"place": "C1/1.5"}),
    ]


async def test_a_clock_that_is_set_back_prolongs_no_silence(post: Post) -> None:
    post.notifier.failures = [DeliveryFailed("rate limited", retry_after=60)]
    await post.send(message())
    post.clock.at -= 3600
    assert await post.send(message(), attempts=2) == [("done", "ops{}/1/1", {"place": "C1/1.5"})]


async def test_a_reload_ends_the_silence_of_a_receiver_only_where_its_notifier_changed(post: Post) -> None:
    post.notifier.failures = [DeliveryFailed("rate limited", retry_after=7)]
    await post.send(message())
    post.sender.use({"ops": post.notifier, "log": FakeNotifier("log")})
    assert await post.send(message(sequence=2)) == [("retry", "ops asked to wait", 1007.0)]
    post.sender.use({"ops": FakeNotifier()})
    assert await post.send(message(sequence=3)) == [("done", "ops{}/1/3", {"place": "C1/1.5"})]


async def test_what_trying_again_cannot_mend_is_given_up_with_its_reason(post: Post) -> None:
    post.notifier.failures = [DeliveryFailed("invalid_auth (set a current bot token)", permanent=True)]
    assert await post.send(message()) == [("dead", "invalid_auth (set a current bot token)", 1000.0)]


async def test_what_a_receiver_refuses_for_good_is_told_to_everybody_else(post: Post) -> None:
    log, pager = FakeNotifier("log"), FakeNotifier("pager", failures=[DeliveryFailed("away")])
    post.sender.notifiers = {"ops": post.notifier, "pager": pager, "log": log}
    post.notifier.failures = [DeliveryFailed("is_archived", permanent=True)]
    assert await post.send(message()) == [("dead", "is_archived", 1000.0)]
    told = replace(message(), undelivered="ops could not deliver it: is_archived")
    assert (pager.sent, log.sent) == ([(told, None)], [(told, None)])
    assert render(told).text == "FIRING: alerts (1 firing): A: value 1 (ops could not deliver it: is_archived)"
    assert ("Sent here because", "ops could not deliver it: is_archived") in render(told).fields


async def test_an_edit_that_is_refused_is_sent_to_nobody_else(post: Post) -> None:
    log = FakeNotifier("log")
    post.sender.notifiers = {"ops": post.notifier, "log": log}
    post.notifier.failures = [DeliveryFailed("is_archived", permanent=True)]
    assert await post.send(replace(message(), edit=True)) == [("dead", "is_archived", 1000.0)]
    assert log.sent == []


async def test_what_had_to_be_done_to_get_through_is_kept(post: Post) -> None:
    post.notifier.ref = replace(REF, note="sent as plain text: invalid_blocks")
    result = {"place": "C1/1.5", "note": "sent as plain text: invalid_blocks"}
    assert await post.send(message()) == [("done", "ops{}/1/1", result)]


async def test_a_receiver_that_is_gone_is_named(post: Post) -> None:
    assert await post.send(message("pager")) == [("dead", "no notifier is called pager; there are ops", 1000.0)]


async def test_a_notifier_that_hangs_is_cut_off(post: Post) -> None:
    async def hang(message: Message, root: MessageRef | None) -> MessageRef | None:
        await asyncio.Event().wait()
        return None

    post.notifier.send = hang  # type: ignore[method-assign]
    assert await post.send(message()) == [("retry", "ops did not finish within 0.2s", 1002.0)]


async def test_a_bug_in_one_notifier_is_raised_after_the_others_are_done(post: Post) -> None:
    broken = FakeNotifier("broken", failures=[ZeroDivisionError("bug")])
    post.sender.notifiers = {"ops": post.notifier, "broken": broken}
    with pytest.raises(ZeroDivisionError):
        await post.send(message("broken"), message("broken", 2), message())
    assert sorted(post.outbox.outcomes, key=str) == [
        ("done", "broken{}/1/2", {"place": "C1/1.5"}),
        ("done", "ops{}/1/1", {"place": "C1/1.5"}),
        ("retry", "internal error (ZeroDivisionError): see the log of the control plane", 1002.0),
    ]


async def test_a_message_that_cannot_be_read_holds_up_no_other(post: Post) -> None:
    post.outbox.due = [FakeEntry("odd", "ops", {"no": "message"})]
    await post.send(message())
    assert post.outbox.outcomes == [
        ("retry", "the message cannot be read: KeyError: 'group_key'", 1002.0),
        ("done", "ops{}/1/1", {"place": "C1/1.5"}),
    ]


async def test_a_message_that_cannot_be_read_is_given_up_in_the_end(post: Post) -> None:
    """A message of a newer format is retried for a while, because a process of a newer release may read it."""
    newer = message_to_json(message()) | {"format": 99}
    post.outbox.due = [FakeEntry("odd", "ops", newer, attempts=5)]
    await post.sender.tick()
    told = "the message cannot be read: it is of format 99, and this release knows 3"
    assert post.outbox.outcomes == [("dead", told, 1000.0)]


async def test_messages_for_which_slow_ones_leave_no_time_are_given_back(post: Post) -> None:
    seconds = [0.0]
    post.sender.elapsed = lambda: seconds[0]
    limits = post.sender.limits = SenderLimits(claim_s=0.8, send_s=0.2)
    entries = [FakeEntry(f"m{n}", "ops", message_to_json(message()), attempts=1) for n in range(6)]
    post.outbox.due = list(entries)
    deliver = post.notifier.send

    async def slowly(message: Message, root: MessageRef | None) -> MessageRef | None:
        seconds[0] += limits.send_s - 0.01
        return await deliver(message, root)

    post.notifier.send = slowly  # type: ignore[method-assign]
    await post.sender.tick()
    outcomes = [outcome[0] for outcome in post.outbox.outcomes]
    assert outcomes == ["done", "done", "done", "done", "retry", "retry"]
    assert post.outbox.outcomes[-1] == ("retry", "slow messages before it took the time of this attempt", 1000.0)


async def test_a_sender_that_was_stopped_after_its_claim_leaves_the_message_to_the_next_one(post: Post) -> None:
    seconds = [0.0]
    post.sender.elapsed = lambda: seconds[0]

    def claim_and_stop(holder: str, now: float, ttl_s: float, limit: int) -> list[FakeEntry]:
        found = FakeOutbox.claim(post.outbox, holder, now, ttl_s, limit)
        seconds[0] += 61.0
        return found

    post.outbox.claim = claim_and_stop  # type: ignore[method-assign]
    assert await post.send(message()) == []
    assert post.notifier.sent == []
