"""The day of samples, written into the store's folder as the scrapes of that day would have written it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import Catalogue
from collectors.exposition.interner import Interner
from collectors.exposition.layout_cache import LayoutCache
from collectors.gpu.exporters import repaired
from collectors.samples import FloatArray
from collectors.scraping.report import report_key, report_layout
from collectors.target import Target
from controlplane.app.targets.plan import discovery_of, plan_scraping
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.series.series_store import SeriesStore
from tests.e2e.bad_day.curves import BACK_S
from tests.e2e.bad_day.places import Server

FINE_S, FINE_STEP_S, STEP_S = 1800.0, 15.0, 60.0
"""The last half hour has a sample each 15 s, as a rate over a minute needs; the time before has one a minute."""
GONE_S = -5400.0
"""Since when the servers that are down are down, in seconds after now."""


def times_until(now: float) -> FloatArray:
    """Return the times of the scrapes of the day, [scrapes], unix seconds."""
    begin = now - BACK_S + 60.0
    coarse = np.arange(begin, now - FINE_S, STEP_S)
    return np.concatenate([coarse, np.arange(now - FINE_S, now - 1.0, FINE_STEP_S)])


def backfill(store: SeriesStore, loaded: LoadedFleet, servers: Sequence[Server], catalogue: Catalogue, now: float) -> None:
    """Write the samples of every target whose page is fake. Readiness has no past: only the present counts."""
    by_host = {server.host: server for server in servers}
    like = next(server for server in servers if server.model == "rerank")
    interner, times = Interner(), times_until(now)
    for target in discovery_of(plan_scraping(loaded), loaded).refresh():
        host = target.instance.rpartition(":")[0]
        server = by_host.get(host, like if target.engine == "vllm" else None)
        if server is None or server.page is None or not target.url.endswith("/metrics"):
            continue
        gone = host not in by_host
        _write(store, target, server, times[times < now + GONE_S] if gone else times, catalogue, interner)
        if gone:
            _write_down(store, target, times[times >= now + GONE_S])


def _write(
    store: SeriesStore, target: Target, server: Server, times: FloatArray, catalogue: Catalogue, interner: Interner
) -> None:
    assert server.page is not None
    body = repaired(server.page.body(float(times[0])))
    cache = LayoutCache(lambda parsed: canonical_layout(parsed.series, parsed.metadata, target, catalogue, interner))
    layout, values = cache.read(body)
    rows = server.page.rows(times)
    pods = np.ones((len(rows), len(values) - rows.shape[1]))  # the samples that `repaired` appends
    rows = np.concatenate([rows, pods], axis=1)
    report = report_layout(target, catalogue.expected(target.engine))
    told = np.array([1.0, 0.012, len(values), len(values), 0.0, len(body), *([1.0] * (len(report.raw) - 6))])
    for at, row in zip(np.round(times * 1000).astype(int).tolist(), rows, strict=True):
        store.append(target.key, layout, at, row)
        store.append(report_key(target), report, at, told)


def _write_down(store: SeriesStore, target: Target, times: FloatArray) -> None:
    report = report_layout(target)
    store.end(target.key, round(float(times[0]) * 1000))
    for at in np.round(times * 1000).astype(int).tolist():
        store.append(report_key(target), report, at, np.zeros(len(report.raw)))
