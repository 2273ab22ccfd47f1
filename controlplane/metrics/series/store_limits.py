"""Limits of a series store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StoreLimits:
    """Maximum numbers of series. Existing series keep getting samples. New series beyond a limit are dropped."""

    max_series: int = 1_000_000
    max_series_per_source: int = 50_000
    max_columns_per_source: int = 200_000
    """Maximum number of columns of one source, over all its layouts. Beyond it the oldest layouts are dropped before
    their retention ends. Without this limit, a target whose labels change at every scrape costs about 1 kB a column."""
