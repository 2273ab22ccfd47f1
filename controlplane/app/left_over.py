"""Ends series that earlier runs have left and that nobody writes any more: nothing is seen twice after a restart.

A control plane that stops says nothing of the targets: their series stay, and so do alerts on them. What it says at its
end is that it is gone itself. What is gone without a word, a target or a rule that left the configuration while nothing
ran, is ended when the next one knows all that is configured.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from collectors.samples import SampleSink
from collectors.scrape import report_key
from collectors.target import Target
from controlplane.metrics.series.source import RECORDED, RULES, WRITTEN, SeriesSource

log = logging.getLogger(__name__)

MOST_NAMED = 5


def end_left_over(
    sources: Iterable[SeriesSource], sink: SampleSink, targets: Iterable[Target], rules: Collection[str], now: float
) -> list[str]:
    """End the series of stored sources that are neither one of `targets` nor of `rules`, by id; return their names.

    What others write, and what this process writes about itself, goes on or goes stale by itself.
    """
    wanted = {key for target in targets for key in (target.key, report_key(target))}
    wanted |= {f"{RULES}{rule}" for rule in rules}
    kept = (WRITTEN, *(prefix for prefix in RECORDED if prefix != RULES))
    gone = [s.name for s in sources if not s.ended and s.name not in wanted and not s.name.startswith(kept)]
    for name in gone:
        sink.end(name, round(now * 1000))
    if gone:
        more = f" and {len(gone) - MOST_NAMED} more" if len(gone) > MOST_NAMED else ""
        log.info("metrics: what is no longer configured was ended: %s%s", ", ".join(sorted(gone)[:MOST_NAMED]), more)
    return gone


def end_own(sink: SampleSink, own: Target, now: float) -> None:
    """End what this process says of itself: it is about to stop."""
    for name in (own.key, report_key(own)):
        sink.end(name, round(now * 1000))
