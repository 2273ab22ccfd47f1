"""Engines that targets were recognised as in earlier runs, from their stored series.

A server that is down at the start of the control plane is still what it was, and has its alerts.
"""

from __future__ import annotations

from collectors.engines.kinds import AUTO, ENGINES
from collectors.scraping.report import report_key
from collectors.target import Target
from controlplane.metrics.series.series_store import SeriesStore


def remembered_engine(store: SeriesStore, target: Target) -> str:
    """Return the kind of engine in the target's newest stored `target_up`; `auto` without one."""
    writer = store.sources.get(report_key(target))
    blocks = list(writer.blocks.values()) if writer else []
    # At a change of the layout the old block ends at the time of the new one's first row.
    newest = max(blocks, key=lambda block: (block.era, block.newest_ms, not block.ended), default=None)
    if newest is None:
        return AUTO
    views = store.table.layout_of(newest).views
    found = next((dict(view.series.labels) for view in views if view.series.name == "target_up"), {})
    engine = found.get("engine", AUTO)
    return engine if engine in ENGINES else AUTO
