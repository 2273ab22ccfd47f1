"""The control plane's own metrics, `controlplane_*`. Each app has its own registry."""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from controlplane.access.roles import Role
from controlplane.api.alerting.heartbeats import heartbeat_metrics
from controlplane.api.alerting.metrics import outbox_metrics, rule_metrics
from controlplane.api.alerting.rotas import rota_metrics
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.backups.metrics import backup_metrics
from controlplane.api.services import Services, ServicesDep
from controlplane.api.targets import target_metrics
from controlplane.errors import ControlPlaneError
from controlplane.fleet.schedules import ScheduleView
from controlplane.metrics.write.ingest import REFUSALS
from controlplane.metrics.write.shipping.shipper import ShippingReport
from controlplane.pools import PoolReport
from controlplane.rollout.attention import Need

router = APIRouter(route_class=GuardedRoute, tags=["operations"])

Report = TypeVar("Report")
Sample = tuple[tuple[str, ...], float]
Readings = Mapping[str, tuple[str, Callable[[Report], float]]]
"""By the end of a metric's name: its help, and the function that reads its value from a report."""

_log = logging.getLogger(__name__)
DROP_REASONS = ("age", "buffer", "size", *(f"status_{status}" for status in (400, 401, 403, 404, 413, 422)))
"""Reasons of dropped remote_write samples that are exposed from the start. Other statuses appear when they occur."""
_DURATION_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0)


class OwnMetrics:
    """Counters of requests, and gauges that are read from the services at each scrape."""

    def __init__(self, services: Services) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "controlplane_http_requests_total",
            "HTTP requests by route template, method and status.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._durations = Histogram(
            "controlplane_http_request_duration_seconds",
            "Duration of HTTP requests; an event stream lasts until its client disconnects.",
            ("route",),
            buckets=_DURATION_BUCKETS,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(_ServiceCollector(services))

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one finished request."""
        known = method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
        self._requests.labels(route, known, str(status)).inc()
        self._durations.labels(route).observe(seconds)

    def render(self) -> bytes:
        """Return the text exposition. Blocking: some metrics are read from the database."""
        return generate_latest(self.registry)


class _ServiceCollector(Collector):
    """Reads the services at scrape time. Metrics that cannot be read are absent, and `controlplane_collected` is 0."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._faults: dict[str, str] = {}
        """Why a part could not be read last, by part: scraped every second, the same line would bury the log."""

    def collect(self) -> Iterator[Metric]:
        built: list[Sample] = [((self._services.version,), 1.0)]
        yield _labelled("controlplane_build_info", "Always 1; by version.", ("version",), built)
        collected: list[Sample] = []
        parts: dict[str, Callable[[Services], Iterable[Metric]]] = {
            "targets": target_metrics,
            "store": _store,
            "received": _received,
            "storage": _storage,
            "queries": _queries,
            "rules": rule_metrics,
            "outbox": outbox_metrics,
            "heartbeats": heartbeat_metrics,
            "rotas": rota_metrics,
            "rollouts": _rollouts,
            "gateways": _gateways,
            "stored": _stored,
            "remote_write": _remote_write,
            "clock": _clock,
            "pools": _pools,
            "leases": _leases,
            "schedules": _schedules,
            "backups": backup_metrics,
            "slack": _slack,
        }
        for name, part in parts.items():
            try:
                metrics = list(part(self._services))
            except ControlPlaneError as error:
                if str(error) != self._faults.get(name):
                    _log.warning("own metrics: %s cannot be read: %s", name, error)
                self._faults[name] = str(error)
                collected.append(((name,), 0.0))
                continue
            if self._faults.pop(name, ""):
                _log.info("own metrics: %s can be read again", name)
            collected.append(((name,), 1.0))
            yield from metrics
        help_text = "1 when this part of the metrics could be read."
        yield _labelled("controlplane_collected", help_text, ("part",), collected)


def _store(services: Services) -> Iterable[Metric]:
    stats = services.series_store.stats()
    gauges = {
        "series": ("Series held.", stats.series),
        "sources": ("Writers of series.", stats.sources),
        "bytes": ("Bytes of samples, in files or in memory.", stats.bytes),
    }
    for name, (help_text, value) in gauges.items():
        yield GaugeMetricFamily(f"controlplane_store_{name}", help_text, value=value)
    counters = {
        "samples_appended": ("Samples stored.", stats.samples_appended),
        "rows_out_of_order": ("Rows dropped because their source had a later row.", stats.rows_out_of_order),
        "series_dropped": ("Series refused by a limit or as duplicates.", stats.series_dropped),
        "layouts_evicted": (
            "Times that samples were dropped early because a target changes its series too often.",
            stats.layouts_evicted,
        ),
    }
    for name, (help_text, value) in counters.items():
        yield CounterMetricFamily(f"controlplane_store_{name}", help_text, value=value)


