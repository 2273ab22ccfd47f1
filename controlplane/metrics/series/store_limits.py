"""How much a series store takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StoreLimits:
    """How many series are taken. Series that exist keep getting samples; new ones beyond a limit are dropped."""

    max_series: int = 1_000_000
    max_series_per_source: int = 50_000
    max_columns_per_source: int = 200_000
    """Over all layouts of one source; beyond it its oldest layouts are dropped before their retention ends. A target
    whose labels change at every scrape costs about 1 kB a column, forever, without it."""
