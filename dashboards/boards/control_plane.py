"""The dashboard of the control plane itself, by its own metrics."""

from __future__ import annotations

from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.common import quantile, rate
from dashboards.panels import RED, YELLOW, Limit, Lines, Number, Query, Rows
from dashboards.settings import Settings

_HERE = chosen("instance")
_OWN = "controlplane_"


def control_plane(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-control-plane",
        title="Control plane",
        description="Is the watcher well? Scrapes, storage, queries, threads, clock, schedules and shipping.",
        variables={"instance": values_of("controlplane_build_info", "instance")},
        sections=[_now(settings), _scrapes(), _store(), _work(), _time(), _shipping()],
        page="/targets",
    )


def _max(metric: str, by: str) -> str:
    return f"max by ({by}) ({_OWN}{metric}{select(_HERE)})"


def _now(settings: Settings) -> Section:
    paused = f"max({_OWN}storage_paused{select(_HERE)}) + max({_OWN}database_paused{select(_HERE)})"
    return "Now", [
        Number(
            title="Targets up",
            description="As a share of all scrape targets.",
            queries=[Query(f"avg(up{select()})")],
            unit="percentunit",
            lowest=RED,
            limits=[Limit(0.9, YELLOW), Limit(1.0, "green")],
        ),
        Number(
            title="Blind targets",
            description="Targets that answer with none of the metrics that their engine should expose.",
            queries=[Query(f"count({_OWN}target_blind{select(_HERE)} == 1) or vector(0)")],
            unit="none",
            limits=[Limit(1, YELLOW)],
        ),
        Number(
            title="Cannot write",
            description="1: the data folder or the database cannot be written, and data is kept in memory. 2: both.",
            queries=[Query(paused)],
            unit="none",
            limits=[Limit(1)],
        ),
        Number(
            title="Series",
            description="Series held in memory and on disk.",
            queries=[Query(f"sum({_OWN}store_series{select(_HERE)})")],
            unit="none",
        ),
        Number(
            title="Samples per second",
            description="Samples stored.",
            queries=[Query(f"sum({rate(_OWN + 'store_samples_appended_total', 'instance', _HERE)})")],
            unit="none",
        ),
        Number(
            title="Clock",
            description="Sum of the small changes of the clock within the last hour, in seconds. Yellow is where "
            "ClockCreeping fires.",
            queries=[Query(f"max(abs({_OWN}clock_creep_seconds{select(_HERE)}))")],
            unit="s",
            limits=[Limit(settings.limit("clock_creep"), YELLOW)],
        ),
    ]


def _scrapes() -> Section:
    down = "up" + select() + " == 0"
    return "Scrapes", [
        Lines(
            title="Targets by health",
            description="By engine. `unknown`: not scraped yet.",
            queries=[Query(f"sum by (engine, health) ({_OWN}targets{select(_HERE)})", "{{engine}} {{health}}")],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Slowest scrapes",
            description="The ten targets that take longest to answer.",
            queries=[Query(f"topk(10, scrape_duration_seconds{select()})", "{{job}} {{instance}}")],
            unit="s",
            minimum=0,
        ),
        Lines(
            title="Faults of lists of targets",
            description="Files and servers of discovery that cannot be read. The last good list stays in use.",
            queries=[Query(_max("discovery_faults", "instance"), "{{instance}}")],
            unit="none",
            minimum=0,
        ),
        Rows(
            title="Targets down",
            description="Targets whose last scrape failed. The console says why.",
            queries=[Query(down, instant=True)],
            unit="none",
            columns=["job", "instance", "node"],
            values=["up"],
            width=12,
        ),
        Rows(
            title="Missing metrics",
            description="Metrics that a target should have and lacks.",
            queries=[Query(f"collector_metric_present{select()} == 0", instant=True)],
            unit="none",
            columns=["job", "instance", "metric"],
            values=["present"],
            width=12,
        ),
    ]


def _store() -> Section:
    return "Storage and queries", [
        Lines(
            title="Bytes of samples",
            description="In files or in memory, and the files on disk.",
            queries=[
                Query(_max("store_bytes", "instance"), "{{instance}} samples"),
                Query(_max("storage_disk_bytes", "instance"), "{{instance}} disk"),
            ],
            unit="bytes",
            minimum=0,
        ),
        Lines(
            title="Lost samples per second",
            description="Rows that came out of order, and series refused by a limit or as duplicates.",
            queries=[
                Query(rate(_OWN + "store_rows_out_of_order_total", "instance", _HERE), "{{instance}} out of order"),
                Query(rate(_OWN + "store_series_dropped_total", "instance", _HERE), "{{instance}} refused series"),
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Queries",
            description="Queries of the HTTP API that run or wait for a worker.",
            queries=[Query(_max("queries", "instance, state"), "{{instance}} {{state}}")],
            unit="none",
            minimum=0,
        ),
    ]


def _work() -> Section:
    return "Work", [
        Lines(
            title="HTTP requests per second by status",
            description="Of the API, the console and Grafana.",
            queries=[Query(rate(_OWN + "http_requests_total", "status", _HERE), "{{status}}")],
            unit="reqps",
            minimum=0,
        ),
        Lines(
            title="P95 of HTTP requests by route",
            description="The ten slowest routes. An event stream lasts until its client leaves.",
            queries=[
                Query(
                    f"topk(10, {quantile(0.95, _OWN + 'http_request_duration_seconds', 'route', _HERE)})", "{{route}}"
                )
            ],
            unit="s",
            minimum=0,
        ),
        Lines(
            title="Threads in use",
            description="As a share of each pool's threads. At 1, calls wait.",
            queries=[
                Query(
                    f"{_max('pool_busy', 'instance, pool')} / {_max('pool_threads', 'instance, pool')}",
                    "{{instance}} {{pool}}",
                )
            ],
            unit="percentunit",
            minimum=0,
            maximum=1,
        ),
    ]


def _time() -> Section:
    return "Leases and schedules", [
        Lines(
            title="Leases",
            description="1 while a replica holds the lease. Each lease is held by one replica.",
            queries=[Query(_max("lease_held", "instance, lease"), "{{instance}} {{lease}}")],
            unit="none",
            minimum=0,
            maximum=1,
        ),
        Lines(
            title="Runs of schedules per hour",
            description="Runs that ended, those that failed, and calendar times that passed without a run.",
            queries=[
                Query(
                    f"sum by (schedule) (increase({_OWN}schedule_{name}_total{select(_HERE)}[1h]))",
                    "{{schedule}} " + name,
                )
                for name in ("runs", "failures", "missed")
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Steps of the clock",
            description="Times that the machine's clock was set by a second or more, per hour.",
            queries=[
                Query(
                    f"sum by (instance, direction) (increase({_OWN}clock_steps_total{select(_HERE)}[1h]))",
                    "{{instance}} {{direction}}",
                )
            ],
            unit="none",
            minimum=0,
        ),
    ]


def _shipping() -> Section:
    return "Remote write", [
        Lines(
            title="Samples per second",
            description="Samples that the metrics server accepted, and those that it never got.",
            queries=[
                Query(rate(_OWN + "remote_write_samples_sent_total", "endpoint", _HERE), "{{endpoint}} sent"),
                Query(
                    rate(_OWN + "remote_write_samples_dropped_total", "endpoint, reason", _HERE),
                    "{{endpoint}} dropped: {{reason}}",
                ),
            ],
            unit="none",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Lag",
            description="Age of the oldest sample that the server has not accepted.",
            queries=[Query(_max("remote_write_lag_seconds", "endpoint"), "{{endpoint}}")],
            unit="s",
            minimum=0,
            width=12,
        ),
    ]
