"""Reading a series store, for the process that writes it and for the processes that follow its files."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from collectors.samples import Labels, Metadata
from controlplane.metrics.arrays import IntArray
from controlplane.metrics.series import gather
from controlplane.metrics.series.budget import Budget
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.matchers import Matcher, MatchOp
from controlplane.metrics.series.plan import ReadPlan
from controlplane.metrics.series.plans import Plans
from controlplane.metrics.series.samples import SampleSet
from controlplane.metrics.series.series_table import SeriesTable

LOCK_FREE_READS = 5
"""Reads that are repeated because a layout changed. After that a follower uses the last answer, and the writing process
reads under the lock."""

Answer = TypeVar("Answer")


class StoreReader(ABC):
    """The reading side of a store. May be used from several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.table = SeriesTable()
        self._plans = Plans()

    @abstractmethod
    def _steady(self, look: Callable[[], Answer]) -> Answer:
        """Return the answer of `look`, repeated until no source changed its layout during the call."""

    def read(self, matchers: Sequence[Matcher], after_ms: int, until_ms: int, budget: Budget) -> SampleSet:
        """Return the samples of matching series with `after_ms < time <= until_ms`, without staleness markers.

        Raises QueryError when a pattern is not valid, and once the budget is spent.
        """
        return self._steady(lambda: gather.read(self.plan(matchers), after_ms, until_ms, budget))

    def newest(
        self, matchers: Sequence[Matcher], after_ms: IntArray, until_ms: IntArray, budget: Budget
    ) -> tuple[Sequence[Labels], gather.Newest]:
        """Return the labels (with `__name__`) of matching series, and the last sample of each at each step.

        `after_ms` and `until_ms` are [steps]; see gather.newest. Raises QueryError when a pattern is not valid, and
        once the budget is spent.
        """

        def look() -> tuple[Sequence[Labels], gather.Newest]:
            plan = self.plan(matchers)
            return plan.labels, gather.newest(plan, after_ms, until_ms, budget)

        return self._steady(look)

    def plan(self, matchers: Sequence[Matcher]) -> ReadPlan:
        """Return the plan of the series that satisfy all matchers. Raises QueryError when a pattern is not valid."""
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
        """Return the labels (with `__name__`) of matching series, each with the sources of its stored rows.

        Raises QueryError when a pattern is not valid.
        """

        def look() -> list[tuple[Labels, tuple[str, ...]]]:
            plan = self.plan(matchers)
            return [
                (plan.labels[int(member)], tuple(dict.fromkeys(part.block.source for part in group.parts)))
                for group in plan.everything()
                for member in group.members
            ]

        return self._steady(look)

    def ended_ms(self, source: str, metric: str) -> int | None:
        """Return the unix milliseconds of the end of the last series of a metric that a source wrote.

        None while the source writes one, and when it never wrote one.
        """

        def look() -> int | None:
            plan = self.plan([Matcher(METRIC_NAME, MatchOp.EQUAL, metric)])
            parts = (part for group in plan.everything() for part in group.parts)
            blocks = [block for part in parts if (block := part.block).source == source and block.chunks]
            return max((block.newest_ms for block in blocks), default=None) if all(b.ended for b in blocks) else None

        return self._steady(look)

    def metadata(self) -> Mapping[str, Metadata]:
        """Return type and help of each metric family, from the latest exposition that had it."""
        with self._lock:
            return dict(self.table.metadata)
