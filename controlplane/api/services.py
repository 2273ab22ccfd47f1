"""The services that the API needs from other packages. The application's wiring creates them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple, Protocol

from fastapi import Depends, Request

from alerts.evaluate import GroupReport
from alerts.interfaces import Clock, Notifier
from alerts.received import ReceivedAlert
from collectors.discovery.group import DroppedTarget
from collectors.target import TargetHealth
from controlplane.access.gatekeeper import Gatekeeper
from controlplane.access.gateway_keys import GatewayKeyStore
from controlplane.access.sessions import SessionStore
from controlplane.access.tokens import TokenStore
from controlplane.clock.system import ClockReport
from controlplane.config.difference import Change
from controlplane.config.model import Fleet
from controlplane.cost.reckoning import BudgetReport
from controlplane.fleet.alerting.explanations import Explanations
from controlplane.fleet.alerting.pipeline import Pipeline
from controlplane.fleet.backups import BackupDesk
from controlplane.fleet.gateway_desk import GatewayDesk
from controlplane.fleet.history import History
from controlplane.fleet.holding.desk import HoldingDesk
from controlplane.fleet.log_ring import LogRing
from controlplane.fleet.model_versions import ModelVersions
from controlplane.fleet.reader import FleetReader
from controlplane.fleet.rota.desk import RotaDesk
from controlplane.fleet.schedules import ScheduleView
from controlplane.fleet.slos import SloReader
from controlplane.fleet.snapshots import SnapshotList
from controlplane.fleet.trends import TrendReader
from controlplane.metrics.query.queries import Exports, Queries
from controlplane.metrics.query.workers.report import QueryReport
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.report import StorageReport
from controlplane.metrics.write.ingest import Ingest
from controlplane.metrics.write.shipping.shipper import ShippingReport
from controlplane.pools import Pools
from controlplane.rollout.attention import Attention
from controlplane.rollout.findings import WorkState
from controlplane.rollout.model import Plan, Rollout
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.reporting.reader import ModelStatus
from controlplane.rollout.stored.recorded import RecordedRollout
from controlplane.slack.door import SlackDoor
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.alerting.heartbeats import HeartbeatStore
from controlplane.store.lease import LeaseStatus
from controlplane.store.outbox import OutboxStore
from controlplane.store.replicas import ReplicaStatus
from controlplane.store.revision import RevisionStore
from controlplane.store.rollout_rows.quarantines import Quarantine
from controlplane.store.stored import UnreadRow
from controlplane.store.usage import UsageStore


class Rollouts(Protocol):
    """Steers rollouts. Raises NotFound, Conflict, Refused, Unavailable."""

    observe_only: bool
    """Whether rollouts are only planned, and every action is refused."""

    async def plan(
        self, model: str, version: str, strategy: str = "", *, overrides: Overrides, actor: str, role: str
    ) -> Plan:
        """Return the plan of a promotion. Nothing changes."""
        ...

    async def start(
        self,
        model: str,
        version: str,
        strategy: str = "",
        *,
        overrides: Overrides,
        actor: str,
        role: str,
        idempotency_key: str | None,
    ) -> Rollout:
        """Start a promotion. A repeated key returns the same rollout."""
        ...

    async def plan_rollback(self, model: str, to: str | None = None, *, quarantine: bool = True) -> Plan:
        """Return the plan of a rollback. Nothing changes."""
        ...

    async def rollback(
        self,
        model: str,
        to: str | None = None,
        *,
        actor: str,
        role: str,
        reason: str,
        quarantine: bool = True,
        idempotency_key: str | None,
    ) -> Rollout:
        """Start the rollback to the previous version, or to version `to`."""
        ...

    async def pause(self, rollout_id: str, *, actor: str, role: str, reason: str) -> Rollout:
        """Stop a running rollout before its next step."""
        ...

    async def resume(self, rollout_id: str, *, actor: str, role: str, reason: str) -> Rollout:
        """End a pause."""
        ...

    async def approve(self, rollout_id: str, *, actor: str, role: str, reason: str) -> Rollout:
        """Approve the step that a rollout waits for."""
        ...

    async def full(self, rollout_id: str, *, actor: str, role: str, reason: str) -> Rollout:
        """Skip the remaining pauses and analyses."""
        ...

    async def abort(self, rollout_id: str, *, actor: str, reason: str) -> Rollout:
        """Roll a running rollout back."""
        ...

    async def retry(self, rollout_id: str, *, actor: str, role: str, idempotency_key: str | None) -> Rollout:
        """Start the request of a rollout that has ended again."""
        ...

    async def findings(self, rollout_id: str, limit: int) -> Sequence[WorkState]:
        """Return the newest findings of a rollout, oldest first."""
        ...

    async def model(self, name: str) -> ModelStatus:
        """Return one model as last observed."""
        ...

    async def quarantines(self) -> Sequence[Quarantine]:
        """Return the versions in quarantine, newest first."""
        ...

    async def lift(self, model: str, version: str, *, actor: str, role: str, reason: str) -> Quarantine:
        """Lift the quarantine of a version."""
        ...

    async def close(self, rollout_id: str, *, actor: str) -> Rollout:
        """Close a rollout whose record cannot be read."""
        ...

    async def list(self, model: str | None, limit: int) -> Sequence[RecordedRollout]:
        """Return rollouts, newest first, without their events."""
        ...

    async def show(self, rollout_id: str) -> RecordedRollout:
        """Return one rollout with its events."""
        ...

    def attention(self) -> Sequence[Attention]:
        """Return the rollouts that need a person's attention. Blocking. Raises Unavailable."""
        ...

    def running(self) -> Sequence[Rollout]:
        """Return the rollouts that have not ended, at most one a model. Blocking. Raises Unavailable."""
        ...


