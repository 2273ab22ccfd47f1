"""Rates of metrics that are not counters. They are wrong: a rate treats each decrease of a gauge as a counter reset."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.catalogue.model import Catalogue
from controlplane.metrics.promql.annotations.collected import COUNTER_ENDINGS
from controlplane.metrics.promql.syntax.tree import Call, Node, Range, calls, metric_name

OF_COUNTERS = ("rate", "increase", "irate")


def metric_types(catalogue: Catalogue) -> dict[str, str]:
    """Return the types of the catalogue's metrics, by canonical name and by the engines' names."""
    types: dict[str, str] = {name: metric.type for name, metric in catalogue.metrics.items()}
    for engine in catalogue.engines.values():
        for canonical, sources in engine.sources.items():
            for source in sources:
                # Parts of a histogram or a summary are counters.
                kind = "counter" if source.part else catalogue.metrics[canonical].type
                types |= dict.fromkeys((*source.from_, *source.sum), kind)
    return types


def doubtful_rates(node: Node, types: dict[str, str]) -> Iterator[str]:
    """Yield a sentence for each rate of a metric that is not a counter by its type or, without a type, by its name."""
    taken = [
        (call.name, metric_name(call.args[0].selector))
        for call in calls(node)
        if isinstance(call, Call) and call.name in OF_COUNTERS and isinstance(call.args[0], Range)
    ]
    for function, name in dict.fromkeys(taken):
        kind = types.get(name or "")
        if name is None or kind in ("counter", "histogram") or (kind is None and name.endswith(COUNTER_ENDINGS)):
            continue
        doubt = "is a gauge" if kind else f"might not be a counter: its name does not end in {_ENDINGS}"
        yield f"metric {name} {doubt}; {function}() treats each decrease as a counter reset; use delta() for a gauge"


_ENDINGS = ", ".join(COUNTER_ENDINGS[:-1]) + f" or {COUNTER_ENDINGS[-1]}"
