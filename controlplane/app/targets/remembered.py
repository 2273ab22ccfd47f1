"""Knowledge about targets from before a restart or a reload, read from their stored series.

A server that is down at the start of the control plane is still what it was, and has its alerts. A question that a
server has answered once fits it, and a refusal of it is an outage.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.engines.kinds import AUTO, ENGINES
from collectors.probe.answered import ANSWERED, MARK
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


@dataclass(frozen=True)
class AnsweredQuestions:
    """The marks of the questions that a probe's target has answered. Equal for the same target."""

    source: str
    """The source name of the target's samples."""
    store: SeriesStore = field(compare=False)
    """No setting: a process has one."""

    def __call__(self) -> frozenset[str]:
        """Return the marks in all blocks that the store still has."""
        writer = self.store.sources.get(self.source)
        layouts = [self.store.table.layout_of(block) for block in list(writer.blocks.values())] if writer else []
        labels = [dict(series.labels) for layout in layouts for series in layout.raw if series.name == ANSWERED]
        return frozenset(each.get(MARK, "") for each in labels)