class ReceivedDesk(Protocol):
    """Takes alerts of other senders. Times are on the clock that all processes on the database share."""

    @property
    def shared_now(self) -> float:
        """Now, in unix seconds."""
        ...

    async def take(self, alerts: Sequence[ReceivedAlert]) -> None:
        """Store alerts durably. Raises Unavailable and NotStorable."""
        ...

    def generator_urls(self, fingerprints: Collection[str]) -> Mapping[str, str]:
        """Return the senders' pages about alerts, by fingerprint. Blocking. Raises Unavailable."""
        ...


class Run(NamedTuple):
    """This process and its configuration. Times are unix seconds."""

    started_at: float
    configured_at: float
    """Time at which the running configuration was applied."""
    reload_ok: bool = True
    """Whether the last reload succeeded."""


async def _no_changes() -> Sequence[Change]:
    return ()


@dataclass(frozen=True)
class Sharing:
    """Leases and replicas, for the status of this process."""

    leases: Callable[[], Mapping[str, bool]] = dict
    """Whether this process holds each lease, by name."""
    lease_holders: Callable[[], Sequence[LeaseStatus]] = tuple
    """Returns the stored leases of all replicas. Blocking. Raises Unavailable."""
    holder: str = ""
    """This process's name in the leases."""
    replicas: Callable[[], Sequence[ReplicaStatus]] = tuple
    """Returns the running replicas that share the database. Blocking. Raises Unavailable."""


@dataclass(frozen=True)
class SlackWays:
    """Ways on which clicks in Slack come in."""

    door: Callable[[], SlackDoor | None] = lambda: None
    """Returns the receiver of clicks over HTTP; None: fleet.yaml names no signing secret."""
    connections: Callable[[], int | None] = lambda: None
    """Returns the number of open connections of Socket Mode; None: fleet.yaml names no app-level token."""


