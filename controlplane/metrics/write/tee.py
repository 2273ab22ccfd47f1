"""A sink that passes samples on to several sinks."""

from __future__ import annotations

from collections.abc import Sequence

from collectors.samples import FloatArray, Layout, SampleSink


class TeeSink:
    """Passes every row to all of its sinks, in order. Implements collectors.samples.SampleSink."""

    def __init__(self, sinks: Sequence[SampleSink]) -> None:
        self._sinks = tuple(sinks)

    def use(self, sinks: Sequence[SampleSink]) -> None:
        """Pass rows to these sinks from now on. Call it on the thread that appends."""
        self._sinks = tuple(sinks)

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        """Store one row in every sink; see SampleSink. `values` is float64 of shape [columns]."""
        for sink in self._sinks:
            sink.append(source, layout, timestamp_ms, values)

    def end(self, source: str, timestamp_ms: int) -> None:
        """Mark a source's series stale in every sink; see SampleSink."""
        for sink in self._sinks:
            sink.end(source, timestamp_ms)
