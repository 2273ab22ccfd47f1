"""The sender's reaction to each outcome of a delivery, with an outbox in memory."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from alerts.dispatch import Decide, GroupStep
from alerts.errors import DeliveryFailed
from alerts.interfaces import Above, AlertInstance, AlertState, Escalated, Message, MessageRef, Notifier
from alerts.notify.card import render
from alerts.sender import MessageSender, SenderLimits
from alerts.sending import Fate, Outcome
from alerts.wire import MESSAGE_FORMAT, message_to_json

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
    lane: str = "lane"
    followed_by: str = ""
    after_given_up: bool = False


@dataclass
class FakeOutbox:
    due: list[FakeEntry] = field(default_factory=list)
    outcomes: list[tuple[str, str, object]] = field(default_factory=list)

    transactions: int = 0
    waits: dict[str, float] = field(default_factory=dict)
    unstorable: str = ""
    """Result that the database refuses."""

    def claim(
        self, holder: str, now: float, ttl_s: float, limit: int, without: Collection[str] = ()
    ) -> list[FakeEntry]:
        waiting = {name for name, until in self.waits.items() if now < until}
        free = [entry for entry in self.due if entry.receiver not in waiting.union(without)]
        claimed = [e for n, e in enumerate(free) if [b.receiver for b in free[:n]].count(e.receiver) < limit]
        self.due = [entry for entry in self.due if entry not in claimed]
        return claimed

    def settle(self, outcomes: Sequence[Outcome]) -> list[FakeEntry]:
        self.transactions += 1
        if any(self.unstorable and outcome.result == {"place": self.unstorable} for outcome in outcomes):
            raise ValueError("the database cannot hold it")
        for one in outcomes:
            self.due += [FakeEntry(s.message_id, s.receiver, s.payload, lane=s.lane) for s in one.substitutes]
            if one.fate is Fate.SENT:
                self.outcomes.append(("done", one.entry.message_id, one.result))
            else:
                self.outcomes.append((one.fate.value, one.error or "", one.at))
        return [one.entry for one in outcomes if one.entry.message_id == "lost"]

    def hold(self, receiver: str, until: float) -> None:
        self.waits[receiver] = until

    def free(self, receivers: Collection[str]) -> None:
        self.waits = {name: until for name, until in self.waits.items() if name not in receivers}


@dataclass
class FakeGroups:
    refs: dict[tuple[str, int], MessageRef] = field(default_factory=dict)

    def advance(self, decide: Decide, at: float) -> list[GroupStep]:
        raise NotImplementedError

    def roots(self, wanted: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], MessageRef]:
        return {group: self.refs[group] for group in wanted if group in self.refs}

    def remember(self, places: Mapping[tuple[str, int], MessageRef]) -> None:
        self.refs |= places


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


async def test_an_escalation_gets_the_places_of_the_messages_that_it_goes_on_from(post: Post) -> None:
    post.groups.refs["first{}", 3] = MessageRef("C1/1.1")
    escalated = Escalated(1, 1, 900.0, (Above("first{}", 3), Above("first{}", 2)))
    await post.send(replace(message(), escalated=escalated))
    assert [sent.above for sent, _ in post.notifier.sent] == [(MessageRef("C1/1.1"),)]


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
        ("released", "ops asked to wait", 1007.0),
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


async def test_a_reload_ends_the_silence_of_a_receiver_only_where_its_notifier_changed(post: Post) -> None:
    post.notifier.failures = [DeliveryFailed("rate limited", retry_after=7)]
    await post.send(message())
    post.sender.use({"ops": post.notifier, "log": FakeNotifier("log")})
    assert await post.send(message(sequence=2)) == []
    post.sender.use({"ops": FakeNotifier()})
    assert await post.send() == [("done", "ops{}/1/2", {"place": "C1/1.5"})]


async def test_what_trying_again_cannot_mend_is_given_up_with_its_reason(post: Post) -> None:
    post.notifier.failures = [DeliveryFailed("invalid_auth (set a current bot token)", permanent=True)]
    assert await post.send(message()) == [("dead", "invalid_auth (set a current bot token)", 1000.0)]


async def test_what_a_receiver_refuses_for_good_is_told_to_everybody_else(post: Post) -> None:
    log, pager = FakeNotifier("log"), FakeNotifier("pager", failures=[DeliveryFailed("away")])
    post.sender.notifiers = {"ops": post.notifier, "pager": pager, "log": log}
    post.notifier.failures = [DeliveryFailed("is_archived", permanent=True)]
    post.groups.refs[("ops{}", 1)] = REF
    assert await post.send(message()) == [("dead", "is_archived", 1000.0)]
    assert [(e.message_id, e.lane) for e in post.outbox.due] == [
        ("ops{}/1/1~pager", "lane~pager"),
        ("ops{}/1/1~log", "lane~log"),
    ]
    told = replace(message(), undelivered="ops could not deliver it: is_archived")
    assert await post.send() == [("retry", "away", 1002.0), ("done", "ops{}/1/1~log", {"place": REF.place})]
    assert (pager.sent, log.sent) == ([(told, None)], [(told, None)]), "the group's place is one of another receiver"
    assert post.groups.refs == {("ops{}", 1): REF}
    assert render(told).text == "FIRING: alerts (1 firing): A: value 1 (ops could not deliver it: is_archived)"
    assert ("Sent here because", "ops could not deliver it: is_archived") in render(told).fields


@pytest.mark.parametrize("after_given_up", [False, True])
async def test_the_others_that_were_told_of_an_alert_are_told_of_its_end_though_the_receiver_works_again(
    post: Post, *, after_given_up: bool
) -> None:
    other = FakeNotifier("pager")
    post.sender.use({"ops": post.notifier, "pager": other})
    firing = message()
    over = replace(firing, status="resolved", firing=(), resolved=firing.firing, sequence=2)
    post.outbox.due = [FakeEntry(over.id, "ops", message_to_json(over), after_given_up=after_given_up)]
    while await post.sender.tick():
        pass
    why = "ops could not deliver an earlier message of these alerts"
    assert [one.undelivered for one, _ in post.notifier.sent] == [""]
    assert [(one.status, one.undelivered) for one, _ in other.sent] == [("resolved", why)][: int(after_given_up)]


async def test_a_substitute_that_is_refused_goes_to_nobody_else(post: Post) -> None:
    pager = FakeNotifier("pager", failures=[DeliveryFailed("wrong key", permanent=True)])
    post.sender.use({"ops": post.notifier, "pager": pager})
    passed_on = replace(message(), undelivered="ops could not deliver it: is_archived")
    post.outbox.due = [FakeEntry("ops{}/1/1~pager", "pager", message_to_json(passed_on), after_given_up=True)]
    await post.sender.tick()
    assert post.outbox.outcomes == [("dead", "wrong key", 1000.0)]
    assert (post.outbox.due, post.notifier.sent) == ([], [])


async def test_the_others_are_not_told_again_of_what_fires(post: Post) -> None:
    other = FakeNotifier("pager")
    post.sender.use({"ops": post.notifier, "pager": other})
    post.outbox.due = [FakeEntry("ops{}/1/2", "ops", message_to_json(message(sequence=2)), after_given_up=True)]
    await post.sender.tick()
    assert (len(post.notifier.sent), other.sent) == (1, [])


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
    newer = message_to_json(message()) | {"format": MESSAGE_FORMAT + 1}
    post.outbox.due = [FakeEntry("odd", "ops", newer, attempts=5)]
    await post.sender.tick()
    told = f"the message cannot be read: it is of format {MESSAGE_FORMAT + 1}, and this release knows {MESSAGE_FORMAT}"
    assert post.outbox.outcomes == [("dead", told, 1000.0)]


async def test_messages_for_which_slow_ones_leave_no_time_are_given_back(post: Post) -> None:
    seconds = [0.0]
    post.sender.elapsed = lambda: seconds[0]
    limits = post.sender.limits = SenderLimits(claim_s=0.8, send_s=0.2, abreast=1)
    entries = [FakeEntry(f"m{n}", "ops", message_to_json(message()), attempts=1) for n in range(6)]
    post.outbox.due = list(entries)
    deliver = post.notifier.send

    async def slowly(message: Message, root: MessageRef | None) -> MessageRef | None:
        seconds[0] += limits.send_s - 0.01
        return await deliver(message, root)

    post.notifier.send = slowly  # type: ignore[method-assign]
    await post.sender.tick()
    outcomes = [outcome[0] for outcome in post.outbox.outcomes]
    assert outcomes == ["done", "done", "done", "done", "released", "released"]
    assert post.outbox.outcomes[-1] == ("released", "slow messages before it took the time of this attempt", 1000.0)


async def test_a_sender_that_was_stopped_after_its_claim_leaves_the_message_to_the_next_one(post: Post) -> None:
    seconds = [0.0]
    post.sender.elapsed = lambda: seconds[0]

    def claim_and_stop(*asked: Any) -> list[FakeEntry]:
        found = FakeOutbox.claim(post.outbox, *asked)
        seconds[0] += 61.0
        return found

    post.outbox.claim = claim_and_stop  # type: ignore[method-assign,assignment]  # it passes all on
    assert await post.send(message()) == []
    assert post.notifier.sent == []


@dataclass
class Hanging(FakeNotifier):
    """A notifier that answers only when it is told to."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    most: int = 0

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.started.set()
        await self.released.wait()
        await asyncio.sleep(0)
        self.under_way -= 1
        return await super().send(message, root)