@dataclass(frozen=True)
class Services:
    """Everything that routes use."""

    version: str
    clock: Clock
    config: Callable[[], Fleet]
    """The running configuration."""
    allowed_hosts: Callable[[], frozenset[str]]
    """Current host names of this server, in lower case, without ports. IP addresses always pass."""
    fleet: FleetReader
    slos: SloReader
    trends: TrendReader
    """The last hour of every model."""
    queries: Queries
    exports: Exports
    """Samples for other servers."""
    run: Callable[[], Run]
    series_store: SeriesStore
    ingest: Ingest
    """Stores the samples of remote writers."""
    storage: Callable[[], StorageReport]
    targets: Callable[[], Sequence[TargetHealth]]
    rules: Callable[[], Sequence[GroupReport]]
    rollouts: Rollouts
    versions: ModelVersions
    gateways: GatewayDesk
    alerts: SqlAlertLog
    pipeline: Pipeline
    holding: HoldingDesk
    """Silences and acknowledgements."""
    outbox: OutboxStore
    usage: UsageStore
    tokens: TokenStore
    keys: GatewayKeyStore
    """API keys of the gateways' clients."""
    sessions: SessionStore
    pools: Pools
    """Threads for blocking calls."""
    gatekeeper: Gatekeeper
    """Checks all credentials: tokens, sessions and sign-ins."""
    revisions: RevisionStore
    reload: Callable[[str], Awaitable[Sequence[str]]]
    """Takes the actor's name. Reads fleet.yaml again and returns a sentence for each change.

    Raises ConfigErrors; the old one stays then.
    """
    compare: Callable[[Fleet], Sequence[Change]]
    """Returns the changes that a reload of another fleet.yaml would make."""
    explanations: Explanations
    heartbeats: HeartbeatStore
    rotas: RotaDesk
    """Heartbeats of other programs."""
    history: History
    log: LogRing
    not_ready: Callable[[], Mapping[str, str]]
    """Returns the parts that are not ready, each with its reason. Blocking."""
    unread: Callable[[], Sequence[UnreadRow]]
    """Stored rows that cannot be read. Blocking."""
    dropped_targets: Callable[[], Sequence[DroppedTarget]] = tuple
    """Returns the endpoints that relabelling drops."""
    discovery_faults: Callable[[], Sequence[str]] = tuple
    """Returns why lists of targets are not up to date, or lack a part."""
    discovery_remarks: Callable[[], Sequence[str]] = tuple
    """Returns what of the lists of jobs has no effect, or finds nothing."""
    schedules: Callable[[], Sequence[ScheduleView]] = tuple
    """Returns the scheduled jobs. Blocking. Raises Unavailable."""
    backups: Callable[[], BackupDesk | None] = lambda: None
    """The backups that the control plane makes; None: it makes none."""
    snapshots: Callable[[], SnapshotList] = SnapshotList
    """Returns the repository's snapshots as they were read last, at once. Called in the event loop."""
    alerting_fault: Callable[[], str] = str
    """Returns why alert states and messages are kept in memory; empty while they are written to the database."""
    notifiers: Callable[[], Mapping[str, Notifier]] = dict
    """The configured notifiers by name."""
    clock_report: Callable[[], ClockReport | None] = lambda: None
    """Returns the steps and the creep of the machine's clock; None: they are not measured."""
    querying: Callable[[], QueryReport] = QueryReport
    """Returns the status of the HTTP API's queries."""
    sharing: Sharing = field(default_factory=Sharing)
    costs: Callable[[], Sequence[BudgetReport]] = tuple
    """Returns the ledger's month of each model. Blocking. Raises Unavailable."""
    on_disk: Callable[[], Awaitable[Sequence[Change]]] = _no_changes
    """Returns what a reload of fleet.yaml would change now. Raises ConfigErrors for a file with faults."""
    shipping: Callable[[], Sequence[ShippingReport]] = tuple
    """Returns the status of each endpoint of remote_write."""
    received: ReceivedDesk | None = None
    """Takes alerts of other senders; None: nothing takes them."""
    slack: SlackWays = field(default_factory=SlackWays)

    @property
    def observe_only(self) -> bool:
        """Whether this control plane only watches and alerts, and never acts."""
        return self.fleet.observe_only


async def services_of(request: Request) -> Services:
    """Return the app's services."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]
