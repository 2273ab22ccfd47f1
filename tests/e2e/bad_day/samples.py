"""The day of samples, written into the store's folder as the scrapes of that day would have written it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.interner import Interner
from collectors.exposition.layout_cache import LayoutCache
from collectors.gpu.exporters import repaired
from collectors.samples import FloatArray, Layout
from collectors.scraping.report import report_key, report_layout
from collectors.target import Target
from controlplane.app.targets.plan import discovery_of, plan_scraping
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.series.series_store import SeriesStore
from tests.e2e.bad_day.curves import BACK_S
from tests.e2e.bad_day.pages import Page
from tests.e2e.bad_day.places import Server

STEPS = ((6 * 3600.0, 120.0), (1800.0, 60.0), (0.0, 15.0))
"""Seconds before now up to which samples are so many seconds apart. A rate over a minute needs 15 s."""
GONE_S = -5400.0
"""Since when the servers that are down are down, in seconds after now."""


class Backfill:
    """Writes the samples of every target whose page is fake. Readiness has no past: only the present counts."""

    def __init__(self, store: SeriesStore, loaded: LoadedFleet, servers: Sequence[Server], now: float) -> None:
        """`now`: end of the day, in unix seconds."""
        self._store, self._now, self._catalogue, self._interner = store, now, load_catalogue(), Interner()
        self._written_to = now - BACK_S
        by_host = {server.host: server for server in servers}
        like = next(server for server in servers if server.model == "rerank")
        self._sources = []
        for target in discovery_of(plan_scraping(loaded), loaded).refresh():
            host = target.instance.rpartition(":")[0]
            server = by_host.get(host, like if target.engine == "vllm" else None)
            if server is not None and server.page is not None and target.url.endswith("/metrics"):
                self._sources.append(
                    _Source(target, server.page, self._layout(target, server.page), host not in by_host)
                )

    def until(self, end: float) -> None:
        """Write the samples up to unix second `end`, from the end of the last call on."""
        times = np.array(list(self._times(end)))
        for source in self._sources:
            gone_at = self._now + GONE_S if source.gone else end
            self._write(source, times[times < gone_at])
            if source.gone:
                self._write_down(source.target, times[times >= gone_at])

    def _times(self, end: float) -> Iterator[float]:
        while True:
            step_s = next(step_s for back_s, step_s in STEPS if back_s == 0.0 or self._written_to < self._now - back_s)
            if self._written_to + step_s >= end:
                return
            self._written_to += step_s
            yield self._written_to

    def _layout(self, target: Target, page: Page) -> Layout:
        build = partial(canonical_layout, target=target, catalogue=self._catalogue, interner=self._interner)
        cache = LayoutCache(lambda parsed: build(parsed.series, parsed.metadata))
        return cache.read(repaired(page.body(self._now)))[0]

    def _write(self, source: _Source, times: FloatArray) -> None:
        target, layout = source.target, source.layout
        rows = source.page.rows(times)
        pods = np.ones((len(rows), len(layout.raw) - rows.shape[1]))  # the samples that `repaired` appends
        report = report_layout(target, self._catalogue.expected(target.engine))
        samples = float(len(layout.raw))
        told = np.array([1.0, 0.012, samples, samples, 0.0, 60.0 * samples, *([1.0] * (len(report.raw) - 6))])
        for at, row in zip(_ms(times), np.concatenate([rows, pods], axis=1), strict=True):
            self._store.append(target.key, layout, at, row)
            self._store.append(report_key(target), report, at, told)

    def _write_down(self, target: Target, times: FloatArray) -> None:
        report = report_layout(target)
        for number, at in enumerate(_ms(times)):
            if number == 0:
                self._store.end(target.key, at)
            self._store.append(report_key(target), report, at, np.zeros(len(report.raw)))


class _Source(NamedTuple):
    target: Target
    page: Page
    layout: Layout
    gone: bool
    """Whether nothing answers there any more."""


def _ms(times: FloatArray) -> list[int]:
    found: list[int] = np.round(times * 1000).astype(np.int64).tolist()
    return found
