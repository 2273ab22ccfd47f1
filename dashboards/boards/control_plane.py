"""The dashboard of the control plane itself, by its own metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.board import Section, dashboard, select, values_of
from dashboards.boards.common import rate
from dashboards.boards.control_plane_work import HERE, OWN, greatest, shipping, store, time, work
from dashboards.panels import RED, YELLOW, Limit, Lines, Number, Panel, Query, Rows
from dashboards.settings import Settings


def control_plane(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-control-plane",
        title="Control plane",
        description="Is the watcher well? Scrapes, storage, queries, threads, clock, schedules and shipping.",
        variables={"instance": values_of("controlplane_build_info", "instance")},
        sections=[_now(settings), _scrapes(), store(), work(), time(), shipping(settings)],
        page="/targets",
    )


def _now(settings: Settings) -> Section:
    paused = f"max({OWN}storage_paused{select(HERE)}) + max({OWN}database_paused{select(HERE)})"
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
            queries=[Query(f"count({OWN}target_blind{select(HERE)} == 1) or vector(0)")],
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
            queries=[Query(f"sum({OWN}store_series{select(HERE)})")],
            unit="none",
        ),
        Number(
            title="Samples per second",
            description="Samples stored.",
            queries=[Query(f"sum({rate(OWN + 'store_samples_appended_total', 'instance', HERE)})")],
            unit="none",
        ),
        Number(
            title="Clock",
            description="Sum of the small changes of the clock within the last hour, in seconds. Yellow is where "
            "ClockCreeping fires.",
            queries=[Query(f"max(abs({OWN}clock_creep_seconds{select(HERE)}))")],
            unit="s",
            limits=[Limit(settings.limit("clock_creep"), YELLOW)],
        ),
    ]


def _scrapes() -> Section:
    return "Scrapes", [
        Lines(
            title="Targets by health",
            description="By engine. `unknown`: not scraped yet.",
            queries=[Query(f"sum by (engine, health) ({OWN}targets{select(HERE)})", "{{engine}} {{health}}")],
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
            queries=[Query(greatest("discovery_faults", "instance"), "{{instance}}")],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Series and samples that are left out",
            description="Of a target's last scrape: series that a limit refuses (SeriesLimitReached fires for them), "
            "samples whose series repeat, and samples with names that cannot be stored.",
            queries=[
                Query(
                    f"sum by (target_job, target_instance) ({OWN}target_{name}{select(HERE)}) > 0",
                    "{{target_job}} {{target_instance}} " + words,
                )
                for name, words in (
                    ("series_refused", "series refused"),
                    ("samples_duplicate", "samples repeat"),
                    ("samples_unstorable", "names not storable"),
                )
            ],
            unit="none",
            minimum=0,
            width=12,
        ),
        *_left_out(),
    ]


def _left_out() -> Sequence[Panel]:
    """Return the panels of targets that are dropped, down or blind."""
    return [
        Lines(
            title="Endpoints that relabelling drops",
            description="By the job that they had before the rules. `cp targets` shows which rule drops each.",
            queries=[Query(greatest("targets_dropped", "target_job"), "{{target_job}}")],
            unit="none",
            minimum=0,
            width=12,
        ),
        Rows(
            title="Targets down",
            description="Targets whose last scrape failed. The console says why.",
            queries=[Query(f"up{select()} == 0", instant=True)],
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
