"""How much a series store takes, and what is refused beyond it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.samples import Layout, Series
from controlplane.metrics.series.layout_series import series_of
from controlplane.metrics.series.series_table import NONE, Found, SeriesTable


@dataclass(frozen=True)
class StoreLimits:
    """How many series are taken. Series that exist keep getting samples; new ones beyond a limit are dropped."""

    max_series: int = 1_000_000
    max_series_per_source: int = 50_000
    max_columns_per_source: int = 200_000
    """Over all layouts of one source; beyond it its oldest layouts are dropped before their retention ends. A target
    whose labels change at every scrape costs about 1 kB a column, forever, without it."""


def refused_of(
    layout: Layout, found: Found, limits: StoreLimits, table: SeriesTable, held: int
) -> tuple[list[int], int]:
    """Return the positions of a layout that are no series here, and how many of them a limit keeps out.

    The others are named twice. `found` is what the table says of the layout, `held` how many series its source has.
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