def _received(services: Services) -> Iterable[Metric]:
    ingest = services.ingest
    yield CounterMetricFamily(
        "controlplane_received_samples", "Samples of remote writers that were stored.", value=ingest.stored
    )
    refused = CounterMetricFamily(
        "controlplane_received_samples_refused",
        "Samples of remote writers that were refused, by reason.",
        labels=("reason",),
    )
    for reason in REFUSALS:
        refused.add_metric((reason,), float(ingest.refused[reason]))
    yield refused


def _storage(services: Services) -> Iterable[Metric]:
    report = services.storage()
    yield GaugeMetricFamily(
        "controlplane_storage_paused",
        "1 while samples are kept in memory only because the data folder cannot be written.",
        value=float(bool(report.paused)),
    )
    yield GaugeMetricFamily(
        "controlplane_database_paused",
        "1 while alert states and messages are kept in memory because the database cannot be written.",
        value=float(bool(services.alerting_fault())),
    )
    yield GaugeMetricFamily(
        "controlplane_storage_disk_bytes", "Bytes of the files of samples.", value=report.disk_bytes
    )
    yield CounterMetricFamily(
        "controlplane_storage_pauses", "Times that the data folder could not be written.", value=report.pauses
    )


def _queries(services: Services) -> Iterable[Metric]:
    report = services.querying()
    yield GaugeMetricFamily(
        "controlplane_query_workers", "Query workers that run, that of rules included.", value=report.workers
    )
    states = [(("running",), float(report.running)), (("waiting",), float(report.waiting))]
    yield _labelled("controlplane_queries", "Unanswered queries of the HTTP API by state.", ("state",), states)
    counters = {
        "controlplane_queries_refused": ("Queries that were refused because too many waited.", report.refused),
        "controlplane_query_worker_restarts": ("Query workers that had to be replaced.", report.restarts),
    }
    for name, (help_text, value) in counters.items():
        yield CounterMetricFamily(name, help_text, value=value)


def _stored(services: Services) -> Iterable[Metric]:
    tally = Tally(row.table for row in services.unread())
    # Every table has a series from the start, so that an alert on it resolves by a 0 and not by a missing series.
    tables = sorted({"alert_event", "alert_group", "alert_instance", "model_state", "outbox", "token", *tally})
    yield _labelled(
        "controlplane_unreadable_rows",
        "Rows of the database that cannot be read, and such rows set aside within the last day, by table.",
        ("table",),
        [((table,), float(tally[table])) for table in tables],
    )


def _rollouts(services: Services) -> Iterable[Metric]:
    found = {(a.model, a.need.value) for a in services.rollouts.attention()}
    models = {model.name for model in services.config().models} | {model for model, _ in found}
    # Every model has every series, so that an alert on it resolves by a 0 and not by a missing series.
    samples = [((model, need.value), float((model, need.value) in found)) for model in sorted(models) for need in Need]
    help_text = "1 while the model's newest rollout needs attention: went_back, person, waiting or decision."
    yield _labelled("controlplane_rollout_attention", help_text, ("model", "need"), samples)
    running = [
        ((r.model, r.plan.from_version, r.plan.to_version, r.plan.strategy), 1.0) for r in services.rollouts.running()
    ]
    help_text = "1 while a rollout of the model runs; absent otherwise."
    yield _labelled(
        "controlplane_rollout_running", help_text, ("model", "from_version", "to_version", "strategy"), running
    )


def _gateways(services: Services) -> Iterable[Metric]:
    views = [view for view in services.gateways.views() if view.state != "left"]
    help_text = "1 while the gateway reports to the control plane, 0 when it is silent and has not ended in order."
    yield _labelled("controlplane_gateway_live", help_text, ("gateway",), [((v.name,), float(v.live)) for v in views])
    help_text = "Processes that report under the gateway's name; above 1, two gateways have one name."
    processes = [((v.name,), float(v.processes)) for v in views]
    yield _labelled("controlplane_gateway_processes", help_text, ("gateway",), processes)
    behind = services.gateways.behind()
    # Every model behind gateways has a series, so that an alert on it resolves by a 0 and not by a missing series.
    samples = [((model,), float(bool(words))) for model, words in sorted(behind.items())]
    help_text = "1 while the model has no live gateway, or one that does not apply its assigned weights."
    yield _labelled("controlplane_gateway_behind", help_text, ("model",), samples)


