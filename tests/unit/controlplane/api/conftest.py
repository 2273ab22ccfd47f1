"""The whole API on real stores (SQLite, in a file), with fakes where the fleet would be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from alerts.dispatch import Stages
from alerts.evaluate import GroupReport
from alerts.interfaces import Message, MessageRef, VectorSample
from collectors.discovery.group import DroppedTarget
from collectors.samples import Labels, Layout, Metadata, Series, labels_of
from collectors.target import Target, TargetHealth
from controlplane.access.gatekeeper import Gatekeeper
from controlplane.access.gateway_keys import GatewayKeyStore
from controlplane.access.roles import Role
from controlplane.access.sessions import SessionStore
from controlplane.access.tokens import TokenStore
from controlplane.api.app import create_api
from controlplane.api.services import Run, Services, Sharing, SlackWays
from controlplane.clock.system import ClockReport, ClockStep
from controlplane.config.difference import differences
from controlplane.config.model import Fleet
from controlplane.errors import QueryError, Refused
from controlplane.fleet.alerting.explanations import Explanations
from controlplane.fleet.alerting.pipeline import Pipeline
from controlplane.fleet.alerting.routing import routing_of
from controlplane.fleet.backups import BackupDesk
from controlplane.fleet.desired import DesiredFeed, DesiredSource
from controlplane.fleet.gateway_desk import GatewayDesk
from controlplane.fleet.history import History
from controlplane.fleet.holding.desk import desk_on
from controlplane.fleet.log_ring import LogRing
from controlplane.fleet.model_versions import ModelVersions
from controlplane.fleet.reader import FleetReader
from controlplane.fleet.rota.desk import RotaDesk, RotaState
from controlplane.fleet.schedules import ScheduleView
from controlplane.fleet.slos import SloReader
from controlplane.fleet.snapshots import SnapshotList
from controlplane.fleet.trends import TrendReader
from controlplane.metrics.promql.annotations.collected import Annotations
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Matrix, MatrixSeries, QueryValue, Scalar, Vector
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.query.render import Rendered, render
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.report import StorageReport
from controlplane.metrics.write.ingest import Ingest
from controlplane.metrics.write.shipping.shipper import ShippingReport
from controlplane.pools import make_pools
from controlplane.rollout.files import VersionFiles
from controlplane.rollout.service import RolloutService
from controlplane.slack.door import SlackDoor
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.alerting.flaps import told_flapping
from controlplane.store.alerting.heartbeats import HeartbeatStore
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStore
from controlplane.store.revision import RevisionStore
from controlplane.store.usage import UsageStore
from controlplane.store.version_files import VersionFileStore
from controlplane.traffic.driver import (
    Answer,
    BackendObservation,
    Capabilities,
    Placement,
    Preparation,
    Question,
    TrafficObservation,
    VersionState,
    all_to,
)
from tests.fakes.migrated import write_migrated
from tests.fakes.version_reader import InProcessReader

NOW = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""

CONFIG = Fleet.model_validate(
    {
        "fleet": {"name": "prod"},
        "models": [
            {
                "name": "chat",
                "stable": "v1",
                "traffic": {"driver": "triton", "backends": [{"url": "http://a:8000"}]},
                "versions": {"v1": {}, "v2": {}, "v3": {}},
            }
        ],
    }
)

TARGET = Target("vllm", "http://a:8000/metrics", "vllm", "a:8000", labels_of({"model": "chat", "job": "vllm"}))


class FakeClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time


def series(count: int) -> list[Labels]:
    return [labels_of({"n": str(i)}) for i in range(count)]


class FakeQueries(MetricsQuerier):
    """Answers every expression alike, but for the ones that say how to misbehave. What describes series is real."""

    def __init__(self, store: SeriesStore) -> None:
        super().__init__(PromqlEngine(store), workers=1)
        self.asked: list[tuple[Any, ...]] = []

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        self.asked.append((expr, at))
        await self._misbehave(expr)
        if "llm_" in expr or "gpu_" in expr:
            return Vector(at, [])
        if expr == "1":
            return Scalar(at, 1.0)
        return Vector(at, [VectorSample(labels, 1.0) for labels in series(3)])

    async def instant_json(
        self,
        expr: str,
        at: float,
        *,
        limit: int = 0,
        timeout_s: float | None = None,
        lookback_s: float | None = None,
        asker: str = "",
    ) -> Rendered:
        return render(await self.instant_value(expr, at), limit, Annotations())

    async def range_json(
        self,
        expr: str,
        start: float,
        end: float,
        step: float,
        *,
        limit: int = 0,
        timeout_s: float | None = None,
        lookback_s: float | None = None,
        asker: str = "",
    ) -> Rendered:
        self.asked.append((expr, start, end, step))
        await self._misbehave(expr)
        times = np.arange(start, end + step / 2, step)
        return render(
            Matrix([MatrixSeries(labels, times, np.ones_like(times)) for labels in series(3)]), limit, Annotations()
        )

    async def _misbehave(self, expr: str) -> None:
        if expr == "hang":
            await asyncio.Event().wait()
        if expr in ("bad_data", "execution", "timeout"):
            raise QueryError(expr, f"this is {expr}")
        if expr == "crash":
            raise RuntimeError("a fault of ours, with /secret/path in it")


class FakeDriver:
    """One backend that serves v1 and has v2 at hand."""

    capabilities = Capabilities(weights=False, prewarm=True, notes=("it has one place to serve from",))

    def can_keep(self, serve: str, keep: str) -> bool:
        return True

    async def observe(self) -> TrafficObservation:
        versions = {"v1": VersionState.READY, "v2": VersionState.UNAVAILABLE}
        return TrafficObservation("chat", (BackendObservation("http://a:8000", True, versions, {}, all_to("v1")),))

    async def prepare(self, version: str) -> Preparation:
        if version == "v3":
            raise Refused("version directory 3 is empty", "copy the model there")
        return Preparation("")

    async def place(self, backend: str, placement: Placement) -> None:
        raise AssertionError("the API never moves anything by itself")

    async def ask(self, backend: str, version: str, question: Question) -> Answer:
        raise AssertionError("the API asks no model anything by itself")

    async def commit(self, placement: Placement) -> Sequence[str]:
        raise AssertionError("the API never moves anything by itself")

    async def close(self) -> None: ...


class FakeNotifier:
    name = "ops"

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.error: Exception | None = None

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        if self.error:
            raise self.error
        self.sent.append(message)
        return MessageRef("C123/1.5")

    async def close(self) -> None: ...


class Rig:
    """The services, the app, a token for each role and a client."""

    def __init__(self, db: Database) -> None:
        self.db, self.clock, self.config = db, FakeClock(), CONFIG
        self.rotas: dict[str, RotaState] = {}
        self.series_store, self.storage = SeriesStore(3600.0), StorageReport()
        self.ingest = Ingest(self.series_store, self.clock, 3600.0, max_series=1000)
        self.queries, self.rollouts = FakeQueries(self.series_store), self._rollouts()
        self.revisions = RevisionStore(db)
        self.tokens, self.sessions = TokenStore(db), SessionStore(db)
        self.pools = make_pools()
        self.gatekeeper = Gatekeeper(db, self.tokens, self.sessions, self.pools.access)
        self.alert_log, self.outbox, self.usage = SqlAlertLog(db), OutboxStore(db), UsageStore(db)
        self.dropped_targets: list[DroppedTarget] = []
        self.discovery_faults: list[str] = []
        self.discovery_remarks: list[str] = []
        self.targets = [TargetHealth(TARGET, "up", last_scrape_at=NOW - 5, duration_s=0.25, samples=4)]
        self.reports: list[GroupReport] = []
        self.notifier = FakeNotifier()
        self.log = LogRing(NOW)
        self.not_ready: dict[str, str] = {}
        self.shipping: list[ShippingReport] = []
        self.schedules: Sequence[ScheduleView] = ()
        self.backups: BackupDesk | None = None
        self.snapshots = SnapshotList()
        self.slack: SlackDoor | None = None
        self.reader = InProcessReader()
        self.files = VersionFiles(VersionFileStore(db), self.reader, self.clock.now)
        self.reload_error: Exception | None = None
        self.keys = GatewayKeyStore(db)
        feed = DesiredFeed(DesiredSource(db, lambda: self.config, lambda: self.keys.specs(NOW)))
        self.gateways = GatewayDesk(db, lambda: self.config, feed, self.clock, lambda demands, limits: {})
        self.role_tokens = {role: self.tokens.create(f"test-{role}", role, None, NOW)[1] for role in Role}

    def app(self) -> FastAPI:
        return create_api(self.services())

    def stages(self) -> Stages:
        routing = routing_of(self.config)
        return Stages(routing, {name: (name,) for name in routing.receivers}, "")

    def services(self) -> Services:
        reader = FleetReader(
            config=lambda: self.config,
            queries=self.queries,
            models=self.rollouts,
            alerts=self.alert_log,
            targets=lambda: self.targets,
            clock=self.clock,
            unread=list,
            observe_only=False,
            gateways=self.gateways.attention,
        )
        pipeline = Pipeline(self.stages, SqlGroupLog(self.db).read, told_flapping(self.db))
        return Services(
            version="0.1.0",
            clock=self.clock,
            config=lambda: self.config,
            allowed_hosts=lambda: frozenset({"cp.example.org"}),
            fleet=reader,
            slos=SloReader(lambda: self.config, self.queries, self.clock),
            trends=TrendReader(lambda: self.config, self.queries, self.clock),
            queries=self.queries,
            exports=self.queries,
            run=lambda: Run(NOW - 3600, NOW - 60),
            series_store=self.series_store,
            ingest=self.ingest,
            storage=lambda: self.storage,
            dropped_targets=lambda: self.dropped_targets,
            discovery_faults=lambda: self.discovery_faults,
            discovery_remarks=lambda: self.discovery_remarks,
            targets=lambda: self.targets,
            rules=lambda: self.reports,
            rollouts=self.rollouts,
            versions=ModelVersions(
                VersionFileStore(self.db), self.files, lambda: self.config.models, self.clock.now, observe_only=False
            ),
            gateways=self.gateways,
            alerts=self.alert_log,
            pipeline=pipeline,
            holding=desk_on(self.db, pipeline, self.clock),
            heartbeats=HeartbeatStore(self.db),
            rotas=RotaDesk(lambda: self.rotas, self.clock.now),
            explanations=Explanations(pipeline, self.outbox, History(self.db), self.clock.now, self.queries),
            outbox=self.outbox,
            usage=self.usage,
            tokens=self.tokens,
            keys=self.keys,
            sessions=self.sessions,
            pools=self.pools,
            sharing=Sharing(leases=lambda: {"alerting": True, "rollouts": False}),
            gatekeeper=self.gatekeeper,
            revisions=self.revisions,
            reload=self._reload,
            compare=lambda fleet: differences(self.config, fleet),
            history=History(self.db),
            log=self.log,
            unread=list,
            schedules=lambda: self.schedules,
            backups=lambda: self.backups,
            snapshots=lambda: self.snapshots,
            not_ready=lambda: self.not_ready,
            notifiers=lambda: {"ops": self.notifier},
            shipping=lambda: self.shipping,
            slack=SlackWays(lambda: self.slack, lambda: 1),
            clock_report=lambda: ClockReport(1, 2, ClockStep(-300.0, NOW, 3), 0.25),
        )

    def observe_only(self) -> None:
        self.rollouts = self._rollouts(observe_only=True)

    def _rollouts(self, *, observe_only: bool = False) -> RolloutService:
        sections = {section.name: section for section in CONFIG.models}
        return RolloutService(self.db, sections, {"chat": FakeDriver()}, self.clock, observe_only=observe_only)

    def rollouts_of(self, config: Fleet) -> RolloutService:
        """Return rollouts of models that nothing drives."""
        return RolloutService(self.db, {section.name: section for section in config.models}, {}, self.clock)

    def headers(self, role: Role | None) -> dict[str, str]:
        return {} if role is None else {"Authorization": f"Bearer {self.role_tokens[role]}"}

    @asynccontextmanager
    async def client(
        self, role: Role | None = Role.VIEWER, app: FastAPI | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app or self.app(), raise_app_exceptions=False)
        base = "http://cp.example.org"
        async with httpx.AsyncClient(transport=transport, base_url=base, headers=self.headers(role)) as client:
            yield client

    def store(self, source: str, at: float, *series: tuple[str, dict[str, str], float]) -> None:
        """Append one row to the series store."""
        layout = Layout(
            raw=tuple(Series(name, labels_of(labels)) for name, labels, _ in series),
            metadata={"up": Metadata("gauge", "Whether the scrape worked.")},
        )
        values = np.array([value for _, _, value in series])
        self.series_store.append(source, layout, round(at * 1000), values)

    async def _reload(self, by: str) -> Sequence[str]:
        if self.reload_error:
            raise self.reload_error
        return ["added target b:8000"]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    db = Database(write_migrated(tmp_path / "cp.db"))
    yield Rig(db)
    db.close()


@pytest.fixture
async def viewer(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with rig.client(Role.VIEWER) as client:
        yield client


@pytest.fixture
async def operator(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with rig.client(Role.OPERATOR) as client:
        yield client


@pytest.fixture
async def admin(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with rig.client(Role.ADMIN) as client:
        yield client