def queued(post: Post, *messages: Message) -> None:
    post.outbox.due += [FakeEntry(m.id, m.receiver, message_to_json(m)) for m in messages]


async def test_a_receiver_that_hangs_holds_up_no_other(post: Post) -> None:
    hanging, woken = Hanging("slow"), []
    post.sender.notifiers = {"slow": hanging, "ops": post.notifier}
    post.sender.limits = SenderLimits(claim_s=120.0, send_s=60.0)
    post.sender.wake = lambda: woken.append(post.clock.at)
    queued(post, message("slow"), message("slow", 2), message())
    assert await post.sender.hand_out() == 3
    queued(post, message(sequence=2), message("slow", 3))
    while len(post.outbox.outcomes) < 2:
        await post.sender.hand_out()
    assert [outcome[1] for outcome in post.outbox.outcomes] == ["ops{}/1/1", "ops{}/1/2"]
    assert [entry.message_id for entry in post.outbox.due] == ["slow{}/1/3"], "its worker is busy: it is not claimed"
    assert post.sender.uses(hanging)
    hanging.released.set()
    await post.sender.idle()
    assert await post.sender.tick() == 1
    assert not post.sender.uses(hanging)
    assert [outcome[1] for outcome in post.outbox.outcomes[2:]] == [f"slow{{}}/1/{n}" for n in (1, 2, 3)]
    assert len(woken) == 4, "each worker that ends tells that more may be due"


