"""An alert that flaps, from its rule to Slack and to a webhook, on a virtual clock, with a new process every minute."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlmodel import SQLModel

import controlplane.store.tables.alerts  # noqa: F401 - fills SQLModel.metadata
from alerts.dispatch import Dispatcher
from alerts.evaluate import GroupEvaluator
from alerts.interfaces import Notifier, VectorSample
from alerts.notify.http import HttpPoster
from alerts.notify.slack.notifier import SlackNotifier
from alerts.notify.webhook import WebhookNotifier
from alerts.routing.flapping import Flapping
from alerts.rules import parse_rules
from alerts.sender import MessageSender
from alerts.template import Surroundings
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStore
from tests.fakes.receiver import Receiver, receiving
from tests.fakes.slack import TOKEN, FakeSlack, running
from tests.patience import HANG_S
from tests.routes import root, stages

(GROUP,) = parse_rules(
    "groups: [{name: gpu, rules: [{alert: Hot, expr: temp > 85, for: 10s, labels: {severity: critical},"
    " annotations: {summary: 'GPU {{ $labels.gpu }} is hot'}}]}]",
    "r.yml",
)
STAGES = stages(
    root("ops", ("alertname",), wait_s=5, interval_s=30, repeat_s=86400),
    notifiers={"ops": ("slack", "hook")},
    flapping=Flapping(5, 3600.0, 600.0),
)
STEP_S, PROCESS_S = 5.0, 60.0
HOT = [(0.0, 40.0), (60.0, 100.0), (120.0, 160.0), (180.0, 220.0)]
"""Seconds in which the GPU is hot. It fires ten seconds later each time, and the fifth change is at 130."""


@dataclass
class World:
    """What outlives a process: the database, the receivers, the time, the GPU."""

    db: Database
    slack: FakeSlack
    hook: Receiver
    at: float = 0.0
    hot: Sequence[tuple[float, float]] = ()

    def now(self) -> float:
        return self.at

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        is_hot = any(begin <= at < end for begin, end in self.hot)
        return [VectorSample((("gpu", "0"),), 91.0)] if is_hot else []

    async def until(self, end: float) -> None:
        """Run processes, a new one each minute."""
        while self.at < end:
            notifiers = (
                SlackNotifier("slack", "#ops", lambda: TOKEN, base_url=self.slack.url, timeout_s=HANG_S),
                WebhookNotifier("hook", lambda: f"{self.hook.url}/hook", HttpPoster("hook")),
            )
            try:
                await self.process({one.name: one for one in notifiers}, min(end, self.at + PROCESS_S))
            finally:
                for one in notifiers:
                    await one.close()

    async def process(self, notifiers: dict[str, Notifier], end: float) -> None:
        groups = SqlGroupLog(self.db)
        evaluator = GroupEvaluator(GROUP, self, SqlAlertLog(self.db), SeriesStore(), self, around=Surroundings())
        dispatcher = Dispatcher(STAGES, groups, self)
        sender = MessageSender(OutboxStore(self.db), groups, notifiers, self, holder="p")
        while self.at < end:
            await evaluator.evaluate()
            await dispatcher.tick()
            while await sender.tick():
                pass
            self.at += STEP_S

    def heard(self) -> list[tuple[str, str]]:
        """Return status and annotation of what came to the webhook."""
        alerts = [(one.json["status"], one.json["alerts"][0]["annotations"]) for one in self.hook.taken]
        return [(status, annotations.get("flapping", "")) for status, annotations in alerts]

    def shown(self) -> list[str]:
        """Return title and lines of the messages in the channel."""
        roots = self.slack.roots()
        return [f"{one['blocks'][0]['text']['text']}: {one['blocks'][2]['text']['text']}" for one in roots]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/cp.db")
    SQLModel.metadata.create_all(database.engine)
    yield database
    database.close()


@asynccontextmanager
async def world(db: Database, hot: Sequence[tuple[float, float]]) -> AsyncIterator[World]:
    async with running() as slack, receiving() as hook:
        yield World(db, slack, hook, hot=hot)


TOLD_UNTIL_IT_FLAPS = [
    ("firing", ""),
    ("resolved", ""),
    ("firing", ""),
    ("resolved", ""),
    ("firing", "flapping: 5 changes in the last 3 minutes"),
]


async def test_it_is_told_that_it_flaps_and_how_it_ended(db: Database) -> None:
    async with world(db, HOT) as w:
        await w.until(600)
        assert w.heard() == TOLD_UNTIL_IT_FLAPS
        told = len(w.heard())
        assert "GPU 0 is hot (flapping: 8 changes in the last 5 minutes)" in w.shown()[-1]
        threads = [len(w.slack.thread(one["ts"])) for one in w.slack.roots()]
        await w.until(815)
        assert len(w.heard()) == told, "nobody hears of a change while it flaps"
        assert [len(w.slack.thread(one["ts"])) for one in w.slack.roots()] == threads
        # The last change was at 220, and ten minutes without one have passed at 820.
        await w.until(840)
        assert w.heard()[told:] == [("resolved", "")]
        assert w.shown()[-1].startswith(":large_green_circle: RESOLVED: Hot: • ended at 1970-01-01 00:03:40 UTC")


async def test_it_is_told_to_fire_when_it_settles_so(db: Database) -> None:
    async with world(db, [*HOT[:3], (180.0, 9999.0)]) as w:
        await w.until(785)
        told = len(w.heard())
        await w.until(900)
        assert w.heard()[told:] == [("firing", "no longer flapping: no change in the last 10 minutes")]
        assert "GPU 0 is hot (no longer flapping: no change in the last 10 minutes)" in w.shown()[-1]


async def test_a_step_of_the_clock_changes_nothing(db: Database) -> None:
    async with world(db, HOT) as w:
        await w.until(300)
        told = len(w.heard())
        ClockSteps(db).move(5000.0)
        w.at, w.hot = w.at + 5000.0, ()
        await w.until(5815)
        assert len(w.heard()) == told
        await w.until(5840)
        assert [status for status, _ in w.heard()[told:]] == ["resolved"]
