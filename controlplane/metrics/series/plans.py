"""A cache of read plans by selector. A plan is kept until the series that it selects change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from controlplane.metrics.series.index import METRIC_NAME, accepted_values
from controlplane.metrics.series.matchers import Matcher
from controlplane.metrics.series.plan import ReadPlan
from controlplane.metrics.series.series_table import SeriesTable

MAX_PLANS = 1024
"""Plans in the cache. Chosen: several times the selectors of the rules and of the console's panels."""

MAX_SERIES = 2_000_000
"""Series of all plans in the cache. Each costs some 200 bytes."""

Key = tuple[Matcher, ...]


class Plans:
    """Plans by matchers. The least recently used is dropped first. The store's lock guards the cache.

    A plan whose matchers name a metric is dropped only when a series of that metric comes or goes. So a target whose
    labels change at every scrape does not affect the plans of other metrics.
    """

    def __init__(self) -> None:
        self._plans: OrderedDict[Key, ReadPlan] = OrderedDict()
        self._of_name: dict[str, set[Key]] = {}
        """Keys by metric name. Keys that name no metric are under ""."""
        self._series = 0
        self._drops = 0

    def find(self, key: Key, table: SeriesTable, lock: threading.RLock) -> ReadPlan:
        """Return the plan of matchers. Raises QueryError when a pattern is not valid."""
        with lock:
            plan = self._plans.get(key)
            if plan is not None:
                self._plans.move_to_end(key)
                return plan
            drops = self._drops
            existing = [table.label_values(m.name) if m.alternatives() is None else [] for m in key]
        # Patterns run outside the lock: they may take long.
        accepted = [(m, accepted_values(m, values)) for m, values in zip(key, existing, strict=True)]
        with lock:
            plan = table.plan(accepted)
            # Label values that appeared in the meantime are missing in this plan. Then it serves this query only.
            if drops == self._drops:
                self._keep(key, plan)
        return plan

    def drop(self, names: Iterable[str]) -> None:
        """Drop the plans that may select series of these metrics. Call it under the store's lock."""
        self._drops += 1
        for name in (*names, ""):
            for key in self._of_name.pop(name, ()):
                self._discard(key)

    def _keep(self, key: Key, plan: ReadPlan) -> None:
        if key in self._plans or len(plan.labels) > MAX_SERIES:
            return
        self._plans[key] = plan
        self._series += len(plan.labels)
        for name in _names(key):
            self._of_name.setdefault(name, set()).add(key)
        while len(self._plans) > MAX_PLANS or self._series > MAX_SERIES:
            self._discard(next(iter(self._plans)))

    def _discard(self, key: Key) -> None:
        plan = self._plans.pop(key, None)
        if plan is None:
            return
        self._series -= len(plan.labels)
        for name in _names(key):
            if keys := self._of_name.get(name):
                keys.discard(key)
                if not keys:
                    del self._of_name[name]


def _names(key: Key) -> frozenset[str]:
    """Return the metric names that matchers list, or "" alone if they list none."""
    for matcher in key:
        named = matcher.alternatives()
        if matcher.name == METRIC_NAME and named is not None:
            return named
    return frozenset(("",))
