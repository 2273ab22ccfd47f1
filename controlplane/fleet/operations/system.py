"""The control plane's own health as people see it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from alerts.evaluate import GroupReport
from controlplane.clock.system import ClockReport
from controlplane.fleet.view import View, instant, rfc3339
from controlplane.metrics.query.workers.report import QueryReport
from controlplane.metrics.series.store_stats import StoreStats
from controlplane.metrics.storage.report import StorageReport
from controlplane.metrics.write.shipping.shipper import ShippingReport
from controlplane.pools import PoolReport
from controlplane.store.lease import LeaseStatus
from controlplane.store.replicas import ReplicaStatus


class LeaseView(View):
    """The right to run a loop, which one replica has at a time."""

    name: str
    here: bool
    """Whether this process holds it."""
    holder: str
    """Host, process and start of the holder; "": nobody."""


class ReplicaView(View):
    """A running process of this control plane."""

    name: str
    """Host, process and start, as in the leases."""
    here: bool
    """Whether it is this process."""
    silent_seconds: float | None
    """Time since the database last heard from it; null: this process shares its database with nobody."""
    clock_ahead_seconds: float | None
    """Lead of its clock over the database's."""
    leases: tuple[str, ...]
    """The leases that it holds."""


class StorageView(View):
    """The stored series."""

    series: int
    sources: int
    """Writers of series."""
    bytes: int
    """Bytes of the samples, in files or in memory."""
    disk_bytes: int
    samples_appended: int
    """Since the start."""
    rows_out_of_order: int
    series_refused: int
    retention_seconds: float
    retention_recorded_seconds: float
    """Of the series that rules record."""
    oldest_at: str | None
    paused: str
    """Why samples are kept in memory only; "": they are on disk."""


class QueryWorkView(View):
    """The HTTP API's queries."""

    workers: int
    running: int
    waiting: int
    refused: int
    restarts: int


class GroupView(View):
    """One group of rules and its last evaluation."""

    name: str
    file: str
    rules: int
    interval_seconds: float
    evaluation_seconds: float
    evaluated_at: str | None
    failures: int
    """Evaluations of its rules that failed since the start."""
    error: str
    """The last error of one of its rules; "": there is none."""


class ShippingView(View):
    """One endpoint of remote_write."""

    endpoint: str
    sent: int
    retried: int
    dropped: int
    pending: int
    queue_bytes: int
    lag_seconds: float
    failing: str
    """Why the endpoint does not accept samples; "": it does."""


class ClockView(View):
    """Steps and creep of the machine's clock since the start."""

    steps_forward: int
    steps_back: int
    last_step_seconds: float | None
    last_step_at: str | None
    creep_seconds: float
    """Sum of the smaller changes of the last hour."""
    creeps: bool
    """Whether they add up to more than a sound clock has."""


class PoolView(View):
    """Threads for blocking calls of one kind."""

    name: str
    threads: int
    busy: int
    waiting: int


class SystemView(View):
    """The control plane itself. null is unknown."""

    generated_at: str
    version: str
    fleet: str
    observe_only: bool
    started_at: str
    configured_at: str
    """When the running configuration was applied."""
    reload_ok: bool
    """Whether the last reload succeeded."""
    not_ready: Mapping[str, str]
    """Parts that are not ready, each with its reason."""
    leases: tuple[LeaseView, ...]
    replicas: tuple[ReplicaView, ...] | None
    """The running processes, this one first."""
    targets: Mapping[str, int]
    """Scrape targets by health."""
    scrape_seconds: float
    """Sum of the durations of all targets' last scrapes."""
    scraped_samples: int
    """Samples of all targets' last scrapes."""
    storage: StorageView
    queries: QueryWorkView
    groups: tuple[GroupView, ...]
    """Groups of rules, the slowest first."""
    outbox: Mapping[str, int] | None
    """Notifications by status."""
    shipping: tuple[ShippingView, ...]
    clock: ClockView | None
    pools: tuple[PoolView, ...]
    unreadable: Mapping[str, int] | None
    """Rows of the database that cannot be read, by table."""
    alerting_fault: str
    """Why alert states and messages are kept in memory; "": they are in the database."""


