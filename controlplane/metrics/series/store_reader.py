"""Reading a series store: the same for the process that writes it and for those that follow its files."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from collectors.samples import Labels, Metadata
from controlplane.metrics.arrays import IntArray
from controlplane.metrics.series import gather
from controlplane.metrics.series.budget import Budget
from controlplane.metrics.series.matchers import Matcher
from controlplane.metrics.series.plan import ReadPlan
from controlplane.metrics.series.plans import Plans
from controlplane.metrics.series.samples import SampleSet
from controlplane.metrics.series.series_table import SeriesTable

LOCK_FREE_READS = 5
"""Reads that a change of layout may spoil before one is taken as it is, or holds the writer up instead."""

Answer = TypeVar("Answer")


class StoreReader(ABC):
    """What queries see of a store. May be used from several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.table = SeriesTable()
        self._plans = Plans()

    @abstractmethod
    def _steady(self, look: Callable[[], Answer]) -> Answer:
        """Return what `look` read while no source changed its layout."""

    def read(self, matchers: Sequence[Matcher], after_ms: int, until_ms: int, budget: Budget) -> SampleSet:
        """Load the samples of matching series with `after_ms < time <= until_ms`, without staleness markers.

        Raises QueryError for a refused pattern, and once the budget is spent.
        """
        return self._steady(lambda: gather.read(self.plan(matchers), after_ms, until_ms, budget))

    def newest(
        self, matchers: Sequence[Matcher], after_ms: IntArray, until_ms: IntArray, budget: Budget
    ) -> tuple[Sequence[Labels], gather.Newest]:
        """Return matching series (labels with `__name__`), and the last sample of each at each step; see gather.newest.

        Raises QueryError for a refused pattern, and once the budget is spent.
        """

        def look() -> tuple[Sequence[Labels], gather.Newest]:
            plan = self.plan(matchers)
            return plan.labels, gather.newest(plan, after_ms, until_ms, budget)

        return self._steady(look)

    def plan(self, matchers: Sequence[Matcher]) -> ReadPlan:
        """Resolve matchers (all must hold) into a plan for reading. Raises QueryError for a refused pattern."""
        return self._plans.find(tuple(matchers), self.table, self._lock)

    def series_in(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """Return the labels (with `__name__`) of matching series with data in `[start_ms, end_ms]`, sorted."""

        def look() -> list[Labels]:
            plan = self.plan(matchers)
            found: list[Labels] = []
            for group in plan.everything():
                if any(part.block.has_data(start_ms, end_ms) for part in group.parts):
                    found.extend(plan.labels[int(m)] for m in group.members)
            return sorted(found)

        return self._steady(look)

    def written_by(self, matchers: Sequence[Matcher]) -> list[tuple[Labels, tuple[str, ...]]]:
        """Return matching series (labels with `__name__`), each with the sources that wrote it, as far as rows go back.

        Raises QueryError for a refused pattern.
        """

        def look() -> list[tuple[Labels, tuple[str, ...]]]:
            plan = self.plan(matchers)
            return [
                (plan.labels[int(member)], tuple(dict.fromkeys(part.block.source for part in group.parts)))
                for group in plan.everything()
                for member in group.members
            ]

        return self._steady(look)

    def metadata(self) -> Mapping[str, Metadata]:
        """Return what the expositions said of each metric family, the latest word winning."""
        with self._lock:
            return dict(self.table.metadata)
