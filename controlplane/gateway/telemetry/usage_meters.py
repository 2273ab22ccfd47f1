"""Numbers of the journals and of their shipping: the meters that controlplane/gateway/usage asks for."""

from __future__ import annotations

from controlplane.gateway.telemetry import families as f
from controlplane.gateway.telemetry.meters import Meters

LOST = ("full", "disk", "memory", "damaged")
"""Reasons of lost records, declared at 0 so that the first one is an increase."""


class JournalMeters:
    """Counters of one worker's journal."""

    def __init__(self, meters: Meters) -> None:
        # All series are made here: the journal's thread must not allocate.
        self._written = meters.counter(f.JOURNAL_RECORDS)
        self._lost = {reason: meters.counter(f.JOURNAL_LOST, reason) for reason in LOST}

    def written(self, records: int) -> None:
        """So many records are in the journal."""
        self._written.add(records)

    def lost(self, reason: str, records: int) -> None:
        """So many records could not be kept."""
        self._lost[reason].add(records)


class ShipperMeters:
    """Numbers of the supervisor's shipping."""

    def __init__(self, meters: Meters) -> None:
        self._shipped = meters.counter(f.SHIPPED)
        self._damaged = meters.counter(f.JOURNAL_LOST, "damaged")
        self._bytes = meters.gauge(f.JOURNAL_BYTES)
        self._age = meters.gauge(f.JOURNAL_AGE)

    def shipped(self, records: int) -> None:
        """So many records were acknowledged."""
        self._shipped.add(records)

    def damaged(self, records: int) -> None:
        """So many records could not be read back from the journal."""
        self._damaged.add(records)

    def waiting(self, size: int, age_s: float) -> None:
        """`size` bytes wait, the oldest for `age_s` seconds."""
        self._bytes.set(size)
        self._age.set(age_s)
