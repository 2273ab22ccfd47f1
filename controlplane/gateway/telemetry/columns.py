"""The shared memory of a gateway's metrics: one region for each column of its area."""

from __future__ import annotations

from controlplane.gateway.seams import COLUMNS, Area
from controlplane.gateway.telemetry.exposition import Exposition
from controlplane.gateway.telemetry.families import FINGERPRINT
from controlplane.gateway.telemetry.meters import Meters
from controlplane.gateway.telemetry.region import REGION_BYTES, Region

AREA_BYTES = COLUMNS * REGION_BYTES


def meters_of(area: Area, column: int) -> Meters:
    """Return the meters of the one process that has this column."""
    return Meters(_region(area, column))


def exposition_of(area: Area) -> Exposition:
    """Return the reader of all columns. Keep it: it remembers the directories that it has read."""
    return Exposition(_region(area, column) for column in range(COLUMNS))


def _region(area: Area, column: int) -> Region:
    start = column * REGION_BYTES
    return Region(area.view[start : start + REGION_BYTES], FINGERPRINT)
