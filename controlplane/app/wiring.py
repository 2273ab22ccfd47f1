"""The wiring of a control plane: each part is created after the parts that it needs, and closed before them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from alerts.sender import KIND
from collectors.catalogue.model import Catalogue, load_catalogue
from controlplane.access import SessionStore, TokenStore
from controlplane.access.bootstrap import bootstrap
from controlplane.access.gatekeeper import Gatekeeper
from controlplane.access.gateway_keys import GatewayKeyStore
from controlplane.api.services import Run
from controlplane.app.changes import changes, stamps, told_as_one
from controlplane.app.check import accepted
from controlplane.app.clock_watch import ClockWatch
from controlplane.app.embedded import Embedded
from controlplane.app.gateways import StoredGateways
from controlplane.app.notifying.ping import ping
from controlplane.app.parts.access import AccessPart
from controlplane.app.parts.accounts import Accounts
from controlplane.app.parts.alerting import Alerting
from controlplane.app.parts.backups import Backups
from controlplane.app.parts.beside import Beside
from controlplane.app.parts.clock import ClockPart
from controlplane.app.parts.housekeeping import Housekeeping
from controlplane.app.parts.metrics import MetricsPart
from controlplane.app.parts.part import Configuration, Parts
from controlplane.app.parts.reporting import Reporting
from controlplane.app.parts.rolling import Rolling
from controlplane.app.parts.scraping import Scraping
from controlplane.app.parts.slack import SlackPart
from controlplane.app.parts.version_files import VersionFilesPart
from controlplane.app.parts.watchdog import STUCK_S, Watchdog, trouble
from controlplane.app.rotas.fetching import fetch
from controlplane.app.rotas.part import Rotas
from controlplane.clock.system import SystemClock
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import Fleet
from controlplane.errors import ConfigErrors, ControlPlaneError
from controlplane.fleet.alerting.charts import RuleCharts
from controlplane.fleet.alerting.pipeline import Pipeline
from controlplane.fleet.desired import DesiredFeed, DesiredSource
from controlplane.fleet.gateway_desk import GatewayDesk
from controlplane.fleet.holding.desk import desk_on
from controlplane.gateway.limits.shares import shares
from controlplane.metrics.origins import TargetOrigins
from controlplane.pools import ACCESS, Pools, make_pools
from controlplane.schedule import LoopFactory, Loops
from controlplane.slack.actions import Actions
from controlplane.slack.alerts import AlertActions
from controlplane.slack.rollouts import RolloutActions
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alerting.flaps import told_flapping
from controlplane.store.alerting.heartbeats import HeartbeatStore
from controlplane.store.alerting.rotas import RotaStore
from controlplane.store.audit import audit
from controlplane.store.backups.restored import Hold, hold_of
from controlplane.store.database import Database, Patience
from controlplane.store.lease import LEASE_PATIENCE, LeaseStore, process_holder
from controlplane.store.migrate import migrate
from controlplane.store.outbox import OutboxStore
from controlplane.store.replicas import Replicas
from controlplane.store.revision import RevisionStore, touch
from controlplane.store.schedules import ScheduleStore

log = logging.getLogger(__name__)

WATCH_S = 2.0
WATCH = "configuration watch"
"""Actor of a reload after a file has changed, in the audit trail."""
ACCESS_PATIENCE = Patience(connections=ACCESS, more=0, connection_s=5, answer_s=10)
"""Connections of the access checks: one for each of their threads. No other call can hold them."""


class ControlPlane:
    """All parts of one running process. `reload` applies a changed fleet.yaml. A file with errors changes nothing."""

    def __init__(
        self,
        loaded: LoadedFleet,
        db: Database,
        embedded: Embedded,
        clock: SystemClock,
        listen: str,
        data_dir: Path,
        pools: Pools,
        *,
        observe_only: bool,
        held: Hold | None = None,
    ) -> None:
        """Create the parts. `listen` is the address for links to this process unless fleet.yaml has `external_url`.

        With `held` the database was restored from a backup, and the process only observes.
        """
        observe_only = observe_only or held is not None
        self.loaded, self.clock, self.observe_only = loaded, clock, observe_only
        self.database, self._listen, self.pools = db, listen, pools
        self._lease_db, self._access_db = db.apart(LEASE_PATIENCE), db.apart(ACCESS_PATIENCE)
        self.holder = process_holder()
        catalogue = load_catalogue()
        self.metrics = MetricsPart(embedded, loaded.fleet.metrics, data_dir, catalogue, clock, pools.files)
        sink, querier = self.metrics.sink, self.metrics.querier
        self.scraping = Scraping(
            catalogue,
            sink,
            embedded.store,
            clock,
            listen,
            pools,
            rules=lambda: self.alerting.rule_ids,
            wake=lambda: self.loops.wake("discovery"),
        )
        self.rotas = Rotas(RotaStore(db), clock, fetch, self._decides, time.monotonic)
        self.alerting = self._made_alerting(embedded, data_dir, catalogue)
        self.keys = GatewayKeyStore(db)
        feed = self._made_feed(held)
        self.gateways = GatewayDesk(db, self.config, feed, clock, shares)
        self.accounts = Accounts(db, querier, sink, clock)
        self.version_files = VersionFilesPart(db, clock, data_dir)
        self.rolling = self._made_rolling(feed)
        self.gatekeeper = Gatekeeper(
            self._access_db, TokenStore(self._access_db), SessionStore(self._access_db), pools.access
        )
        self.pipeline = Pipeline(self.alerting.stages, SqlGroupLog(db).read, told_flapping(db))
        self.holding = desk_on(db, self.pipeline, clock)
        self.slack = self._made_slack()
        self.backups = Backups(db, clock, data_dir, observe_only=observe_only)
        self._parts = self._made_parts(embedded, data_dir)
        self._stamps: Mapping[Path, tuple[int, int]] = {}
        self._reloading = asyncio.Lock()
        self.loops = Loops()
        self.run = Run(clock.now(), clock.now())

    def _made_parts(self, embedded: Embedded, data_dir: Path) -> Parts:
        """Return all parts, in the order in which they are configured and started."""
        db, clock = self.database, self.clock
        followers = (part.clock_was_set for part in (embedded, self.scraping, self.alerting, self.rolling.engine))
        watch = ClockWatch(clock, self.alerting, tuple(followers), embedded.ahead_s)
        return Parts(
            [
                self.metrics,
                self.scraping,
                self.rotas,
                self.alerting,
                self.accounts,
                self.version_files,
                self.rolling,
                AccessPart(self.gatekeeper),
                self.slack,
                Reporting(db, self.metrics.querier, clock),
                Housekeeping(db, clock),
                self._made_watchdog(),
                self.backups,
                Beside(db, data_dir, clock),
                ClockPart(watch),
            ]
        )

    def _made_feed(self, held: Hold | None) -> DesiredFeed:
        source = DesiredSource(self.database, self.config, lambda: self.keys.specs(self.clock.now()))
        return DesiredFeed(source, withheld="" if held is None else held.sentence)

    def _made_rolling(self, feed: DesiredFeed) -> Rolling:
        return Rolling(
            self.database,
            self.metrics.querier,
            self.clock,
            observe_only=self.observe_only,
            gateways=StoredGateways(self.database, self.config, self.clock, feed.wake),
            files=self.version_files.files,
            news=lambda: self.loops.wake("rollouts"),
        )

    def _made_watchdog(self) -> Watchdog:
        store, alerting, clock = HeartbeatStore(self.database), self.alerting, self.clock
        outbox = OutboxStore(self.database)

        def why_not() -> str:
            now = clock.now()
            stuck = outbox.stuck(KIND, now - STUCK_S)
            groups = [(one.group, one.last_evaluation or self.run.started_at) for one in alerting.reports()]
            return trouble(alerting.fault, groups, self.config().evaluation_interval, stuck, now)

        return Watchdog(store, clock, ping, self._decides, why_not, time.monotonic)

    def _decides(self) -> bool:
        """Return whether this process evaluates rules and decides on messages."""
        return self.loops.leases().get("alerting", False)

    def _made_slack(self) -> SlackPart:
        actions = Actions(RolloutActions(self.rolling.service, self.clock).actions())
        actions.add(AlertActions(self.holding, OutboxStore(self.database), self.clock).actions())
        return SlackPart(actions, self.gatekeeper, self.clock)

    def _made_alerting(self, embedded: Embedded, data_dir: Path, catalogue: Catalogue) -> Alerting:
        db = self.database
        return Alerting(
            db,
            self.metrics.querier,
            self.metrics.sink,
            self.clock,
            self.holder,
            own=embedded.local if self.metrics.remote else None,
            since=embedded.since,
            origins=TargetOrigins(
                embedded.store, self.scraping.health, self.scraping.all_known, lambda name: bool(catalogue.family(name))
            ),
            known=lambda: self.scraping.discovered,
            # A database file in this process's locked folder has no other process.
            replicas=None if db.lies_in(data_dir) else Replicas(db, self.holder, self.clock),
            wake=lambda loop, after_s: self.loops.wake(loop, after_s),
            charts=RuleCharts(self.metrics.querier, lambda: self.alerting.groups, self.clock),
            rosters=lambda: self.rotas.rosters,
        )

    async def start(self) -> None:
        """Apply the configuration and start all parts and loops. Raises ConfigErrors."""
        await self.configure(self.loaded)
        await self._parts.start()
        make = LoopFactory(LeaseStore(self._lease_db), ScheduleStore(self.database), self.holder, self.clock)
        for loop in (*self._parts.loops(make), make.plain("watch", WATCH_S, self._watch)):
            self.loops.add(loop)
        self.loops.start()

    async def configure(self, loaded: LoadedFleet) -> list[str]:
        """Apply a configuration to every part that it changes. Return the changes as sentences. Raises ConfigErrors."""
        taken = await self._parts.configure(Configuration(loaded, self._listen), self.pools.parsing)
        self.loaded = loaded
        self._stamps = await self.pools.files.run(stamps, loaded)
        return taken

    async def close(self) -> None:
        """Stop the loops, which releases the leases, and then close the parts and connections."""
        await self.loops.close()
        await self._parts.close()
        self._lease_db.close()
        self._access_db.close()

    async def reload(self, by: str) -> Sequence[str]:
        """Read fleet.yaml again. Return sentences: the changed sections, the changes of each part, and warnings.

        `by` is the actor for the audit trail. Raises ConfigErrors with the faults that `check` reports; the old
        configuration stays then.
        """
        async with self._reloading:
            self.run = self.run._replace(reload_ok=False)
            loaded, warnings = await self.pools.parsing.run(accepted, self.loaded.path)
            before = self.loaded.fleet
            taken = await self.configure(loaded)
            self.run = self.run._replace(configured_at=self.clock.now(), reload_ok=True)
            told = changes(before, loaded.fleet, taken)
            await asyncio.to_thread(self._announce, by, told_as_one(told) if taken or loaded.fleet != before else "")
        return [*told, *warnings]

    async def reload_and_say(self) -> None:
        """Reload and log the result. A file with errors is not read again before it changes."""
        try:
            for sentence in await self.reload(WATCH):
                log.info("configuration: %s", sentence)
        except ConfigErrors as error:
            for fault in error.errors:
                log.error("configuration: %s; the old configuration stays", fault)

    def watch_itself(self, render: Callable[[], bytes]) -> None:
        """Scrape this process's own metrics from the next discovery on."""
        self.scraping.watch_itself(render)
        self.loops.wake("discovery")

    def config(self) -> Fleet:
        """Return the running configuration."""
        return self.loaded.fleet

    def not_ready(self) -> dict[str, str]:
        """Return the parts that are not ready, each with its reason. Blocking."""
        found: dict[str, str] = {}
        try:
            RevisionStore(self.database).latest()  # reads a table: a query without one does not open the file
        except ControlPlaneError as error:
            found["database"] = str(error)
        return found | self._parts.not_ready()

    def _announce(self, by: str, told: str) -> None:
        with self.database.transaction() as session:
            touch(session, "config")
            if told:
                audit(session, by, "config.reload", f"fleet/{self.loaded.fleet.fleet.name}", told, self.clock.now())

    async def _watch(self) -> None:
        """Reload after fleet.yaml or a rule file changed. A file with errors is logged once and changes nothing."""
        found = await self.pools.files.run(stamps, self.loaded)
        if found == self._stamps:
            return
        self._stamps = found
        await self.reload_and_say()


