"""Meters of the journal and its shipping, for tests: they remember what they were given."""

from __future__ import annotations

from collections import Counter


class Meters:
    """JournalMeters and ShipperMeters in one."""

    def __init__(self) -> None:
        self.records = 0
        self.losses: Counter[str] = Counter()
        self.acknowledged = 0
        self.backlog: tuple[int, float] = (0, 0.0)

    def written(self, records: int) -> None:
        self.records += records

    def lost(self, reason: str, records: int) -> None:
        self.losses[reason] += records

    def shipped(self, records: int) -> None:
        self.acknowledged += records

    def damaged(self, records: int) -> None:
        self.losses["damaged"] += records

    def waiting(self, size: int, age_s: float) -> None:
        self.backlog = (size, age_s)
