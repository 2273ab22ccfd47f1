"""Counters of both versions at one time, and their growth between two times. Pure.

Each counter is compared with its own earlier value:

- A counter that fell was reset, and counts from 0.
- A counter that is missing now keeps its last value: its target was not scraped. A later look counts its growth.
- A counter that was never seen counts from 0 if its target was seen before, because the counter began after that. If
  the target is new too, the counter only gets a first value: it may be as old as the target.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from controlplane.metrics.promql.values import QueryValue, Vector
from controlplane.rollout.comparison.tally import Tally, added

NAME = "__name__"
LABELS = ("instance", "source", "version", "prompt", "outcome", "reason", "finish")
"""Labels by which counters are told apart, beside their name and `le`."""
SYNTHETIC = "synthetic"
"""Instance, and stratum, of synthetic requests, which no target counts (look_synthetic.py)."""
_CLIENTS = 'traffic=~"|client"'
"""Only requests of clients: no copies, no synthetic requests. Metrics without the label count only clients."""


class Counter(NamedTuple):
    """One counter, or all buckets of one histogram. A label that is absent is ""."""

    name: str
    instance: str
    source: str
    version: str
    prompt: str
    outcome: str
    reason: str
    finish: str


Values = Mapping[str, float]
"""Values of a counter by `le`, cumulative. A counter without buckets has one, under ""."""
Counters = Mapping[Counter, Values]


def expression(names: Sequence[str], model: str, versions: Sequence[str], by_instance: bool = True) -> str:
    """Return PromQL for all counters of these names and versions. Counters of one target are reset together.

    `by_instance`: False adds up all targets, for fleets with very many.
    """
    any_version = "|".join(re.escape(version) for version in versions)
    matchers = [f'{NAME}=~"{"|".join(names)}"', f"model={json.dumps(model)}", f"version=~{json.dumps(any_version)}"]
    by = (NAME, *LABELS[not by_instance :], "le")
    return f"sum by ({', '.join(by)}) ({{{', '.join([*matchers, _CLIENTS])}}})"


def counters(value: QueryValue) -> dict[Counter, dict[str, float]]:
    """Return the counters of a query's result."""
    assert isinstance(value, Vector)  # an aggregation
    found: dict[Counter, dict[str, float]] = {}
    for sample in value.samples:
        labels = dict(sample.labels)
        if math.isfinite(sample.value):
            counter = Counter(labels.get(NAME, ""), *(labels.get(name, "") for name in LABELS))
            found.setdefault(counter, {})[labels.get("le", "")] = sample.value
    return found


def growth(before: Counters, now: Counters) -> dict[Counter, dict[str, float]]:
    """Return by how much each counter grew."""
    targets = {counter.instance for counter in before}
    grown: dict[Counter, dict[str, float]] = {}
    for counter, values in now.items():
        old = before.get(counter)
        if old is None:
            if counter.instance in targets:
                grown[counter] = dict(values)
        elif set(old) != set(values) or any(values[le] < old[le] for le in values):
            grown[counter] = dict(values)
        else:
            grown[counter] = {le: value - old[le] for le, value in values.items()}
    return grown


def kept(before: Counters, now: Counters) -> dict[Counter, Values]:
    """Return the values with which the next look compares."""
    return {**before, **now}


def total(grown: Counters, name: str, source: str, version: str, **labels: Iterable[str]) -> dict[str, float]:
    """Return the growth of a counter by prompt stratum. `labels` holds the values that a label may have."""
    sums: dict[str, float] = {}
    for counter, values in grown.items():
        same = (counter.name, counter.source, counter.version) == (name, source, version)
        if same and all(getattr(counter, label) in allowed for label, allowed in labels.items()):
            sums[counter.prompt] = sums.get(counter.prompt, 0.0) + sum(values.values())
    return sums


def tallies(grown: Counters, name: str, source: str, version: str) -> dict[str, Tally]:
    """Return the growth of a histogram by prompt stratum."""
    found: dict[str, list[Tally]] = {}
    for counter, values in grown.items():
        if (counter.name, counter.source, counter.version) == (name, source, version):
            found.setdefault(counter.prompt, []).append(_tally(values))
    return {prompt: added(*parts) for prompt, parts in found.items()}


def _tally(values: Values) -> Tally:
    """Return the tally of cumulative buckets. Buckets of summed targets may fall a little where one had a reset."""
    bounds = sorted((float(le), count) for le, count in values.items() if le)
    counts, below = [], 0.0
    for _, count in bounds:
        counts.append(max(0.0, count - below))
        below = max(below, count)
    finite = tuple(bound for bound, _ in bounds if math.isfinite(bound))
    return Tally(finite, tuple(counts) if len(counts) > len(finite) else (*counts, 0.0))