async def test_several_messages_of_a_receiver_are_under_way_only_after_one_was_delivered(post: Post) -> None:
    ops = Hanging()
    post.sender.notifiers = {"ops": ops}
    post.sender.limits = SenderLimits(claim_s=120.0, send_s=60.0)
    queued(post, *(message(sequence=n) for n in range(1, 8)))
    await post.sender.hand_out()
    await ops.started.wait()
    assert ops.most == 1
    ops.released.set()
    await post.sender.idle()
    assert ops.most == 4
    assert [outcome[1] for outcome in post.outbox.outcomes] == [f"ops{{}}/1/{n}" for n in range(1, 8)]


async def test_results_that_come_while_others_are_written_are_one_transaction(post: Post) -> None:
    names = [f"r{n}" for n in range(20)]
    notifiers = [Hanging(name) for name in names]
    post.sender.notifiers = {notifier.name: notifier for notifier in notifiers}
    post.sender.limits = SenderLimits(claim_s=120.0, send_s=60.0)
    open_, settle = threading.Event(), post.outbox.settle

    def slowly(outcomes: Sequence[Outcome]) -> list[FakeEntry]:
        open_.wait(10)
        return settle(outcomes)

    post.outbox.settle = slowly  # type: ignore[method-assign]
    queued(post, *(message(name) for name in names))
    await post.sender.hand_out()
    for notifier in notifiers:
        await notifier.started.wait()
        notifier.released.set()
    while any(not notifier.sent for notifier in notifiers):
        await post.sender.hand_out()
    open_.set()
    await post.sender.idle()
    assert sorted(str(outcome[1]) for outcome in post.outbox.outcomes) == sorted(f"{name}{{}}/1/1" for name in names)
    assert post.outbox.transactions <= 3


async def test_a_result_that_cannot_be_stored_holds_up_no_other(post: Post) -> None:
    post.outbox.unstorable = "C1/odd"
    odd = FakeNotifier("odd", ref=MessageRef("C1/odd"))
    post.sender.notifiers = {"odd": odd, "ops": post.notifier}
    with pytest.raises(ValueError, match="cannot hold"):
        await post.send(message("odd"), message())
    assert post.outbox.outcomes == [("done", "ops{}/1/1", {"place": "C1/1.5"})]


async def test_a_lost_claim_is_logged(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    post.outbox.due = [FakeEntry("lost", "ops", message_to_json(message()))]
    await post.sender.tick()
    assert "notification lost: its claim had run out" in caplog.text


async def test_the_end_of_the_process_waits_for_sends_and_cancels_those_that_hang(post: Post) -> None:
    hanging = Hanging("slow")
    post.sender.notifiers = {"slow": hanging, "ops": post.notifier}
    post.sender.limits = SenderLimits(claim_s=120.0, send_s=60.0)
    queued(post, message("slow"), message())
    await post.sender.hand_out()
    await post.sender.close(0.05)
    assert post.outbox.outcomes == [("done", "ops{}/1/1", {"place": "C1/1.5"})]
    assert not post.sender.uses(hanging)


async def test_an_edit_is_left_out_when_a_newer_message_of_its_group_is_queued(post: Post) -> None:
    edit = message_to_json(replace(message(), edit=True))
    post.outbox.due = [FakeEntry("ops{}/1/1", "ops", edit, followed_by="ops{}/1/2")]
    await post.sender.tick()
    told = {"note": "left out: a newer message of its group shows what it shows"}
    assert post.outbox.outcomes == [("done", "ops{}/1/1", told)]
    assert post.notifier.sent == []


@pytest.mark.parametrize(("next_id", "overtaken"), [("ops{}/1/2", True), ("ops{}/2/1", False), ("", False)])
async def test_a_message_is_overtaken_by_a_newer_one_of_its_generation(
    post: Post, next_id: str, *, overtaken: bool
) -> None:
    post.outbox.due = [FakeEntry("ops{}/1/1", "ops", message_to_json(message()), followed_by=next_id)]
    await post.sender.tick()
    assert post.notifier.sent == [(replace(message(), overtaken=overtaken), None)]
