"""The sources as which a rule's series are stored.

A store keeps a description of a source's series for as long as it keeps rows of them, and a new one whenever a series
comes or goes. A rule with a series for each of 2,000 targets would be described anew whenever a pod starts. So its
series are stored in parts, each always in the same one, by a hash of its labels.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from collectors.samples import Layout, SampleSink, Series

PART = 64
"""Series of a part, about: at most twice as many on average. Chosen: a source costs some 20 µs a row, and a description
of it some 200 bytes a series."""
MOST_PARTS = 64
"""Most parts. Chosen: a process that begins ends every part that an earlier one may have stored."""


class StoredSeries:
    """One rule's series in a store. The number of parts is a power of two, and only grows."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._parts = 0
        """0: this process has stored nothing of the rule yet."""
        self._layouts: dict[str, Layout] = {}
        """Layout of each part, by its source."""

    def append(self, sink: SampleSink, series: Sequence[Series], values: Sequence[float], moment_ms: int) -> None:
        """Store one row: `values[i]` is the value of `series[i]`. Series that are not in it end."""
        wanted = min(MOST_PARTS, 2 ** math.ceil(math.log2(max(1.0, len(series) / (2 * PART)))))
        parts = max(self._parts, wanted)
        rows: dict[str, list[tuple[Series, float]]] = {}
        for one, value in zip(series, values, strict=True):
            rows.setdefault(_part(self._source, one, parts), []).append((one, value))
        if parts != self._parts:
            self._begin(sink, parts, rows.keys(), moment_ms)
        for name in dict.fromkeys([*self._layouts, *rows]):
            row = rows.get(name, [])
            found = tuple(one for one, _ in row)
            layout = self._layouts.get(name)
            if layout is None or layout.raw != found:
                # The store recognises an unchanged layout by identity, so the same object is passed while it fits.
                layout = self._layouts[name] = Layout(raw=found)
            sink.append(name, layout, moment_ms, np.array([value for _, value in row], dtype=np.float64))

    def _begin(self, sink: SampleSink, parts: int, used: Iterable[str], moment_ms: int) -> None:
        """End the sources of before: those of this process, or at its first row whatever an earlier one has stored."""
        before = set(self._layouts) if self._parts else set(_every_part(self._source))
        for name in before - set(used):
            sink.end(name, moment_ms - 1)  # of what is still there, the next row is a millisecond later
        self._parts, self._layouts = parts, {}

    def end(self, sink: SampleSink, moment_ms: int) -> None:
        """Mark every series stale: the rule is no longer configured."""
        for name in self._layouts:
            sink.end(name, moment_ms)


def _part(source: str, series: Series, parts: int) -> str:
    """Return the part of a series: the same one in every process, for one number of parts."""
    if parts == 1:  # most rules
        return source
    text = "\0".join([series.name, *(value for _, value in series.labels)])
    return _named(source, zlib.crc32(text.encode(errors="surrogatepass")) % parts, parts)


def _every_part(source: str) -> Iterator[str]:
    counts = (2**n for n in range(MOST_PARTS.bit_length()))
    return (_named(source, part, parts) for parts in counts for part in range(parts))


def _named(source: str, part: int, parts: int) -> str:
    return source if parts == 1 else f"{source}/{part}of{parts}"
