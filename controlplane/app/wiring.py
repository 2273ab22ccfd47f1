"""The control plane put together: parts in the order in which they need each other, teardown in reverse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from collectors.catalogue import load_catalogue
from controlplane.access import SessionStore, TokenStore
from controlplane.access.bootstrap import bootstrap
from controlplane.access.gatekeeper import WRITE_S, Gatekeeper
from controlplane.api.services import Run
from controlplane.app.accounts import Accounts
from controlplane.app.alerting import BEAT_S, Alerting
from controlplane.app.changes import changes, stamps
from controlplane.app.check import accepted
from controlplane.app.clock_watch import LOOK_S as CLOCK_S
from controlplane.app.clock_watch import ClockWatch
from controlplane.app.embedded import Embedded
from controlplane.app.housekeeping import HOUSEKEEPING_S, clean_up
from controlplane.app.metrics_elsewhere import left_queues, remote_querier, shippers
from controlplane.app.notifiers import build_notifiers, build_route
from controlplane.app.rolling import Rolling
from controlplane.app.rules import fleet_rules
from controlplane.app.scraping import Scraping
from controlplane.app.targets import discovery_of, plan_scraping
from controlplane.clock.system import SystemClock
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import Fleet
from controlplane.errors import ConfigError, ConfigErrors, ControlPlaneError
from controlplane.metrics.origins import TargetOrigins
from controlplane.metrics.query.queries import Queries
from controlplane.metrics.write.ingest import Ingest
from controlplane.metrics.write.tee import TeeSink
from controlplane.schedule import EnduringLoop, LeasedLoop, Loops, PlainLoop
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore, process_holder
from controlplane.store.migrate import migrate
from controlplane.store.revision import RevisionStore, touch
from controlplane.traffic.driver import Driver
from controlplane.traffic.drivers import build_drivers

log = logging.getLogger(__name__)

SETTLE_SCRAPES = 2
"""A rate needs two samples of its target."""
DISCOVERY_S = 5.0
WATCH_S = 2.0
PUBLISH_S = 15.0
CHARGE_S = 30.0
REMOTE_CHECK_S = 15.0
TIDY_S = 5.0
ROLLOUT_S = 0.5
DELIVER_S = 1.0
WRITE_BACK_S = 5.0
"""How often it is tried to write a database that could not be written."""
TTL_S = 15.0
"""A replica that dies is followed by another within this time."""


class ControlPlane:
    """Every part of one running process. `reload` takes over a changed fleet.yaml; a bad one changes nothing."""

    def __init__(
        self,
        loaded: LoadedFleet,
        db: Database,
        embedded: Embedded,
        clock: SystemClock,
        listen: str,
        data_dir: Path,
        *,
        observe_only: bool,
    ) -> None:
        """`listen` is where people reach this process unless fleet.yaml names an `external_url`."""
        fleet = loaded.fleet
        self._listen = listen
        self.loaded, self.clock, self.observe_only = loaded, clock, observe_only
        self._db = db
        catalogue = load_catalogue()
        self.holder = process_holder()
        self.embedded, self.store = embedded, embedded.store
        self.ingest = Ingest(
            self.store, clock, fleet.metrics.retention, max_series=fleet.metrics.receive.max_written_series
        )
        self.remote = remote_querier(fleet.metrics)
        self.querier: Queries = self.remote or embedded.querier
        self._data_dir = data_dir
        self.shippers = shippers(fleet.metrics, data_dir, catalogue, clock)
        sink = TeeSink([self.store, *self.shippers]) if self.shippers else self.store
        self.scraping = Scraping(loaded, catalogue, sink, clock, listen)
        self.alerting = Alerting(
            db,
            self.querier,
            sink,
            clock,
            self.holder,
            own=embedded.local if self.remote else None,
            since=embedded.since,
            origins=TargetOrigins(self.store, self.scraping.health, self.scraping.all_known),
            known=lambda: self.scraping.discovered,
        )
        self.accounts = Accounts(db, self.querier, sink, clock)
        self.rolling = Rolling(
            db, self.querier, clock, observe_only=observe_only, news=lambda: self.loops.wake("rollouts")
        )
        self.gatekeeper = Gatekeeper(db, TokenStore(db), SessionStore(db))
        followers = (part.clock_was_set for part in (embedded, self.scraping, self.alerting, self.rolling.engine))
        self.clock_watch = ClockWatch(clock, self.alerting, tuple(followers), embedded.ahead_s)
        self._drivers: dict[str, Driver] = {}
        self._swept = False
        self._stamps: Mapping[Path, tuple[int, int]] = {}
        self._reloading = asyncio.Lock()
        self.loops = Loops()
        self.run = Run(clock.now(), clock.now())

    async def start(self) -> None:
        """Take over the configuration and begin. Raises ConfigErrors."""
        await self._configure(self.loaded)
        for sentence in await asyncio.to_thread(left_queues, self.loaded.fleet.metrics, self._data_dir):
            log.warning("%s", sentence)
        for shipper in self.shippers:
            try:
                await shipper.start()
            except OSError as error:
                raise ConfigError(f"{error.filename}: {error.strerror}", field="metrics.remote_write") from error
        leases = LeaseStore(self._db)
        leased = [
            ("rollouts", ROLLOUT_S, self.rolling.tick),
            ("ledger", CHARGE_S, self.accounts.charge),
            ("housekeeping", HOUSEKEEPING_S, self._clean_up),
        ]
        for name, interval_s, tick in leased:
            ttl_s = max(TTL_S, 2 * interval_s)
            renew_s = min(ttl_s / 3, ttl_s - interval_s - 1)
            loop = LeasedLoop(name, interval_s, leases, self.holder, ttl_s, tick, self.clock, renew_every_s=renew_s)
            self.loops.add(loop)
        alerting = EnduringLoop(
            "alerting",
            BEAT_S,
            leases,
            self.holder,
            TTL_S,
            self.alerting.beat,
            self.clock,
            renew_every_s=TTL_S / 3,
        )
        self.loops.add(alerting)
        plain = [
            ("clock", CLOCK_S, self.clock_watch.turn),
            ("discovery", DISCOVERY_S, self._discover),
            ("delivery", DELIVER_S, self.alerting.deliver),
            ("alert backlog", WRITE_BACK_S, self.alerting.write_back),
            ("publish", PUBLISH_S, self.accounts.publish),
            ("watch", WATCH_S, self._watch),
            ("storage", TIDY_S, self.embedded.tidy_up),
            ("access", WRITE_S, self.gatekeeper.write),
        ]
        if self.remote:
            plain.append(("remote metrics", REMOTE_CHECK_S, self.remote.check))
        for name, interval_s, turn in plain:
            self.loops.add(PlainLoop(name, interval_s, turn, self.clock))
        self.loops.start()

    async def close(self) -> None:
        """Stop acting, then observing, then talking to the outside. Leases are released."""
        await self.loops.close()
        await self.gatekeeper.close()
        await self.rolling.close()
        await self.scraping.close()
        await self.alerting.close()
        await asyncio.gather(*(driver.close() for driver in self._drivers.values()))
        await asyncio.gather(*(shipper.close() for shipper in self.shippers))
        if self.remote:
            self.remote.close()
            await self.remote.disconnect()

    async def reload(self) -> Sequence[str]:
        """Read fleet.yaml again; return sentences on what changed, and what `check` warns of.

        Raises ConfigErrors, with the faults that `check` tells: the running one stays.
        """
        async with self._reloading:
            self.run = self.run._replace(reload_ok=False)
            loaded, warnings = await asyncio.to_thread(accepted, self.loaded.path)
            before, rules = self.loaded.fleet, self.alerting.groups
            await self._configure(loaded)
            self.run = self.run._replace(configured_at=self.clock.now(), reload_ok=True)
            await asyncio.to_thread(self._announce)
        return [*changes(before, loaded.fleet, rules != self.alerting.groups), *warnings]

    async def reload_and_say(self) -> None:
        """Reload and log what came of it, once: a bad file is not tried again before it changes."""
        try:
            for sentence in await self.reload():
                log.info("configuration: %s", sentence)
        except ConfigErrors as error:
            for fault in error.errors:
                log.error("configuration: %s; the running one stays", fault)

    def watch_itself(self, render: Callable[[], bytes]) -> None:
        """Scrape this process's own metrics from the next discovery on."""
        self.scraping.watch_itself(render)
        self.loops.wake("discovery")

    def config(self) -> Fleet:
        """Return the running configuration."""
        return self.loaded.fleet

    def refuse_queries(self) -> None:
        """Tell whoever waits for an ad-hoc query that this process is about to end."""
        self.embedded.querier.refuse()
        if self.remote:
            self.remote.refuse()

    def not_ready(self) -> dict[str, str]:
        """Return what is not ready and why. Blocking."""
        missing_parts: dict[str, str] = {}
        try:
            RevisionStore(self._db).latest()  # reads a table: the clock alone is told without looking at the file
        except ControlPlaneError as error:
            missing_parts["database"] = str(error)
        if clock := self.clock_watch.not_ready():
            missing_parts["clock"] = clock
        if not self.scraping.discovered:
            missing_parts["discovery"] = "targets have not been read yet"
        if fault := self.alerting.fault:
            missing_parts["alerting"] = fault
        if paused := self.embedded.report().paused:
            missing_parts["storage"] = f"{self._data_dir}: {paused}; new samples are kept in memory only"
        if self.remote and self.remote.fault:
            missing_parts["metrics"] = self.remote.fault
        return missing_parts

    async def _configure(self, loaded: LoadedFleet) -> None:
        """Derive everything first, so that a fault in any part leaves all parts as they were."""
        console_url = (loaded.fleet.fleet.external_url or f"http://{self._listen}").rstrip("/")
        groups = await asyncio.to_thread(fleet_rules, loaded, f"{console_url}/runbooks")
        plan = plan_scraping(loaded)
        discovery = discovery_of(plan, loaded)
        notifiers, route = build_notifiers(loaded), build_route(loaded)
        models = {model.name: model for model in loaded.fleet.models}
        # A driver whose model did not change stays: an order of it may be out, and must not be cut by another edit.
        before = {model.name: model for model in self.loaded.fleet.models}
        kept = {name: driver for name, driver in self._drivers.items() if models.get(name) == before[name]}
        drivers = {**build_drivers(model for model in models.values() if model.name not in kept), **kept}
        self.loaded = loaded
        self.scraping.configure(loaded, plan, discovery)
        slowest = max([loaded.fleet.scrape.interval, *(g.interval_s for g in plan.groups)])
        settle_s = SETTLE_SCRAPES * slowest + loaded.fleet.evaluation_interval
        unused = self.alerting.configure(
            groups, loaded.fleet.evaluation_interval, route, notifiers, settle_s, console_url=console_url
        )
        self.accounts.configure(loaded.fleet)
        old, self._drivers = self._drivers, drivers
        self.rolling.configure(loaded.fleet, drivers, route.receiver, console_url)
        self._stamps = await asyncio.to_thread(stamps, loaded)
        await asyncio.gather(*(n.close() for n in unused), *(d.close() for name, d in old.items() if name not in kept))

    def _announce(self) -> None:
        with self._db.transaction() as session:
            touch(session, "config")

    async def _discover(self) -> None:
        targets = await self.scraping.discover()
        if self.scraping.all_known() and not self._swept:
            self._swept = True
            rules = {rule.id for group in self.alerting.groups for rule in group.rules}
            self.scraping.end_left_over(list(self.store.sources.values()), targets, rules)

    async def _watch(self) -> None:
        """Pick up a changed fleet.yaml or rule file; a bad one is said once and keeps the running configuration."""
        found = await asyncio.to_thread(stamps, self.loaded)
        if found == self._stamps:
            return
        self._stamps = found
        await self.reload_and_say()

    async def _clean_up(self, lease: Lease) -> None:
        await asyncio.to_thread(clean_up, self._db, self.clock.now())


@asynccontextmanager
async def running(
    loaded: LoadedFleet, data_dir: Path, given_token: str | None, listen: str, *, observe_only: bool
) -> AsyncIterator[tuple[ControlPlane, Database]]:
    """Open the database, start a control plane, and take it down in reverse. Raises ControlPlaneError."""
    async with AsyncExitStack() as stack:
        db = Database(loaded.fleet.database or f"sqlite:///{data_dir / 'controlplane.db'}")
        stack.callback(db.close)
        await asyncio.to_thread(migrate, db)
        clock = SystemClock()
        await asyncio.to_thread(bootstrap, TokenStore(db), data_dir, given_token, clock.now())
        embedded = await asyncio.to_thread(Embedded.open, loaded.fleet.metrics, data_dir, clock)
        stack.push_async_callback(embedded.close)
        if db.lies_in(data_dir):  # the lock on it is ours: whoever held a lease is dead
            await asyncio.to_thread(LeaseStore(db).take_over)
        plane = ControlPlane(loaded, db, embedded, clock, listen, data_dir, observe_only=observe_only)
        stack.push_async_callback(plane.close)
        await plane.start()
        yield plane, db
