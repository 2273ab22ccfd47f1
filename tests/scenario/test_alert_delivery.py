"""From a rule to Slack on a virtual clock: a crash at any step may repeat a message, but never loses one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel

import controlplane.store.tables
import controlplane.store.tables.alerts  # noqa: F401 - fills SQLModel.metadata
from alerts.dispatch import Dispatcher
from alerts.evaluate import GroupEvaluator
from alerts.interfaces import AlertState, Message, MessageRef, VectorSample
from alerts.notify.slack.notifier import SlackNotifier
from alerts.rules import parse_rules
from alerts.sender import MessageSender
from alerts.template import Surroundings
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStatus, OutboxStore
from tests.fakes.slack import TOKEN, FakeSlack, running
from tests.patience import HANG_S
from tests.routes import root, stages

(GROUP,) = parse_rules(
    "groups: [{name: gpu, rules: [{alert: Hot, expr: temp > 85, for: 10s, labels: {severity: critical},"
    " annotations: {summary: '{{ $value }} °C on {{ $labels.gpu }}'}}]}]",
    "r.yml",
)
ROUTE = root("ops", ("alertname",), wait_s=5, interval_s=10, repeat_s=86400)
STEP_S = 5.0
END_S = 400.0
"""End of a run: long enough for two claims of dead senders to expire."""


class Crash(BaseException):
    """Ends the process without any clean-up."""


@dataclass
class Crashing:
    """Wraps an object and crashes once, before or after the nth call of one of its methods."""

    inner: Any
    method: str
    when: str
    left: int

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        if name != self.method:
            return attribute

        def call(*args: Any) -> Any:
            self.left -= 1
            if self.left == 0 and self.when == "before":
                raise Crash
            result = attribute(*args)
            if self.left == 0 and self.when == "after":
                raise Crash
            return result

        async def call_async(*args: Any) -> Any:
            self.left -= 1
            if self.left == 0 and self.when == "before":
                raise Crash
            result = await attribute(*args)
            if self.left == 0 and self.when == "after":
                raise Crash
            return result

        return call_async if name == "send" else call


@dataclass
class Watched:
    """Wraps an object and notes its calls, by their names and ordinals. One that finds nothing to do is not noted."""

    inner: Any
    part: str
    seen: set[tuple[str, str, int]]
    counts: Counter[str] = field(default_factory=Counter)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)

        def note(result: Any) -> Any:
            self.counts[name] += 1
            if not (name in POLLS and not result):
                self.seen.add((self.part, name, self.counts[name]))
            return result

        async def call_async(*args: Any) -> Any:
            return note(await attribute(*args))

        return call_async if name == "send" else lambda *args: note(attribute(*args))


@dataclass
class Gpu:
    """Querier and clock of this world. The GPU is hot from 20 s to 150 s."""

    at: float = 0.0
    hot: tuple[tuple[float, float], ...] = ((20, 150),)

    def now(self) -> float:
        return self.at

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        return [VectorSample((("gpu", "0"),), 91.0)] if any(start <= at < end for start, end in self.hot) else []


@dataclass
class World:
    """The state that outlives a process: database, Slack, time."""

    db: Database
    slack: FakeSlack
    gpu: Gpu = field(default_factory=Gpu)
    starts: int = 0
    step_s: float = STEP_S
    end_s: float = END_S

    async def run(self, wrap: Callable[[str, Any], Any] = lambda _name, inner: inner) -> None:
        """Run processes, a new one after each crash, until `end_s`."""
        while self.gpu.at < self.end_s:
            self.starts += 1
            notifier = SlackNotifier(
                "ops", "#ops", lambda: TOKEN, base_url=self.slack.url, timeout_s=HANG_S, monotonic=self.gpu.now
            )
            try:
                await self._process(wrap, notifier)
            except Crash:
                self.gpu.at += self.step_s
            finally:
                await notifier.close()

    async def _process(self, wrap: Callable[[str, Any], Any], notifier: SlackNotifier) -> None:
        groups = wrap("groups", SqlGroupLog(self.db))
        log = wrap("log", SqlAlertLog(self.db))
        evaluator = GroupEvaluator(GROUP, self.gpu, log, SeriesStore(), self.gpu, around=Surroundings())
        dispatcher = Dispatcher(stages(ROUTE), groups, self.gpu)
        outbox = wrap("outbox", OutboxStore(self.db))
        sender = MessageSender(outbox, groups, {"ops": wrap("notifier", notifier)}, self.gpu, holder=f"p{self.starts}")
        while self.gpu.at < self.end_s:
            await evaluator.evaluate()
            await dispatcher.tick()
            await sender.tick()
            self.gpu.at += self.step_s

    def transitions(self) -> list[tuple[AlertState, AlertState]]:
        return [(e.before, e.after) for e in reversed(SqlAlertLog(self.db).recent())]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/cp.db")
    SQLModel.metadata.create_all(database.engine)
    yield database
    database.close()


INACTIVE, PENDING, FIRING = AlertState.INACTIVE, AlertState.PENDING, AlertState.FIRING
WHOLE_STORY = [(INACTIVE, PENDING), (PENDING, FIRING), (FIRING, INACTIVE)]


def assert_told_once(world: World) -> None:
    """Assert one message in the channel, which shows the end, one line in its thread, and no queued or dead message."""
    (root,) = world.slack.roots()
    assert root["blocks"][0]["text"]["text"] == ":large_green_circle: RESOLVED: Hot"
    (line,) = world.slack.thread(root["ts"])
    assert line["text"] == (
        "RESOLVED: Hot (1 resolved): ended at 1970-01-01 00:02:30 UTC, after firing for 2m 0s (was: 91 °C on 0)"
    )
    assert_queued_once(world)


def assert_queued_once(world: World) -> None:
    """Assert that both messages of the story were queued once and sent."""
    entries = OutboxStore(world.db).recent(10)
    assert [(e.status, e.message_id.split("/")[-1]) for e in entries] == [
        (OutboxStatus.SENT, "2"),
        (OutboxStatus.SENT, "1"),
    ]


async def test_a_day_without_crashes(db: Database) -> None:
    async with running() as slack:
        world = World(db, slack)
        await world.run()
        assert world.starts == 1
        assert_told_once(world)
        assert world.transitions() == WHOLE_STORY


SENDING = [
    ("notifier", "send", 1),
    ("notifier", "send", 2),
    ("groups", "remember", 1),
    ("outbox", "settle", 1),
    ("outbox", "settle", 2),
    ("groups", "roots", 1),
    ("groups", "roots", 2),
]
DECIDING = [
    ("log", "load", 1),
    ("log", "record", 1),
    ("log", "record", 2),
    ("log", "record", 3),
    ("groups", "advance", 7),
    ("groups", "advance", 8),
    ("groups", "advance", 31),
    ("outbox", "claim", 8),
    ("outbox", "claim", 31),
]
"""Calls with their ordinals, before and after each of which a process dies."""
POLLS = {"advance", "claim"}
"""Calls of every turn, most of which find nothing to do."""


async def test_a_process_dies_at_each_call_that_does_something(db: Database) -> None:
    seen: set[tuple[str, str, int]] = set()
    async with running() as slack:
        await World(db, slack).run(lambda name, inner: Watched(inner, name, seen))
    assert seen - {("groups", "advance", 7)} == {*SENDING, *DECIDING} - {("groups", "advance", 7)}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("part", "method", "nth"), SENDING)
async def test_a_crash_while_sending_repeats_at_most_and_loses_nothing(
    db: Database, part: str, method: str, when: str, nth: int
) -> None:
    crash = Crashing(None, method, when, nth)
    async with running() as slack:
        world = World(db, slack)
        await world.run(lambda name, inner: _put(crash, inner) if name == part else inner)
        assert world.starts == 2
        assert_told_once(world)
        assert world.transitions() == WHOLE_STORY


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("part", "method", "nth"), DECIDING)
async def test_a_crash_while_deciding_loses_nothing(db: Database, part: str, method: str, nth: int, when: str) -> None:
    crash = Crashing(None, method, when, nth)
    async with running() as slack:
        world = World(db, slack)
        await world.run(lambda name, inner: _put(crash, inner) if name == part else inner)
        assert world.starts == 2
        assert [m["blocks"][0]["text"]["text"][-13:] for m in slack.roots()] == ["RESOLVED: Hot"]
        assert_queued_once(world)
        assert world.transitions() == WHOLE_STORY


@pytest.mark.parametrize("fault", ["429:20", "500", "garbage", "lost", "internal_error"])
async def test_an_outage_of_slack_delays_and_loses_nothing(db: Database, fault: str) -> None:
    async with running() as slack:
        for _ in range(3):
            slack.misbehave(fault, "chat.postMessage")
        world = World(db, slack)
        await world.run()
        assert_told_once(world)


async def test_an_outage_longer_than_the_alert_ends_in_its_whole_story(db: Database) -> None:
    async with running() as slack:
        for _ in range(7):
            slack.misbehave("500", "chat.postMessage")
        world = World(db, slack)
        await world.run()
        assert_told_once(world)


@dataclass
class Down:
    """A notifier whose Slack answers 500 until `back_s`."""

    inner: SlackNotifier
    world: World
    back_s: float
    tried: list[float]
    name: str = "ops"

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        self.tried.append(self.world.gpu.at)
        if self.world.gpu.at < self.back_s:
            self.world.slack.misbehave("500", "chat.postMessage")
        return await self.inner.send(message, root)


async def test_a_receiver_that_is_down_for_an_hour_loses_nothing_and_gets_nothing_twice(db: Database) -> None:
    """The alert ends and fires again meanwhile. The receiver is asked again every five minutes at least."""
    async with running() as slack:
        world = World(db, slack, Gpu(hot=((20, 600), (2000, 4500))), step_s=20.0, end_s=5000.0)
        tried: list[float] = []
        await world.run(lambda name, inner: Down(inner, world, 3620.0, tried) if name == "notifier" else inner)
        assert tried[:9] == [60, 80, 100, 120, 140, 180, 260, 400, 660]
        assert tried[9:] == [*range(960, 3961 - 300, 300), 4500]
        (shown,) = slack.roots()
        assert shown["blocks"][0]["text"]["text"] == ":large_green_circle: RESOLVED: Hot"
        (end,) = slack.thread(shown["ts"])
        assert end["text"].startswith("RESOLVED: Hot (1 resolved): ended at 1970-01-01 01:15:00 UTC")
        assert_queued_once(world)


async def test_a_wrong_token_is_recorded_as_dead_with_its_cure(db: Database) -> None:
    async with running() as slack:
        slack.misbehave("invalid_auth", "chat.postMessage")
        world = World(db, slack)
        await world.run()
        sent, dead = OutboxStore(db).recent(10)
        assert (dead.status, sent.status) == (OutboxStatus.DEAD, OutboxStatus.SENT)
        assert dead.error is not None
        assert "set a current bot token" in dead.error
        assert len(slack.roots()) == 1


def _put(crash: Crashing, inner: Any) -> Crashing:
    """Wrap each process's object in the same crash, so that its count continues over restarts."""
    crash.inner = inner
    return crash
