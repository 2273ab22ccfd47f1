"""Series in promtool's notation: `0+10x3` is 0 10 20 30, `_` is no sample, `stale` ends the series."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from collectors.samples import Layout, Series, labels_of
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.syntax.tree import parse_selector
from controlplane.metrics.promql.values import Matrix, Scalar, Vector
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.series_store import SeriesStore

NUMBER = r"[-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|inf|nan)"
RUN = re.compile(rf"(?P<first>{NUMBER}|_)(?P<delta>[-+][0-9.]+(?:e[-+]?[0-9]+)?)?x(?P<times>\d+)", re.IGNORECASE)


def expand(notation: str) -> list[float | str | None]:
    """Expand promtool's series notation; None is no sample, "stale" the end of the series."""
    samples: list[float | str | None] = []
    for word in notation.split():
        run = RUN.fullmatch(word)
        if run is None:
            samples.append(None if word == "_" else word if word == "stale" else float(word))
        elif run["first"] == "_":
            samples += [None] * int(run["times"])
        else:
            first, delta = float(run["first"]), float(run["delta"] or 0)
            samples += [first + delta * n for n in range(int(run["times"]) + 1)]
    return samples


def series_of(selector: str) -> Series:
    labels = {m.name: m.value for m in parse_selector(selector)}
    return Series(labels.pop(METRIC_NAME), labels_of(labels))


def load(text: str, step_s: float = 60.0, store: SeriesStore | None = None, start: float = 0.0) -> PromqlEngine:
    """Return an engine over one source per line `selector values…`, sampled every `step_s` from `start`."""
    store = store or SeriesStore(retention_s=1e9)
    for line in text.strip().splitlines():
        selector, _, notation = re.sub(r"\s+(?![^{]*})", " ", line.strip()).partition(" ")
        layout = Layout((series_of(selector),))
        for n, sample in enumerate(expand(notation)):
            at_ms = round((start + n * step_s) * 1000)
            if sample == "stale":
                store.end(selector, at_ms)
            elif sample is not None:
                store.append(selector, layout, at_ms, np.array([sample], dtype=np.float64))
    return PromqlEngine(store)


def shown(labels: tuple[tuple[str, str], ...]) -> str:
    pairs = dict(labels)
    name = pairs.pop(METRIC_NAME, "")
    return name + ("{" + ",".join(f'{k}="{v}"' for k, v in pairs.items()) + "}" if pairs or not name else "")


def instant(engine: PromqlEngine, expr: str, at: float) -> dict[str, float] | float:
    """Evaluate, and show a vector as `{series: value}` in the order of the result."""
    value = engine.instant(expr, at)
    if isinstance(value, Scalar):
        return value.value
    assert isinstance(value, Vector), value
    return {shown(s.labels): s.value for s in value.samples}


def ranged(
    engine: PromqlEngine, expr: str, start: float, end: float, step: float
) -> dict[str, list[tuple[float, float]]]:
    """Evaluate over time, and show the matrix as `{series: [(time, value)]}`."""
    value = engine.range(expr, start, end, step)
    assert isinstance(value, Matrix)
    return {shown(s.labels): list(zip(s.times.tolist(), s.values.tolist(), strict=True)) for s in value.series}


Ask = Callable[..., Any]
"""Loads series and evaluates; its answer is that of `instant`, and a test knows which of both it asked for."""


class Promql:
    """The helpers, as one fixture."""

    load = staticmethod(load)
    instant = staticmethod(instant)
    range = staticmethod(ranged)
    series_of = staticmethod(series_of)
    expand = staticmethod(expand)


@pytest.fixture
def promql() -> type[Promql]:
    return Promql


@pytest.fixture
def ask(promql: type[Promql]) -> Ask:
    """Return a function that loads series at one-minute steps and evaluates one instant query."""

    def call(text: str, expr: str, at: float = 600.0) -> dict[str, float] | float:
        return promql.instant(promql.load(text), expr, at)

    return call
