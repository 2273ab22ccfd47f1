"""What the API needs from the rest, as small as it can be. The application's wiring fills it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

from fastapi import Depends, Request

from alerts.evaluate import GroupReport
from alerts.interfaces import Clock, Notifier
from collectors.target import TargetHealth
from controlplane.access.gatekeeper import Gatekeeper
from controlplane.access.sessions import SessionStore
from controlplane.access.tokens import TokenStore
from controlplane.clock.system import ClockReport
from controlplane.config.difference import Change
from controlplane.config.model import Fleet
from controlplane.fleet.history import History
from controlplane.fleet.log_ring import LogRing
from controlplane.fleet.reader import FleetReader
from controlplane.metrics.query.queries import Exports, Queries
from controlplane.metrics.query.workers.report import QueryReport
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.report import StorageReport
from controlplane.metrics.write.ingest import Ingest
from controlplane.metrics.write.shipping.shipper import ShippingReport
from controlplane.pools import Pools
from controlplane.rollout.attention import Attention
from controlplane.rollout.model import Plan, RecordedRollout, Rollout
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.outbox import OutboxStore
from controlplane.store.revision import RevisionStore
from controlplane.store.stored import UnreadRow


class Rollouts(Protocol):
    """Steers rollouts. Raises NotFound, Conflict, Refused, Unavailable."""

    observe_only: bool
    """Plans, and refuses to act."""

    async def plan(self, model: str, version: str, strategy: str) -> Plan:
        """Say what a promotion would do; nothing moves."""
        ...

    async def start(
        self, model: str, version: str, strategy: str, *, actor: str, idempotency_key: str | None
    ) -> Rollout:
        """Start a promotion; the same key again returns the same rollout."""
        ...

    async def plan_rollback(self, model: str) -> Plan:
        """Say what a rollback would do; nothing moves."""
        ...

    async def rollback(self, model: str, *, actor: str, idempotency_key: str | None) -> Rollout:
        """Start going back to the previous version."""
        ...

    async def abort(self, rollout_id: str, *, actor: str) -> Rollout:
        """Turn a running rollout back."""
        ...

    async def close(self, rollout_id: str, *, actor: str) -> Rollout:
        """Give up a rollout that cannot be read."""
        ...

    async def list(self, model: str | None, limit: int) -> Sequence[RecordedRollout]:
        """Return rollouts, newest first, without their events."""
        ...

    async def show(self, rollout_id: str) -> RecordedRollout:
        """Return one rollout with its events."""
        ...

    def attention(self) -> Sequence[Attention]:
        """Return the rollouts that a person should know of. Blocking. Raises Unavailable."""
        ...


class Run(NamedTuple):
    """This process and its configuration. Times are unix seconds."""

    started_at: float
    configured_at: float
    """When the running configuration was taken over."""
    reload_ok: bool = True
    """Whether the last one that was read is the running one."""


@dataclass(frozen=True)
class Services:
    """Everything that routes use."""

    version: str
    clock: Clock
    config: Callable[[], Fleet]
    """The running configuration."""
    allowed_hosts: Callable[[], frozenset[str]]
    """Names under which this server is reached now, in lower case, without ports. Addresses always pass."""
    fleet: FleetReader
    queries: Queries
    exports: Exports
    """Samples for other servers."""
    run: Callable[[], Run]
    series_store: SeriesStore
    ingest: Ingest
    """Takes the samples of remote writers."""
    storage: Callable[[], StorageReport]
    targets: Callable[[], Sequence[TargetHealth]]
    rules: Callable[[], Sequence[GroupReport]]
    rollouts: Rollouts
    alerts: SqlAlertLog
    outbox: OutboxStore
    tokens: TokenStore
    sessions: SessionStore
    pools: Pools
    """Threads for blocking calls."""
    gatekeeper: Gatekeeper
    """Checks credentials; everything that lets somebody in asks it."""
    revisions: RevisionStore
    reload: Callable[[], Awaitable[Sequence[str]]]
    """Reads fleet.yaml again; returns sentences on what changed. Raises ConfigErrors: the running one stays."""
    compare: Callable[[Fleet], Sequence[Change]]
    """What a reload of another fleet.yaml in the running one's place would change."""
    history: History
    log: LogRing
    not_ready: Callable[[], Mapping[str, str]]
    """What is not ready yet and why; empty when everything is. Blocking."""
    unread: Callable[[], Sequence[UnreadRow]]
    """Stored rows that cannot be read. Blocking."""
    alerting_fault: Callable[[], str] = str
    """Why alert states and messages are kept in memory; empty while the database is written."""
    notifiers: Callable[[], Mapping[str, Notifier]] = dict
    """The configured notifiers by name."""
    clock_report: Callable[[], ClockReport | None] = lambda: None
    """What was measured of the machine's clock; None where nobody measures it."""
    querying: Callable[[], QueryReport] = QueryReport
    """How the queries of the HTTP API do."""
    leases: Callable[[], Mapping[str, bool]] = dict
    """Whether this process holds each lease, by name."""
    shipping: Callable[[], Sequence[ShippingReport]] = tuple
    """How each endpoint of remote_write is doing."""

    @property
    def observe_only(self) -> bool:
        """This control plane watches and alerts, and never acts."""
        return self.fleet.observe_only


async def services_of(request: Request) -> Services:
    """Return the app's services."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]
