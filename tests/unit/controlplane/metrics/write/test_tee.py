"""A sink that passes samples on to several sinks."""

from __future__ import annotations

import numpy as np

from collectors.samples import FloatArray, Layout
from controlplane.metrics.write.tee import TeeSink


class Sink:
    def __init__(self, name: str, told: list[tuple[object, ...]]) -> None:
        self._name, self._told = name, told

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        self._told.append((self._name, source, layout, timestamp_ms, values.tolist()))

    def end(self, source: str, timestamp_ms: int) -> None:
        self._told.append((self._name, source, timestamp_ms))


def test_every_sink_gets_everything_in_order() -> None:
    told: list[tuple[object, ...]] = []
    tee, layout = TeeSink([Sink("a", told), Sink("b", told)]), Layout(())
    tee.append("s", layout, 1, np.array([1.0]))
    tee.end("s", 2)
    assert told == [("a", "s", layout, 1, [1.0]), ("b", "s", layout, 1, [1.0]), ("a", "s", 2), ("b", "s", 2)]
