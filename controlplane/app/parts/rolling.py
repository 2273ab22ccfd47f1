"""The rollouts part: the service for operators' requests, the engine that moves rollouts, and the reload of both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from alerts.interfaces import Clock
from controlplane.app.parts.part import Configuration, Part, difference, kept
from controlplane.app.parts.route import receives_buttons
from controlplane.clock.every import Every
from controlplane.config.models import ModelSection
from controlplane.config.rollout.section import RolloutsSection
from controlplane.fleet.alerting.route import notice_receiver
from controlplane.metrics.query.queries import Queries
from controlplane.rollout.announce import Announcer
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.evidence import EvidenceReader
from controlplane.rollout.files import VersionFiles
from controlplane.rollout.findings import WorkKind
from controlplane.rollout.planning.planner import Planner
from controlplane.rollout.service import RolloutService
from controlplane.rollout.verification import Verification, verifications
from controlplane.rollout.work.backed_up import BackupWaiter
from controlplane.rollout.work.checks import CheckWorker
from controlplane.rollout.work.files import FilesWorker
from controlplane.rollout.work.golden import GoldenWorker
from controlplane.rollout.work.hooks import HookWorker
from controlplane.rollout.work.look import LookWorker
from controlplane.rollout.work.mirrored import MirroredWorker
from controlplane.rollout.work.top_up import TopUpWorker
from controlplane.rollout.work.warm import WarmWorker
from controlplane.rollout.workers import Worker
from controlplane.schedule import Loop, LoopFactory
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.backups.runs import BackupRunStore
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.rollout_log import RolloutLog
from controlplane.traffic.driver import Driver
from controlplane.traffic.drivers import build_drivers
from controlplane.traffic.gateway.driver import Gateways

ROLLOUT_S = 0.5
"""Seconds between two ticks while a rollout runs."""
OBSERVE_S = 5.0
LOOK_S = OBSERVE_S / 2
"""Seconds between two ticks without a rollout: each checks for requests that another process received. A request that
this process receives wakes the loop at once."""


@dataclass(frozen=True)
class RollingSettings:
    """The models, the verification of their candidates, and the receiver of messages about rollouts."""

    models: Mapping[str, ModelSection]
    verifications: Mapping[str, Verification]
    receiver: str
    """Name of the notifier for messages about rollouts."""
    console_url: str
    buttons: bool
    """Whether messages about rollouts have buttons."""
    shared: RolloutsSection
    """`rollouts:` of fleet.yaml: gates of all models."""


class Rolling(Part[RollingSettings]):
    """Accepts requests (`service`) and moves rollouts (`tick`). `tick` needs the lease."""

    name = "rollouts"

    def __init__(
        self,
        db: Database,
        querier: Queries,
        clock: Clock,
        *,
        observe_only: bool,
        gateways: Gateways,
        files: VersionFiles,
        news: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gateways` keeps the traffic of models on driver gateway. `files` reads the files of versions.

        Call `news` when a request or the answer of an engine has come, so that the next tick comes at once.
        """
        self._clock, self._monotonic, self._gateways = clock, monotonic, gateways
        self._lease: Lease | None = None
        self._observe = Every(OBSERVE_S)
        self._rolling = False
        self._loop: Loop | None = None
        self._models: Mapping[str, ModelSection] = {}
        self._drivers: dict[str, Driver] = {}
        self._log, self._backup_runs = RolloutLog(db), BackupRunStore(db)
        self._files = files
        self._planner = Planner(self._log, clock, querier, files)
        workers = self._workers(querier, clock)
        self.service = RolloutService(
            db, {}, {}, clock, observe_only=observe_only, planner=self._planner, workers=workers.keys(), news=news
        )
        self.engine = RolloutEngine(
            db,
            {},
            {},
            lease=lambda: self._lease,
            observe_only=observe_only,
            look=EvidenceReader(querier, SqlAlertLog(db)).read,
            workers=workers,
            holds=self._planner.hold,
            news=news,
        )

    def _workers(self, querier: Queries, clock: Clock) -> Mapping[WorkKind, Worker]:
        """Return the workers of rollouts by kind of work."""

        # A reload replaces drivers and sections, so each work looks them up when it begins.
        def driver(model: str) -> Driver | None:
            return self._drivers.get(model)

        def section(model: str) -> ModelSection | None:
            return self._models.get(model)

        top_up = TopUpWorker(driver, section)
        found: dict[WorkKind, Worker] = {
            WorkKind.HOOK: HookWorker(),
            WorkKind.LOOK: LookWorker(querier, clock.now, top_up.counts),
            WorkKind.WARM: WarmWorker(driver, section),
            WorkKind.GOLDEN: GoldenWorker(driver),
            WorkKind.MIRRORED: MirroredWorker(querier, clock.now),
            WorkKind.TOP_UP: top_up,
            WorkKind.FILES: FilesWorker(self._files, section),
        }
        if self._planner.checks is not None:
            found[WorkKind.CHECK] = CheckWorker(self._planner.checks, BackupWaiter(self._backup_runs, clock.now))
        return found

    def settings(self, config: Configuration) -> RollingSettings:
        """Return the models of a configuration and the verification of their candidates."""
        return RollingSettings(
            models={model.name: model for model in config.fleet.models},
            verifications=verifications(config.fleet),
            receiver=notice_receiver(config.loaded),
            console_url=config.console_url,
            buttons=receives_buttons(config.loaded),
            shared=config.fleet.rollouts,
        )

    async def configure(self, settings: RollingSettings) -> Sequence[str]:
        """Apply the changes.

        The driver of an unchanged model stays, because a call of it may be under way and must not be interrupted.
        """
        before, self._models = self._models, settings.models
        stay = kept(self._drivers, before, settings.models)
        gone = [driver for name, driver in self._drivers.items() if name not in stay]
        new = build_drivers((model for model in settings.models.values() if model.name not in stay), self._gateways)
        self._drivers = {**new, **stay}
        announcer = Announcer(settings.receiver, settings.console_url, settings.buttons)
        self.service.update(settings.models, self._drivers, settings.verifications, announcer, settings.shared)
        self.engine.update(settings.models, self._drivers, announcer)
        await asyncio.gather(*(driver.close() for driver in gone))
        return difference("models", before, settings.models)

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that moves rollouts."""
        self._loop = make.leased("rollouts", LOOK_S, self.tick)
        return [self._loop]

    async def tick(self, lease: Lease) -> None:
        """Move the running rollouts. Without one, look at the engines every OBSERVE_S."""
        self._lease = lease
        now = self._monotonic()
        self._rolling = bool(await asyncio.to_thread(self._log.stamps))
        if self._loop:
            self._loop.interval_s = ROLLOUT_S if self._rolling else LOOK_S
        # Half a tick early: a tick that comes a moment before its time must not wait for the next one.
        if self._observe.due(now + LOOK_S / 2) or self._rolling:
            self._observe.done(now)
            await self.engine.tick(self._clock.now())

    async def close(self) -> None:
        """Stop waiting for answers, and close the drivers' connections."""
        await self.engine.close()
        await asyncio.gather(*(driver.close() for driver in self._drivers.values()))
