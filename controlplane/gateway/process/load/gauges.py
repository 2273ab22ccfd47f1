"""Two gauges of an engine's metrics: its queue, and the used share of its KV cache. Pure.

Of the thousands of lines of an engine only those of the two gauges are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from collectors.catalogue.model import Catalogue, CatalogueSource
from collectors.engines.kinds import BACKENDS

WAITING, CACHE = "llm_requests_waiting", "llm_kv_cache_usage_ratio"
FULL_QUEUE = 5.0
"""Waiting requests with which an engine is full. Source: llm-d's threshold of saturation."""
FULL_CACHE = 0.95
"""Used share of the KV cache with which an engine is full, if requests wait. Chosen: vLLM preempts shortly above it."""


class Load(NamedTuple):
    """Load that an engine reports. None: it does not report the gauge, which is not zero."""

    waiting: float | None = None
    """Requests in the longest queue of the engine: it has one for each rank or model."""
    cache: float | None = None
    """Used share of its fullest KV cache, 0 to 1."""

    @property
    def is_full(self) -> bool:
        """Whether the engine should get no request now. An engine that does not report its queue never is."""
        waiting = self.waiting or 0.0
        return waiting >= FULL_QUEUE or (waiting >= 1.0 and (self.cache or 0.0) >= FULL_CACHE)


_SAMPLE = re.compile(rb'(?:\{(?:[^"\n}]|"(?:[^"\\\n]|\\.)*+")*+\})?[ \t]+([^ \t\r\n]+)')
"""The labels and the value of a sample, behind its name."""


class Gauges:
    """The names of the gauges of all kinds of engines, from the catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._names = {
            name: (_names(catalogue.engines[name].sources, WAITING), _names(catalogue.engines[name].sources, CACHE))
            for name in BACKENDS
        }

    def reports_queue(self, engine: str) -> bool:
        """Return whether a kind of engine has a gauge of its queue."""
        return bool(self._names[engine][0])

    def read(self, engine: str, body: bytes) -> Load:
        """Return the load in a body of metrics, in Prometheus's text format. What cannot be read is left out."""
        waiting, cache = self._names[engine]
        return Load(_largest(waiting, body), _largest(cache, body))


def _names(sources: Mapping[str, tuple[CatalogueSource, ...]], metric: str) -> tuple[bytes, ...]:
    return tuple(name.encode() for source in sources.get(metric, ()) for name in source.from_)


def _largest(names: Iterable[bytes], body: bytes) -> float | None:
    found = (value for name in names for value in _values(name, body) if math.isfinite(value) and value >= 0.0)
    return max(found, default=None)


def _values(name: bytes, body: bytes) -> Iterator[float]:
    """Yield the values of the samples of a name. Other lines are passed over by a search of bytes."""
    at = 0 if body.startswith(name) else body.find(b"\n" + name) + 1 or -1
    while at >= 0:
        sample = _SAMPLE.match(body, at + len(name))
        if sample is not None:
            yield _number(sample[1])
        at = body.find(b"\n" + name, at) + 1 or -1


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
