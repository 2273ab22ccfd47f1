"""The alerting of two processes on one database, in virtual seconds.

Each process has its own store, clock and connections. The database's clock follows the virtual seconds too, so that
leases expire by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, Executable, Row, TextClause, TextualSelect, text
from sqlmodel import Session

from alerts.errors import DeliveryFailed
from alerts.evaluate import RuleHealth
from alerts.interfaces import AlertInstance, Message, MessageRef
from alerts.rules import parse_rules
from collectors.samples import Layout, Series, labels_of
from controlplane.app.parts.alerting import Alerting
from controlplane.errors import Unavailable
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.schedule import EnduringLoop
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.replicas import Replicas
from tests.fakes.recipes import alerting_settings
from tests.routes import root

START = 1_000_000.0
TTL_S = 15.0
RULES = """
groups:
- name: g
  interval: 5s
  rules:
  - {record: "temp:max", expr: "max(temp)"}
  - {alert: Hot, expr: "temp:max > 85", for: 20s, annotations: {summary: "{{ $value }} °C"}}
  - {record: "temp:doubled", expr: "temp:max * 2"}
"""
ROUTE = root("box", ("alertname",), wait_s=0, interval_s=5)


class Cut(Database):
    """The connections of one process. A test can cut them."""

    away = False
    locked = False
    """Somebody holds its tables, but for leases."""

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        self._ask()
        with super().transaction() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        self._ask()
        with super().reading() as session:
            yield session

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        self._ask()
        with super().changing() as connection:
            yield connection

    def first(self, query: TextClause | TextualSelect, **values: object) -> Row[Any] | None:
        self._ask()
        return super().first(query, **values)

    def rows(self, query: Executable) -> Sequence[Row[Any]]:
        self._ask()
        return super().rows(query)

    def _ask(self) -> None:
        if self.away or self.locked:
            raise Unavailable("the database is away")


class CutToo(Cut):
    """A process's connections for leases: cut with the others, and not held up by locks of tables."""

    def __init__(self, url: str, others: Cut) -> None:
        super().__init__(url)
        self._others = others

    def _ask(self) -> None:
        self.away = self._others.away
        super()._ask()


@dataclass
class Box:
    """The receiver of all processes' messages."""

    name: str = "box"
    got: list[tuple[float, str, str]] = field(default_factory=list)
    """Messages: virtual seconds since the start, status and id."""
    now: Callable[[], float] = lambda: 0.0
    away: bool = False

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        if self.away:
            raise DeliveryFailed("box is away")
        self.got.append((self.now(), message.status, message.id))
        return root or MessageRef(f"C/ts{len(self.got)}")

    async def close(self) -> None: ...


class Process:
    """The alerting of one replica. Its wall clock is `ahead_s` seconds ahead of the true time."""

    def __init__(self, name: str, url: str, world: World, ahead_s: float = 0.0) -> None:
        self.name, self.world, self.ahead_s = name, world, ahead_s
        self.db = Cut(url)
        self.store = SeriesStore()
        self.querier = MetricsQuerier(PromqlEngine(self.store))
        self.runs = True
        self.alerting = Alerting(
            self.db,
            self.querier,
            self.store,
            self,
            name,
            monotonic=world.seconds,
            replicas=Replicas(self.db, name, self, database_clock=lambda _session: world.at),
        )
        self._lease_db = CutToo(url, self.db)
        leases = LeaseStore(self._lease_db, world.seconds)
        self.loop = EnduringLoop(
            "alerting",
            1.0,
            leases,
            name,
            TTL_S,
            self.alerting.beat,
            self,
            renew_every_s=TTL_S / 3,
            monotonic=world.seconds,
            follow=self.alerting.follow,
        )
        self._layout = Layout((Series("temp", labels_of({"gpu": "0"})),))

    def now(self) -> float:
        return self.world.at + self.ahead_s

    def set_clock(self, by_s: float) -> None:
        self.ahead_s += by_s
        self.store.begin_era(round(self.now() * 1000), 300_000 if by_s <= -60 else 0)
        self.alerting.clock_was_set(by_s)

    async def configure(self) -> None:
        groups = parse_rules(RULES, f"/etc/{self.name}/rules.yml")  # the folders differ, the rule file is the same
        await self.alerting.configure(alerting_settings(groups, 5.0, ROUTE, {"box": self.world.box}))

    async def second(self, celsius: float) -> None:
        self.store.append("gpu", self._layout, round(self.now() * 1000), np.array([celsius]))
        if (self.world.at - START) % 5 == 0 and not (self.db.away or self.db.locked):
            await self.alerting.presence()
        await self.loop.run_once()
        await self.alerting.dispatch()
        await self.alerting.deliver()
        if not self.db.away:
            await self.alerting.write_back()

    async def value(self, expr: str) -> list[tuple[dict[str, str], float]]:
        found = await self.querier.instant(expr, self.now())
        return [(dict(sample.labels), sample.value) for sample in found]

    def hot(self) -> RuleHealth:
        (group,) = self.alerting.reports()
        return next(health for health in group.rules if health.rule.name == "Hot")

    async def close(self) -> None:
        self.querier.close()
        self._lease_db.close()
        self.db.close()


class World:
    """The database, the true time, and the receiver."""

    def __init__(self, db: Database) -> None:
        self.db, self.at = db, START
        self.url = db.engine.url.render_as_string(hide_password=False)
        self.box = Box(now=self.seconds)
        self.processes: list[Process] = []

    def seconds(self) -> float:
        """Monotonic seconds, which no step changes."""
        return self.at - START

    async def start(self, name: str, ahead_s: float = 0.0) -> Process:
        process = Process(name, self.url, self, ahead_s)
        await process.configure()
        self.processes.append(process)
        return process

    async def run(self, seconds: int, celsius: float) -> None:
        for _ in range(seconds):
            self.at += 1
            with self.db.transaction() as session:
                session.execute(text("UPDATE lease SET expires_at = expires_at - 1 WHERE holder <> ''"))
            for process in self.processes:
                if process.runs:
                    await process.second(celsius)

    def told(self) -> list[str]:
        return [status for _, status, _ in self.box.got]

    def alerts(self) -> Sequence[AlertInstance]:
        return SqlAlertLog(self.db).active()

    def history(self) -> list[tuple[str, str]]:
        events = SqlAlertLog(self.db).recent(100)
        return [(e.before.value, e.after.value) for e in reversed(events)]

    def holder(self) -> str:
        return next(s.holder for s in LeaseStore(self.db).list() if s.name == "alerting")

    def left_s(self) -> float:
        """Return for how long the lease is still held."""
        with self.db.reading() as session:
            now = self.db.now(session)
        return next(s.expires_at for s in LeaseStore(self.db).list() if s.name == "alerting") - now

    async def close(self) -> None:
        for process in self.processes:
            await process.close()
