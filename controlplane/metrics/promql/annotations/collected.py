"""Annotations of one query, collected while it is evaluated, and worded as Prometheus 3 words them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from alerts.goformat import go_float
from collectors.samples import FloatArray
from controlplane.metrics.promql.annotations.places import places
from controlplane.metrics.promql.syntax.tree import Node
from promql.strings import quote
from promql.tokens import place

Level = Literal["warning", "info"]

MAX_TOLD = 10
"""Annotations of each level in an answer; one more says how many are left out (Prometheus's web/api/v1)."""

MAX_KEPT = 1_000
"""Annotations of each level that are counted: a subquery may have a million steps, each with another wrong quantile."""

COUNTER_ENDINGS = ("_total", "_sum", "_count", "_bucket")
"""How names of counters end (Prometheus's promql/engine.go)."""


class Annotations:
    """What there is to say about a query: each sentence once. Belongs to one evaluation, hence to one thread."""

    def __init__(self) -> None:
        self._query: tuple[str, Node] | None = None
        self._found: dict[Level, dict[str, list[Node]]] = {"warning": {}, "info": {}}

    def concern(self, expr: str, tree: Node) -> None:
        """Say which query this is about: its arguments are looked for there."""
        self._query = expr, tree

    def not_counters(self, names: Iterable[str], about: Node) -> None:
        """Tell of metrics whose rate is taken and whose names are not those of counters."""
        for name in names:
            ends = f"name does not end in {'/'.join(COUNTER_ENDINGS)}"
            self._add("info", f"metric might not be a counter, {ends}: {quote(name)}", about)

    def quantiles(self, wanted: FloatArray, about: Node) -> None:
        """Tell of the quantiles in `wanted` that are not between 0 and 1, in their order."""
        wrong = wanted[~((wanted >= 0) & (wanted <= 1))]
        if not len(wrong):
            return
        _, first = np.unique(wrong, return_index=True)
        for value in wrong[np.sort(first)[:MAX_KEPT]].tolist():
            self._add("warning", f"quantile value should be between 0 and 1, got {go_float(value)}", about)

    def bad_bucket(self, metric: str, bound: str, about: Node) -> None:
        """Tell of a series that is no bucket, as it has no upper bound, where buckets are asked for."""
        said = f'bucket label "le" is missing or has a malformed value of {quote(bound)}'
        self._add("warning", said + _of_metric(metric), about)

    def forced_monotonicity(self, metric: str, about: Node) -> None:
        """Tell of a histogram one of whose buckets holds less than the one before it."""
        said = (
            "input to histogram_quantile needed to be fixed for monotonicity "
            "(see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
        )
        self._add("info", said + _of_metric(metric), about)

    def told(self, level: Level) -> tuple[str, ...]:
        """Return the annotations of a level in the order of evaluation, each with `(line:column)`.

        What is to be said of several places names the last of them, as Prometheus does.
        """
        found = self._found[level]
        if not found or self._query is None:
            return ()
        expr, tree = self._query
        written = places(expr, tree)
        told = []
        for said, about in list(found.items())[:MAX_TOLD]:
            index = max((written[id(node)] for node in about if id(node) in written), default=None)
            told.append(f"PromQL {level}: {said}" + ("" if index is None else f" ({place(expr, index)})"))
        more = len(found) - MAX_TOLD
        return (*told, f"{more} more {level} annotations omitted") if more > 0 else tuple(told)

    def _add(self, level: Level, said: str, about: Node) -> None:
        found = self._found[level]
        if said in found:
            found[said].append(about)
        elif len(found) < MAX_KEPT:
            found[said] = [about]


def _of_metric(name: str) -> str:
    return f" for metric name {quote(name)}" if name else ""
