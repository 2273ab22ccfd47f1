"""The areas of shared memory: their sizes, and who has which column in them."""

from __future__ import annotations

from controlplane.gateway.choosing import memory as choosing
from controlplane.gateway.limits import memory as limits
from controlplane.gateway.telemetry import columns as telemetry

CHOOSING, LIMITS, METRICS = "choosing", "limits", "metrics"
SIZES = {CHOOSING: choosing.AREA_BYTES, LIMITS: limits.AREA_BYTES, METRICS: telemetry.AREA_BYTES}
"""Sizes in bytes. Most of it is never touched, and takes no memory."""

MOST_WORKERS = 60
"""Most workers of a gateway."""


def worker_columns(half: int, workers: int) -> list[int]:
    """Return the columns of a gateway's workers. A gateway and its successor use different halves, 0 and 1."""
    return [half * MOST_WORKERS + number for number in range(workers)]


def supervisor_column(half: int) -> int:
    """Return the column in which the supervisor keeps its own metrics: 126 or 127."""
    return 2 * MOST_WORKERS + 6 + half
