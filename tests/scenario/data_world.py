"""A fleet whose targets lose data, on a clock that tests move.

Only time, the bodies and the receiver are simulated. Scraping, the catalogue, the store, PromQL, the database, grouping
and sending are real.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from alerts.dispatch import Dispatcher
from alerts.evaluate import GroupEvaluator
from alerts.interfaces import Message, MessageRef
from alerts.lookback import lookbacks
from alerts.rules import RuleGroup, parse_rules
from alerts.sender import MessageSender
from alerts.template import Surroundings
from collectors.catalogue.mapping import canonical_layout, lack
from collectors.catalogue.model import load_catalogue
from collectors.errors import UnexpectedStatus
from collectors.exposition.interner import Interner
from collectors.exposition.parser import Parsed
from collectors.samples import Layout
from collectors.scraping.scrape import ScrapeManager
from collectors.target import Lack, Source, Target
from controlplane.metrics.origins import TargetOrigins
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.migrate import migrate
from controlplane.store.outbox import OutboxStore
from tests.fakes.recipes import MadeBy
from tests.fakes.scrape_once import add, remove, scrape_once
from tests.routes import root, stages

T0 = 1_700_000_000.0
STEP_S = 5.0
ROUTE = root("box", ("alertname",), wait_s=0, interval_s=5, repeat_s=86400)
CATALOGUE = load_catalogue()


@dataclass
class Box:
    """A notifier that records its messages."""

    name: str = "box"
    got: list[Message] = field(default_factory=list)

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        self.got.append(message)
        return None

    async def close(self) -> None: ...


@dataclass
class Body:
    """A target's source. It returns a text, or fails when the text is None."""

    world: World
    target: Target

    async def read(self, timeout_s: float) -> bytes:
        text = self.world.bodies[self.target.instance]
        if text is None:
            raise UnexpectedStatus("answered 503")
        return text.encode()

    async def close(self) -> None: ...


@dataclass
class World:
    """A fleet and its control plane."""

    db: Database
    groups: tuple[RuleGroup, ...]
    targets: list[Target]
    bodies: dict[str, str | None] = field(default_factory=dict)
    box: Box = field(default_factory=Box)
    store: SeriesStore = field(default_factory=SeriesStore)
    at: float = T0
    turns: dict[str, float] = field(default_factory=dict)
    """By group, the time of its last turn; there is one turn an interval."""
    unasked: set[str] = field(default_factory=set)
    """Instances that are configured and not scraped yet."""

    def __post_init__(self) -> None:
        self.log = SqlAlertLog(self.db)
        self.querier = MetricsQuerier(PromqlEngine(self.store))
        self.start()

    def start(self, blind_s: float = 0.0) -> None:
        """Start or restart the control plane. Only the database and the series remain from before."""
        self.scraping = ScrapeManager(
            self.store, partial(MadeBy, self._source), self._layout, self, find_lack=self._lack
        )
        origins = TargetOrigins(
            self.store, self.scraping.health, is_canonical=lambda name: bool(CATALOGUE.family(name))
        )
        looks = lookbacks(self.groups, STEP_S)
        origins.configure(self.groups, looks)
        blind_until = self.at + blind_s
        self.evaluators = [
            GroupEvaluator(
                group,
                self.querier,
                self.log,
                self.store,
                self,
                around=Surroundings(),
                blind_until=lambda _: blind_until,
                origins=origins,
            )
            for group in self.groups
        ]
        groups = SqlGroupLog(self.db)
        self.dispatcher = Dispatcher(stages(ROUTE), groups, self)
        self.sender = MessageSender(OutboxStore(self.db), groups, {"box": self.box}, self, "me")

    def now(self) -> float:
        return self.at

    def _source(self, target: Target) -> Source:
        return Body(self, target)

    def _layout(self, target: Target, parsed: Parsed) -> Layout:
        return canonical_layout(parsed.series, parsed.metadata, target, CATALOGUE, Interner())

    def _lack(self, target: Target, layout: Layout) -> Lack:
        return lack(layout, CATALOGUE, target.engine)

    async def run(
        self, seconds: float, bodies: Mapping[str, str | None] | None = None, *, failing: bool = False
    ) -> None:
        """Scrape and evaluate; `bodies`: what instances answer from now on; `failing`: rules may fail."""
        self.bodies.update(bodies or {})
        end = self.at + seconds
        while self.at < end:
            for target in (each for each in self.targets if each.instance not in self.unasked):
                await scrape_once(self.scraping, target, self.at)
            for evaluator in self.evaluators:
                turn = (self.at - T0) // (evaluator.group.interval_s or STEP_S)
                if self.turns.get(evaluator.group.key) == turn:
                    continue
                self.turns[evaluator.group.key] = turn
                report = await evaluator.evaluate()
                assert failing or [r.last_error for r in report.rules if r.last_error] == []
            await self.dispatcher.tick()
            while await self.sender.tick():
                pass
            self.at += STEP_S

    async def replace(self, old: Target, *others: Target) -> None:
        """Remove a target from the configuration, and add others that `run` scrapes once they are not in `unasked`."""
        self.targets = [*(each for each in self.targets if each != old), *others]
        await remove(self.scraping, old)
        for other in others:
            add(self.scraping, other)

    async def remove(self, target: Target) -> None:
        """Remove a target from the configuration."""
        await self.scraping.apply([])  # ends what it wrote; the loops that this would start are not wanted here
        self.targets.remove(target)

    def active(self) -> dict[str, tuple[str, float | None, tuple[str, ...]]]:
        """Return by alert name: state, start of the unknown time (seconds after T0), and the missing targets."""
        return {
            dict(i.labels)["alertname"]: (
                i.state.value,
                None if i.unknown_since is None else i.unknown_since - T0,
                i.away,
            )
            for i in self.log.active()
        }

    def told(self) -> list[str]:
        return [m.status for m in self.box.got]

    def story(self) -> list[str]:
        return [e.sentence for e in reversed(self.log.recent(1000))]


def target(engine: str, instance: str, **labels: str) -> Target:
    return Target(
        engine, f"http://{instance}/metrics", engine, instance, tuple(labels.items()), interval_s=5, timeout_s=1
    )


class Make(Protocol):
    """Make a world of these rules and targets."""

    def __call__(self, groups: str | tuple[RuleGroup, ...], *targets: Target) -> World: ...


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[World] = []

    def world(groups: str | tuple[RuleGroup, ...], *targets: Target) -> World:
        db = Database(f"sqlite:///{tmp_path}/{len(made)}.db")
        migrate(db)
        parsed = parse_rules(groups, "f") if isinstance(groups, str) else groups
        made.append(World(db, parsed, list(targets)))
        return made[-1]

    yield world
    for one in made:
        one.querier.close()
        one.db.close()


def rules(*lines: str) -> str:
    return "groups:\n- name: g\n  rules:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


def gauge(name: str, value: float, **labels: str) -> str:
    pairs = ",".join(f'{k}="{v}"' for k, v in labels.items())
    return f"# TYPE {name} gauge\n{name}{{{pairs}}} {value}\n"
