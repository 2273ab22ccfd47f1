"""The sections of the control plane's dashboard about its storage, its work, its times and what it sends on."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.board import FLEET, Section, chosen, select
from dashboards.boards.common import quantile, rate, ratio
from dashboards.panels import YELLOW, Limit, Lines, Panel, Query, Rows
from dashboards.settings import Settings

HERE = chosen("instance")
OWN = "controlplane_"
_PROCESS = f'and on (job, instance) target_up{{engine="controlplane", {FLEET}}}'
"""Restriction to the control plane's processes of metrics that every process has."""


def greatest(metric: str, by: str) -> str:
    """Return the greatest value by labels of one of the control plane's own metrics, without `controlplane_`."""
    return f"max by ({by}) ({OWN}{metric}{select(HERE)})"


def store() -> Section:
    """Return the section of stored samples, and of queries."""
    return "Storage and queries", [
        Lines(
            title="Bytes of samples",
            description="In files or in memory, and the files on disk.",
            queries=[
                Query(greatest("store_bytes", "instance"), "{{instance}} samples"),
                Query(greatest("storage_disk_bytes", "instance"), "{{instance}} disk"),
            ],
            unit="bytes",
            minimum=0,
        ),
        Lines(
            title="Lost samples per second",
            description="Rows that came out of order, series refused by a limit or as duplicates, and sets of series "
            "that were dropped before their retention, because their target changes its series too often.",
            queries=[
                Query(rate(OWN + "store_rows_out_of_order_total", "instance", HERE), "{{instance}} out of order"),
                Query(rate(OWN + "store_series_dropped_total", "instance", HERE), "{{instance}} refused series"),
                Query(rate(OWN + "store_layouts_evicted_total", "instance", HERE), "{{instance}} sets dropped early"),
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Queries and their workers",
            description="Queries of the HTTP API that run or wait for a worker, and the workers that run: one is for "
            "the rules.",
            queries=[
                Query(greatest("queries", "instance, state"), "{{instance}} {{state}}"),
                Query(greatest("query_workers", "instance"), "{{instance}} workers"),
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Queries refused, and workers replaced",
            description="Per hour. Queries are refused while too many wait. A worker is replaced when it ends, or when "
            "a query takes too much memory or time.",
            queries=[
                Query(f"sum by (instance) (increase({OWN}{name}_total{select(HERE)}[1h]))", "{{instance}} " + words)
                for name, words in (("queries_refused", "refused"), ("query_worker_restarts", "workers replaced"))
            ],
            unit="none",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Rows of the database that cannot be read",
            description="By table: another release stored them, or they are damaged. StoredRowsUnreadable fires for "
            "them.",
            queries=[Query(greatest("unreadable_rows", "instance, table"), "{{instance}} {{table}}")],
            unit="none",
            minimum=0,
            limits=[Limit(1)],
            width=12,
        ),
    ]


def work() -> Section:
    """Return the section of requests, threads and the processes themselves."""
    return "Work", [
        Lines(
            title="HTTP requests per second by status",
            description="Of the API, the console and Grafana.",
            queries=[Query(rate(OWN + "http_requests_total", "status", HERE), "{{status}}")],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="P95 of HTTP requests by route",
            description="The ten slowest routes. An event stream lasts until its client leaves.",
            queries=[
                Query(f"topk(10, {quantile(0.95, OWN + 'http_request_duration_seconds', 'route', HERE)})", "{{route}}")
            ],
            unit="s",
            minimum=0,
        ),
        Lines(
            title="Threads in use",
            description="As a share of each pool's threads. At 1, calls wait.",
            queries=[
                Query(
                    f"{greatest('pool_busy', 'instance, pool')} / {greatest('pool_threads', 'instance, pool')}",
                    "{{instance}} {{pool}}",
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
        ),
        Lines(
            title="Wait for a thread",
            description="Mean time that a call waited for a thread of its pool.",
            queries=[
                Query(
                    ratio(
                        rate(OWN + "pool_wait_seconds_total", "instance, pool", HERE),
                        rate(OWN + "pool_calls_total", "instance, pool", HERE),
                    ),
                    "{{instance}} {{pool}}",
                )
            ],
            unit="s",
            minimum=0,
        ),
        *_processes(),
    ]


def _processes() -> Sequence[Panel]:
    """Return the panels of the processes themselves, and of what they cannot reach."""
    return [
        Lines(
            title="Memory of the process",
            description="Resident memory, without the query workers. Growth without an end is a leak.",
            queries=[Query(f"process_resident_memory_bytes{select(HERE)} {_PROCESS}", "{{instance}}")],
            unit="bytes",
            minimum=0,
        ),
        Lines(
            title="Processor and open files",
            description="Cores in use by the process, and open files as a share of the limit.",
            queries=[
                Query(
                    f"rate(process_cpu_seconds_total{select(HERE)}[$__rate_interval]) {_PROCESS}", "{{instance}} cores"
                ),
                Query(
                    f"process_open_fds{select(HERE)} / process_max_fds{select(HERE)} {_PROCESS}", "{{instance}} files"
                ),
            ],
            unit="none",
            minimum=0,
        ),
        Rows(
            title="Own metrics that cannot be read",
            description="Parts of the control plane's own metrics that could not be read at the last scrape. Their "
            "panels are empty.",
            queries=[Query(f"{OWN}collected{select(HERE)} == 0", instant=True)],
            unit="none",
            columns=["instance", "part"],
            values=["read"],
            width=12,
        ),
        Lines(
            title="Connections to Slack",
            description="Open connections of Socket Mode. At 0, clicks on buttons in Slack cannot be received.",
            queries=[Query(greatest("slack_connections", "instance"), "{{instance}}")],
            unit="none",
            minimum=0,
            width=12,
        ),
    ]


def time() -> Section:
    """Return the section of leases, schedules and the clock."""
    return "Leases and schedules", [
        Lines(
            title="Leases",
            description="1 while a replica holds the lease. Each lease is held by one replica.",
            queries=[Query(greatest("lease_held", "instance, lease"), "{{instance}} {{lease}}")],
            unit="none",
            minimum=0,
            maximum=1,
        ),
        Lines(
            title="Runs of schedules per hour",
            description="Runs that ended, those that failed, and calendar times that passed without a run. `last run "
            "failed` is 1 until the next good run: ScheduledRunFailed fires for it.",
            queries=[
                Query(
                    f"sum by (schedule) (increase({OWN}schedule_{name}_total{select(HERE)}[1h]))",
                    "{{schedule}} " + name,
                )
                for name in ("runs", "failures", "missed")
            ]
            + [Query(f"max by (schedule) ({OWN}schedule_failed{select()})", "{{schedule}} last run failed")],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Steps of the clock",
            description="Times that the machine's clock was set by a second or more, per hour.",
            queries=[
                Query(
                    f"sum by (instance, direction) (increase({OWN}clock_steps_total{select(HERE)}[1h]))",
                    "{{instance}} {{direction}}",
                )
            ],
            unit="none",
            minimum=0,
        ),
    ]


def shipping(settings: Settings) -> Section:
    """Return the section of samples from other programs, and to other servers."""
    return "Remote write", [
        Lines(
            title="Samples per second",
            description="Samples that the metrics server accepted, those that were sent again, and those that it never "
            "got.",
            queries=[
                Query(rate(OWN + "remote_write_samples_sent_total", "endpoint", HERE), "{{endpoint}} sent"),
                Query(rate(OWN + "remote_write_samples_retried_total", "endpoint", HERE), "{{endpoint}} sent again"),
                Query(
                    rate(OWN + "remote_write_samples_dropped_total", "endpoint, reason", HERE),
                    "{{endpoint}} dropped: {{reason}}",
                ),
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Lag",
            description="Age of the oldest sample that the server has not accepted. The line is the limit of "
            "RemoteWriteBehind.",
            queries=[Query(greatest("remote_write_lag_seconds", "endpoint"), "{{endpoint}}")],
            unit="s",
            minimum=0,
            limits=[Limit(settings.limit("remote_write_lag"), YELLOW)],
        ),
        Lines(
            title="Queue on disk",
            description="Bytes that wait for the server. When the queue is full, the oldest samples are dropped.",
            queries=[Query(greatest("remote_write_queue_bytes", "endpoint"), "{{endpoint}}")],
            unit="bytes",
            minimum=0,
        ),
        Lines(
            title="Samples from other programs",
            description="Samples per second that others wrote to /api/v1/write, and those that were refused.",
            queries=[
                Query(rate(OWN + "received_samples_total", "instance", HERE), "{{instance}} stored"),
                Query(
                    rate(OWN + "received_samples_refused_total", "instance, reason", HERE),
                    "{{instance}} refused: {{reason}}",
                ),
            ],
            unit="none",
            minimum=0,
            width=24,
        ),
    ]