def _remote_write(services: Services) -> Iterable[Metric]:
    reports = services.shipping()
    counters: Readings[ShippingReport] = {
        "samples_sent": ("Samples that the endpoint accepted.", lambda r: r.sent),
        "samples_retried": ("Samples sent again after a failure.", lambda r: r.retried),
        "bytes_sent": ("Compressed bytes of requests that the endpoint accepted.", lambda r: r.sent_bytes),
    }
    by_endpoint = [(report.endpoint, report) for report in reports]
    yield from _each(CounterMetricFamily, "controlplane_remote_write", "endpoint", by_endpoint, counters)
    dropped = CounterMetricFamily(
        "controlplane_remote_write_samples_dropped",
        "Dropped samples that the endpoint did not accept, by reason.",
        labels=("endpoint", "reason"),
    )
    for report in reports:
        # Every reason has a series from the start, so that increase() sees the first dropped sample.
        for reason in sorted({*DROP_REASONS, *report.dropped}):
            dropped.add_metric((report.endpoint, reason), report.dropped[reason])
    yield dropped
    gauges: Readings[ShippingReport] = {
        "samples_pending": ("Samples that wait on disk.", lambda r: r.pending),
        "queue_bytes": ("Size of the queue on disk.", lambda r: r.queue_bytes),
        "lag_seconds": ("Age of the oldest sample that the endpoint has not accepted.", lambda r: r.lag_s),
    }
    yield from _each(GaugeMetricFamily, "controlplane_remote_write", "endpoint", by_endpoint, gauges)


def _clock(services: Services) -> Iterable[Metric]:
    report = services.clock_report()
    if report is None:
        return
    steps = CounterMetricFamily(
        "controlplane_clock_steps", "Times that the machine's clock was set by a second or more.", labels=("direction",)
    )
    steps.add_metric(("forward",), report.forward)
    steps.add_metric(("back",), report.back)
    yield steps
    help_text = "Sum of the clock's smaller changes over the last hour; forward is positive."
    yield GaugeMetricFamily("controlplane_clock_creep_seconds", help_text, value=report.creep_s)
    if report.last is not None:
        help_text = "Size of the clock's last step; back is negative."
        yield GaugeMetricFamily("controlplane_clock_step_seconds", help_text, value=report.last.by_s)
        help_text = "Time of the clock's last step."
        yield GaugeMetricFamily("controlplane_clock_step_timestamp_seconds", help_text, value=report.last.at)


def _pools(services: Services) -> Iterable[Metric]:
    reports = [(report.name, report) for report in services.pools.reports()]
    gauges: Readings[PoolReport] = {
        "threads": ("Threads for blocking calls of one kind.", lambda report: report.threads),
        "busy": ("Threads that run a call.", lambda report: report.busy),
        "waiting": ("Calls that wait for a thread.", lambda report: report.waiting),
    }
    counters: Readings[PoolReport] = {
        "calls": ("Calls that got a thread.", lambda report: report.calls or 0),
        "wait_seconds": (
            "Seconds that these calls waited for a thread, in all.",
            lambda report: report.waited_s or 0.0,
        ),
    }
    yield from _each(GaugeMetricFamily, "controlplane_pool", "pool", reports, gauges)
    counted = [(name, report) for name, report in reports if report.calls is not None]
    yield from _each(CounterMetricFamily, "controlplane_pool", "pool", counted, counters)


def _schedules(services: Services) -> Iterable[Metric]:
    views = [(view.name, view) for view in services.schedules()]
    failed = [(name, view) for name, view in views if view.last is not None]
    gauges: Readings[ScheduleView] = {
        "failed": ("1 while the last run of a job failed.", lambda view: float(view.last is None or not view.last.ok)),
    }
    counters: Readings[ScheduleView] = {
        "runs": ("Runs that ended.", lambda view: view.runs),
        "failures": ("Runs that failed.", lambda view: view.failures),
        "missed": ("Calendar times that passed without a run.", lambda view: view.missed),
    }
    yield from _each(GaugeMetricFamily, "controlplane_schedule", "schedule", failed, gauges)
    yield from _each(CounterMetricFamily, "controlplane_schedule", "schedule", views, counters)


def _each(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    prefix: str,
    label: str,
    reports: Sequence[tuple[str, Report]],
    readings: Readings[Report],
) -> Iterator[Metric]:
    """Yield one metric family for each reading. It has one sample for each report, by the label's value."""
    for name, (help_text, value) in readings.items():
        family = kind(f"{prefix}_{name}", help_text, labels=(label,))
        for of, report in reports:
            family.add_metric((of,), value(report))
        yield family


def _leases(services: Services) -> Iterable[Metric]:
    held = [((lease,), float(holds)) for lease, holds in services.sharing.leases().items()]
    help_text = "1 while this process holds a lease: of all replicas one runs the loop of that name."
    yield _labelled("controlplane_lease_held", help_text, ("lease",), held)


def _slack(services: Services) -> Iterable[Metric]:
    if (count := services.slack.connections()) is not None:
        yield GaugeMetricFamily("controlplane_slack_connections", "Open connections of Socket Mode.", value=count)


def _labelled(name: str, help_text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


@router.get("/metrics", response_class=Response)
@requires(Role.VIEWER)
def own_metrics(request: Request, services: ServicesDep) -> Response:
    """Return the control plane's own metrics in the text exposition format."""
    metrics: OwnMetrics = request.app.state.metrics
    return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)
