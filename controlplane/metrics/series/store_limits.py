"""Limits of a series store, and the series that are refused beyond them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.samples import Layout, Series
from controlplane.metrics.series.layout_series import series_of
from controlplane.metrics.series.series_slots import NONE
from controlplane.metrics.series.series_table import Found, SeriesTable


@dataclass(frozen=True)
class StoreLimits:
    """Maximum numbers of series. Existing series keep getting samples. New series beyond a limit are dropped."""

    max_series: int = 1_000_000
    max_series_per_source: int = 50_000
    max_columns_per_source: int = 200_000
    """Maximum number of columns of one source, over all its layouts. Beyond it the oldest layouts are dropped before
    their retention ends. Without this limit, a target whose labels change at every scrape costs about 1 kB a column."""


def refused_of(
    layout: Layout, found: Found, limits: StoreLimits, table: SeriesTable, held: int
) -> tuple[list[int], int]:
    """Return the positions of a layout that are refused, and the number of them that exceed a limit.

    The other refused positions are duplicates. `found` is the result of `table.find` for the layout, and `held` is the
    number of series that the source has.
    """
    refused: list[int] = []
    seen: set[Series] = set()
    room, room_here = limits.max_series - len(table), limits.max_series_per_source - held
    new = int(np.count_nonzero(found.numbers == NONE))
    if new <= min(room, room_here) and len(np.unique(found.hashes)) == len(found.hashes):
        return refused, 0
    over = 0
    for position, (series, known) in enumerate(zip(series_of(layout), found.numbers.tolist(), strict=True)):
        if series in seen:
            refused.append(position)
            continue
        seen.add(series)
        if known == NONE:
            if room <= 0 or room_here <= 0:
                refused.append(position)
                over += 1
                continue
            room -= 1
            room_here -= 1
    return refused, over
