"""Slack's limits at reloads: what notifiers share keeps its state while one of them uses it, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from alerts.interfaces import Message, MessageRef, Notifier
from alerts.notify.log import LogNotifier
from alerts.notify.pace import Bucket, Shared
from alerts.rules import parse_rules
from controlplane.app.notifying.recipes import recipe_of
from controlplane.app.parts.alerting import Alerting
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from tests.contract.notifiers.messages import FIRING
from tests.fakes.fleet_text import parse_fleet
from tests.fakes.recipes import alerting_settings
from tests.fakes.slack import TOKEN, FakeSlack, running
from tests.fakes.slack_limits import SlackLimits
from tests.fakes.slack_notifiers import on_clock
from tests.fakes.turning_clock import TurningClock
from tests.patience import HANG_S
from tests.routes import root

OPS = "channel: '#ops', token_env: TOKEN"
EDITED = f"{OPS}, send_resolved: false"


class Reloads:
    """Alerting whose notifiers are replaced by reloads, and a Slack that keeps its limits."""

    def __init__(self, db: Database, slack: FakeSlack) -> None:
        self.slack, self.clock, self.generation = slack, TurningClock(), 0
        slack.limits = self.limits = SlackLimits(self.clock.now)
        store = SeriesStore()
        self.alerting = Alerting(db, MetricsQuerier(PromqlEngine(store)), store, self.clock, "one")

    async def use(self, **notifiers: str) -> None:
        """Take over a configuration with these notifiers: their names, and texts of fields."""
        common = f"type: slack, chart: false, base_url: '{self.slack.url}'"
        each = ", ".join(f"{{name: {name}, {common}, {fields}}}" for name, fields in notifiers.items())
        sections = parse_fleet(f"fleet: {{name: a}}\nnotifiers: [{each}]\n", Path("fleet.yaml")).notifiers
        recipes = {section.name: on_clock(recipe_of(section), self.clock) for section in sections}
        await self.alerting.configure(replace(alerting_settings((), 15.0, root(), {}), notifiers=recipes))

    async def post(self, *names: str) -> list[float]:
        """Let notifiers post side by side. Return the moments at which Slack took messages since the last call."""
        self.limits.taken.clear()
        sends = []
        for name in names:
            self.generation += 1
            message = replace(FIRING, generation=self.generation)
            sends.append(self.alerting.notifiers[name].send(message, None))
        assert all(isinstance(ref, MessageRef) for ref in await self.clock.run(*sends))
        return [at for at, _, _ in self.limits.taken]


@pytest.fixture
async def reloads(db: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reloads]:
    monkeypatch.setenv("TOKEN", TOKEN)
    async with running() as slack:
        made = Reloads(db, slack)
        yield made
        assert made.limits.refused == 0
        await made.alerting.close()


async def test_a_reload_of_one_user_of_a_channel_does_not_begin_a_new_burst(reloads: Reloads) -> None:
    await reloads.use(one=OPS, two=OPS)
    assert await reloads.post("one", "one", "two", "two") == [0, 0, 0, 1]
    before = reloads.alerting.notifiers
    await reloads.use(one=EDITED, two=OPS)
    assert reloads.alerting.notifiers["one"] is not before["one"]
    assert reloads.alerting.notifiers["two"] is before["two"]
    assert await reloads.post("one", "two", "one") == [2, 3, 4]


async def test_neither_does_a_reload_of_all_its_users(reloads: Reloads) -> None:
    await reloads.use(one=OPS)
    assert await reloads.post("one", "one", "one") == [0, 0, 0]
    await reloads.use(one=EDITED, two=OPS)
    assert await reloads.post("two", "one") == [1, 2]


async def test_a_channel_that_nobody_posts_to_is_forgotten(reloads: Reloads) -> None:
    await reloads.use(one=OPS)
    assert await reloads.post("one", "one", "one") == [0, 0, 0]
    await reloads.use(one="channel: '#dev', token_env: TOKEN")
    await reloads.use(one=OPS)
    reloads.slack.limits = None
    assert await reloads.post("one", "one", "one") == []
    assert reloads.clock.at == 0.0, "a new burst: nobody remembers the old one"


class Slow:
    """A notifier of another kind with a shared limit. It takes a message when it is told to."""

    def __init__(self) -> None:
        self.name = "ops"
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    def use_buckets(self, shared: Shared) -> None:
        self.bucket = shared("limit", lambda: Bucket("call", 1.0, 1))

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        self.asked.set()
        await self.answers.wait()
        return None

    async def close(self) -> None: ...


async def test_a_limit_is_kept_while_a_replaced_notifier_still_sends(db: Database) -> None:
    lease = LeaseStore(db).acquire("alerting", "one", 60.0)
    assert lease is not None
    clock, store = TurningClock(), SeriesStore()
    clock.at = 1_000_000.0
    alerting = Alerting(db, MetricsQuerier(PromqlEngine(store)), store, clock, "one")
    groups = parse_rules("groups: [{name: g, interval: 5s, rules: [{alert: Always, expr: vector(1)}]}]", "f")

    async def use(**notifiers: Notifier) -> None:
        await alerting.configure(alerting_settings(groups, 15.0, root(wait_s=0), notifiers))

    async def sent() -> None:
        clock.at += 5
        await alerting.beat(lease)
        await alerting.dispatch()
        await alerting.deliver()

    old, beside, later = Slow(), Slow(), Slow()
    await use(ops=old)
    first = old.bucket
    sending = asyncio.create_task(sent())
    async with asyncio.timeout(HANG_S):
        await old.asked.wait()
        await use(ops=LogNotifier("ops"))
        await use(ops=LogNotifier("ops"), more=beside)
        assert beside.bucket is old.bucket is first
        await use(ops=LogNotifier("ops"))
        old.answers.set()
        await sending
    await use(ops=LogNotifier("ops"), more=later)
    assert later.bucket is not first
    await alerting.close()
