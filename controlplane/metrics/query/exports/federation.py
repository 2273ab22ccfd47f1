"""The newest sample of each series as text exposition: the answer of `/federate`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alerts.gotemplate.goformat import go_float
from collectors.samples import Labels
from controlplane.metrics.promql.syntax.tree import parse_selector
from controlplane.metrics.series.budget import Budget
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.store_reader import StoreReader

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def federate(store: StoreReader, selectors: Sequence[str], at: float, lookback_s: float, budget: Budget) -> bytes:
    """Return the series that match any selector, with the last sample of the `lookback_s` before unix second `at`.

    As in Prometheus, every family is untyped and 0 has no sign. A series without `instance` gets `instance=""`.
    Otherwise the server that scrapes this answer would set the address of this server. Raises QueryError(bad_data) when
    a selector is not valid.
    """
    until = np.array([round(at * 1000)], dtype=np.int64)
    found: dict[Labels, tuple[float, int]] = {}
    for selector in selectors:
        labels, newest = store.newest(parse_selector(selector), until - round(lookback_s * 1000), until, budget)
        for row in np.flatnonzero(newest.present[:, 0]).tolist():
            found[labels[row]] = (float(newest.values[row, 0]), int(newest.times[row, 0]))
    families: dict[str, list[str]] = {}
    for series in sorted(found):
        value, time_ms = found[series]
        named = dict(series)
        name = named.pop(METRIC_NAME, "")
        if name:  # Prometheus leaves nameless series out too
            families.setdefault(name, []).append(f"{_line(name, named)} {go_float(value or 0.0)} {time_ms}\n")
    return "".join(f"# TYPE {name} untyped\n{''.join(families[name])}" for name in sorted(families)).encode()


def _line(name: str, labels: dict[str, str]) -> str:
    labels.setdefault("instance", "")
    pairs = ",".join(f'{label}="{value.translate(_ESCAPES)}"' for label, value in labels.items())
    return f"{name}{{{pairs}}}"
