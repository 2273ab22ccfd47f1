"""Counters of a series store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StoreStats:
    """The store's own counters, for `/metrics`."""

    series: int
    sources: int
    blocks: int
    bytes: int
    """Bytes of all samples, in arenas and packed."""
    samples_appended: int
    rows_out_of_order: int
    """Rows dropped because the source already had a row of that time or later."""
    series_dropped: int
    """Columns and views refused by a cardinality limit or because another in the layout has the same labels."""
    layouts_evicted: int
    """Layouts whose samples were dropped early because their source changes its series too often."""
    oldest_ms: int | None
    newest_ms: int | None