def lease_views(here: Mapping[str, bool], stored: Iterable[LeaseStatus], now: float) -> tuple[LeaseView, ...]:
    """Return the leases by name. `now` is unix seconds; a lease that has run out has no holder."""
    holders = {lease.name: lease.holder for lease in stored if lease.expires_at > now}
    names = sorted({*here, *holders})
    return tuple(LeaseView(name=n, here=here.get(n, False), holder=holders.get(n, "")) for n in names)


def replica_views(own: str, running: Iterable[ReplicaStatus], leases: Sequence[LeaseView]) -> tuple[ReplicaView, ...]:
    """Return the running replicas, `own` first, the others by name. A process that holds a lease runs, too."""
    known = {replica.holder: replica for replica in running}
    names = {own, *known, *(lease.holder for lease in leases if not lease.here)} - {""}
    return tuple(
        ReplicaView(
            name=name,
            here=name == own,
            silent_seconds=known[name].silent_s if name in known else None,
            clock_ahead_seconds=known[name].ahead_s if name in known else None,
            leases=tuple(one.name for one in leases if (one.here if name == own else one.holder == name)),
        )
        for name in sorted(names, key=lambda name: (name != own, name))
    )


def storage_view(
    stats: StoreStats, report: StorageReport, retention_s: float, retention_recorded_s: float
) -> StorageView:
    """Return the view of the stored series."""
    return StorageView(
        series=stats.series,
        sources=stats.sources,
        bytes=stats.bytes,
        disk_bytes=report.disk_bytes,
        samples_appended=stats.samples_appended,
        rows_out_of_order=stats.rows_out_of_order,
        series_refused=stats.series_dropped,
        retention_seconds=retention_s,
        retention_recorded_seconds=retention_recorded_s,
        oldest_at=None if stats.oldest_ms is None else instant(stats.oldest_ms / 1000),
        paused=report.paused,
    )


def query_view(report: QueryReport) -> QueryWorkView:
    """Return the view of the HTTP API's queries."""
    return QueryWorkView(**report._asdict())


def group_views(reports: Iterable[GroupReport], interval_s: float) -> tuple[GroupView, ...]:
    """Return the groups of rules, the slowest first. `interval_s` is that of groups that name none."""
    found = [
        GroupView(
            name=report.group.name,
            file=report.group.file,
            rules=len(report.rules),
            interval_seconds=interval_s if report.group.interval_s is None else report.group.interval_s,
            evaluation_seconds=report.evaluation_s,
            evaluated_at=rfc3339(report.last_evaluation),
            failures=sum(rule.failures for rule in report.rules),
            error=next((rule.last_error for rule in report.rules if rule.last_error), ""),
        )
        for report in reports
    ]
    return tuple(sorted(found, key=lambda group: (not group.error, -group.evaluation_seconds, group.file, group.name)))


def shipping_views(reports: Sequence[ShippingReport]) -> tuple[ShippingView, ...]:
    """Return the endpoints of remote_write in their order."""
    return tuple(
        ShippingView(
            endpoint=report.endpoint,
            sent=report.sent,
            retried=report.retried,
            dropped=report.dropped.total(),
            pending=report.pending,
            queue_bytes=report.queue_bytes,
            lag_seconds=report.lag_s,
            failing=report.failing,
        )
        for report in reports
    )


def clock_view(report: ClockReport | None) -> ClockView | None:
    """Return the view of the machine's clock; None: it is not measured."""
    if report is None:
        return None
    return ClockView(
        steps_forward=report.forward,
        steps_back=report.back,
        last_step_seconds=None if report.last is None else report.last.by_s,
        last_step_at=None if report.last is None else instant(report.last.at),
        creep_seconds=report.creep_s,
        creeps=report.creeps,
    )


def pool_views(reports: Iterable[PoolReport]) -> tuple[PoolView, ...]:
    """Return the pools of threads in their order."""
    return tuple(PoolView(name=r.name, threads=r.threads, busy=r.busy, waiting=r.waiting) for r in reports)
