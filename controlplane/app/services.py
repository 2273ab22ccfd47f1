"""The services of the HTTP API, from a running control plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import urlsplit

from controlplane import __version__
from controlplane.api.services import Services, Sharing, SlackWays
from controlplane.app.check import accepted
from controlplane.app.schedules import BACKUP, backup_timetables, timetables
from controlplane.app.wiring import ControlPlane
from controlplane.config.difference import Change, differences
from controlplane.config.loader import located
from controlplane.config.model import Fleet
from controlplane.cost.ledger import CostLedger
from controlplane.cost.reckoning import BudgetReport
from controlplane.fleet.alerting.explanations import Explanations
from controlplane.fleet.backups import BackupDesk, BackupJobs
from controlplane.fleet.history import History
from controlplane.fleet.log_ring import LogRing
from controlplane.fleet.model_versions import ModelVersions
from controlplane.fleet.reader import FleetReader
from controlplane.fleet.rota.desk import RotaDesk
from controlplane.fleet.schedules import ScheduleView, schedule_views
from controlplane.fleet.slos import SloReader
from controlplane.fleet.snapshots import snapshot_list
from controlplane.fleet.trends import TrendReader
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.alerting.heartbeats import HeartbeatStore
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.outbox import OutboxStore
from controlplane.store.replicas import running_replicas
from controlplane.store.revision import RevisionStore
from controlplane.store.schedules import ScheduleStore
from controlplane.store.stored import UnreadRow
from controlplane.store.unreadable import report
from controlplane.store.usage import UsageStore


def build_services(plane: ControlPlane, db: Database, listen_host: str, ring: LogRing) -> Services:
    """Return the services of the HTTP API for a control plane."""
    alerts, unread, desk = SqlAlertLog(db), partial(_unread, plane, db), _backups(plane, db)
    return Services(
        version=__version__,
        clock=plane.clock,
        config=plane.config,
        allowed_hosts=lambda: _own_names(listen_host, plane.config()),
        fleet=_fleet(plane, alerts, unread),
        slos=SloReader(plane.config, plane.metrics.querier, plane.clock),
        trends=TrendReader(plane.config, plane.metrics.querier, plane.clock),
        queries=plane.metrics.querier,
        exports=plane.metrics.embedded.querier,
        run=lambda: plane.run,
        series_store=plane.metrics.embedded.store,
        ingest=plane.metrics.ingest,
        storage=plane.metrics.embedded.report,
        querying=plane.metrics.embedded.querier.report,
        targets=plane.scraping.health,
        dropped_targets=plane.scraping.dropped,
        discovery_faults=plane.scraping.faults,
        discovery_remarks=plane.scraping.remarks,
        rules=plane.alerting.reports,
        rollouts=plane.rolling.service,
        versions=_versions(plane),
        gateways=plane.gateways,
        alerts=alerts,
        pipeline=plane.pipeline,
        holding=plane.holding,
        heartbeats=HeartbeatStore(db),
        rotas=RotaDesk(lambda: plane.rotas.states, plane.clock.now),
        explanations=Explanations(plane.pipeline, OutboxStore(db), History(db), plane.clock.now, plane.metrics.querier),
        outbox=OutboxStore(db),
        usage=UsageStore(db),
        tokens=plane.gatekeeper.tokens,
        keys=plane.keys,
        sessions=plane.gatekeeper.sessions,
        pools=plane.pools,
        sharing=_sharing(plane, db),
        costs=partial(_costs, plane, db),
        on_disk=partial(_on_disk, plane),
        gatekeeper=plane.gatekeeper,
        revisions=RevisionStore(db),
        reload=plane.reload,
        compare=lambda fleet: differences(plane.config(), located(fleet, plane.loaded.path.parent)),
        history=History(db),
        log=ring,
        not_ready=plane.not_ready,
        clock_report=plane.clock.report,
        shipping=plane.metrics.shipping,
        notifiers=lambda: plane.alerting.notifiers,
        alerting_fault=lambda: plane.alerting.fault,
        unread=unread,
        schedules=partial(_schedules, plane, db),
        backups=lambda: desk,
        snapshots=lambda: snapshot_list(plane.backups.snapshots()),
        received=plane.alerting.receiving,
        slack=SlackWays(lambda: plane.slack.door, lambda: plane.slack.connections),
    )


def _sharing(plane: ControlPlane, db: Database) -> Sharing:
    return Sharing(plane.loops.leases, lambda: LeaseStore(db).list(), plane.holder, lambda: running_replicas(db))


def _unread(plane: ControlPlane, db: Database) -> list[UnreadRow]:
    return report(db, plane.clock.now())


def _costs(plane: ControlPlane, db: Database) -> Sequence[BudgetReport]:
    cost = plane.config().cost
    return [] if cost is None else CostLedger(db, cost).reports(plane.clock.now())


async def _on_disk(plane: ControlPlane) -> Sequence[Change]:
    loaded, _ = await plane.pools.parsing.run(accepted, plane.loaded.path)
    return differences(plane.config(), loaded.fleet)


def _schedules(plane: ControlPlane, db: Database) -> Sequence[ScheduleView]:
    return schedule_views(timetables(plane.config()), ScheduleStore(db).all(), plane.clock.now())


def _backups(plane: ControlPlane, db: Database) -> BackupDesk:
    def jobs() -> BackupJobs:
        return BackupJobs(plane.config().backup, backup_timetables(plane.config()))

    return BackupDesk(db, jobs, plane.clock.now, stored_as=BACKUP, observe_only=plane.observe_only)


def _versions(plane: ControlPlane) -> ModelVersions:
    part = plane.version_files
    return ModelVersions(
        part.store, part.files, lambda: plane.config().models, plane.clock.now, observe_only=plane.observe_only
    )


def _fleet(plane: ControlPlane, alerts: SqlAlertLog, unread: Callable[[], list[UnreadRow]]) -> FleetReader:
    return FleetReader(
        config=plane.config,
        queries=plane.metrics.querier,
        models=plane.rolling.service,
        alerts=alerts,
        targets=plane.scraping.health,
        clock=plane.clock,
        observe_only=plane.observe_only,
        unread=unread,
        gateways=plane.gateways.attention,
    )


def _own_names(listen_host: str, config: Fleet) -> frozenset[str]:
    outside = urlsplit(config.fleet.external_url).hostname if config.fleet.external_url else None
    return frozenset(host.lower().rstrip(".") for host in (listen_host, outside) if host)
