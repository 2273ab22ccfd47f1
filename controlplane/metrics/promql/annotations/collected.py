"""Annotations of one query, collected during its evaluation, in Prometheus 3's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from alerts.gotemplate.goformat import go_float
from collectors.samples import FloatArray
from controlplane.metrics.promql.annotations.places import places
from controlplane.metrics.promql.syntax.tree import Node
from promql.strings import quote
from promql.tokens import place

Level = Literal["warning", "info"]

MAX_TOLD = 10
"""Annotations of each level in an answer. One more says how many are left out. Source: Prometheus's web/api/v1."""

MAX_KEPT = 1_000
"""Annotations of each level that are kept. Chosen: a subquery may have a million steps, each with another wrong
quantile."""

COUNTER_ENDINGS = ("_total", "_sum", "_count", "_bucket")
"""Endings of counters' names. Source: Prometheus's promql/engine.go."""


class Annotations:
    """The annotations of one query, each sentence once. Belongs to one evaluation, so to one thread."""

    def __init__(self) -> None:
        self._query: tuple[str, Node] | None = None
        self._found: dict[Level, dict[str, list[Node]]] = {"warning": {}, "info": {}}

    def concern(self, expr: str, tree: Node) -> None:
        """Set the query of these annotations. The places of its arguments are looked up in it."""
        self._query = expr, tree

    def not_counters(self, names: Iterable[str], about: Node) -> None:
        """Add an info for each metric in a rate whose name is not that of a counter."""
        for name in names:
            ends = f"name does not end in {'/'.join(COUNTER_ENDINGS)}"
            self._add("info", f"metric might not be a counter, {ends}: {quote(name)}", about)

    def quantiles(self, wanted: FloatArray, about: Node) -> None:
        """Add a warning for each quantile in `wanted` (float64 of shape [n]) that is not between 0 and 1, in order."""
        wrong = wanted[~((wanted >= 0) & (wanted <= 1))]
        if not len(wrong):
            return
        _, first = np.unique(wrong, return_index=True)
        for value in wrong[np.sort(first)[:MAX_KEPT]].tolist():
            self._add("warning", f"quantile value should be between 0 and 1, got {go_float(value)}", about)

    def bad_bucket(self, metric: str, bound: str, about: Node) -> None:
        """Add a warning for a series that has no upper bound where a histogram's buckets are needed."""
        said = f'bucket label "le" is missing or has a malformed value of {quote(bound)}'
        self._add("warning", said + _of_metric(metric), about)

    def forced_monotonicity(self, metric: str, about: Node) -> None:
        """Add an info for a histogram in which a bucket's count is less than that of the bucket before."""
        said = (
            "input to histogram_quantile needed to be fixed for monotonicity "
            "(see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
        )
        self._add("info", said + _of_metric(metric), about)

    def told(self, level: Level) -> tuple[str, ...]:
        """Return the annotations of a level in the order of evaluation, each with `(line:column)`.

        An annotation of several places names the last one, as in Prometheus.
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
