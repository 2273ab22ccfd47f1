"""Ends stored series that nothing writes any more, so that nothing counts twice after a restart.

A control plane that stops ends only the series about itself. The series of targets stay, and so do the alerts on them.
A target or a rule that was removed from the configuration while no control plane ran has stored series without an end.
They end as soon as the next control plane has read all targets and rules.
Servers that get the samples are told too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from collectors.samples import SampleSink
from collectors.scraping.report import report_key
from collectors.target import Target
from controlplane.metrics.series.source import RECORDED, RULES, WRITTEN, SeriesSource

log = logging.getLogger(__name__)

MOST_NAMED = 5


def end_left_over(
    sources: Iterable[SeriesSource], sink: SampleSink, targets: Iterable[Target], rules: Collection[str], now: float
) -> list[str]:
    """End the series of stored sources that belong to none of `targets` and to none of `rules` (ids of rules).

    Return the names of those sources. Sources of remote writers and of this process itself are left alone.
    """
    wanted = {key for target in targets for key in (target.key, report_key(target))}
    wanted |= {f"{RULES}{rule}" for rule in rules}
    kept = (WRITTEN, *(prefix for prefix in RECORDED if prefix != RULES))
    gone = [s.name for s in sources if not s.ended and s.name not in wanted and not s.name.startswith(kept)]
    for name in gone:
        sink.end(name, round(now * 1000))
    if gone:
        more = f" and {len(gone) - MOST_NAMED} more" if len(gone) > MOST_NAMED else ""
        log.info("metrics: ended series of removed targets or rules: %s%s", ", ".join(sorted(gone)[:MOST_NAMED]), more)
    return gone


def end_own(sink: SampleSink, own: Target, now: float) -> None:
    """End the series of this process's own metrics, because the process is about to stop."""
    for name in (own.key, report_key(own)):
        sink.end(name, round(now * 1000))