@asynccontextmanager
async def running(
    loaded: LoadedFleet, data_dir: Path, given_token: str | None, listen: str, *, observe_only: bool
) -> AsyncIterator[tuple[ControlPlane, Database]]:
    """Open the database and start a control plane; at the end close both in reverse. Raises ControlPlaneError."""
    async with AsyncExitStack() as stack:
        pools = make_pools()
        stack.callback(pools.close)
        pools.serve()
        db = Database(loaded.fleet.database or f"sqlite:///{data_dir / 'controlplane.db'}")
        stack.callback(db.close)
        await asyncio.to_thread(migrate, db)
        held = await asyncio.to_thread(hold_of, db)
        if held is not None:
            log.warning("%s", held.sentence)
        clock = SystemClock()
        await asyncio.to_thread(bootstrap, TokenStore(db), data_dir, given_token, clock.now())
        embedded = await asyncio.to_thread(Embedded.open, loaded.fleet.metrics, data_dir, clock)
        stack.push_async_callback(embedded.close)
        if db.lies_in(data_dir):  # this process holds the folder's lock, so whoever holds a lease or a message is dead
            await asyncio.to_thread(LeaseStore(db).take_over)
            await asyncio.to_thread(OutboxStore(db).take_over)
        plane = ControlPlane(loaded, db, embedded, clock, listen, data_dir, pools, observe_only=observe_only, held=held)
        stack.push_async_callback(plane.close)
        await plane.start()
        yield plane, db
