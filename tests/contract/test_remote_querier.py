"""The same queries, asked of a real Prometheus and a real VictoriaMetrics, give what the embedded engine gives."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from alerts.errors import QueryFailed
from collectors.samples import Layout, Series, labels_of
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Matrix, QueryValue, Scalar, Vector
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.remote.remote_querier import RemoteQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, encode
from tests.fakes.metrics_servers import prometheus, victoria_metrics
from tests.patience import HANG_S, wait_until

NOW = (int(time.time()) - 600) // 60 * 60
"""Ten minutes ago: a fresh head takes nothing much older. Nothing is sampled on the edge of a range."""
STEPS = [NOW - 600 + 7 + 15 * n for n in range(40)]
DATA = {
    Series("up", labels_of({"job": "vllm", "instance": "a:1"})): [1.0] * 40,
    Series("up", labels_of({"job": "vllm", "instance": "b:1"})): [0.0] * 40,
    Series("requests_total", labels_of({"model": "chat", "zone": "é"})): [100.0 + 3 * n for n in range(40)],
    Series("requests_total", labels_of({"model": "rank"})): [1000.0 + n * n for n in range(40)],
    Series("level", labels_of({"model": "chat"})): [math.inf] * 40,
}
QUERIES = [
    "up",
    "up == 0",
    "sum by (model) (rate(requests_total[5m]))",
    "requests_total - 100",
    "level",
    "nothing",
    "count(up) > bool 1",
    "vector(1)",
    "scalar(count(up))",
    "requests_total[1m]",
    "max_over_time(requests_total[2m])",
]


METRICSQL = {"sum by (model) (rate(requests_total[5m]))", "max_over_time(requests_total[2m])", "scalar(count(up))"}
"""VictoriaMetrics answers these otherwise: no extrapolation, names kept by `*_over_time`, scalars as vectors."""


def _push(url: str) -> None:
    series = [
        TimeSeries(
            tuple(sorted({"__name__": s.name, **dict(s.labels)}.items())),
            tuple((at * 1000, value) for at, value in zip(STEPS, values, strict=True)),
        )
        for s, values in DATA.items()
    ]
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    answer = httpx.post(
        f"{url}/api/v1/write", content=encode(WriteRequest(tuple(series))), headers=headers, timeout=HANG_S
    )
    assert answer.status_code == 204, answer.text


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(prometheus, id="prometheus", marks=pytest.mark.needs("prometheus")),
        pytest.param(victoria_metrics, id="victoriametrics", marks=pytest.mark.needs("victoriametrics")),
    ],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("server")
    with request.param(folder) as url:
        _push(url)

        def seen() -> bool:
            httpx.get(f"{url}/internal/force_flush", timeout=HANG_S)  # VictoriaMetrics's own
            asked: dict[str, str | float] = {"query": "up", "time": NOW}
            answer = httpx.get(f"{url}/api/v1/query", params=asked, timeout=HANG_S)
            return len(answer.json()["data"]["result"]) == 2

        wait_until(seen)
        yield url


@pytest.fixture
async def remote(server: str) -> AsyncIterator[RemoteQuerier]:
    made = RemoteQuerier(server)
    yield made
    await made.disconnect()


@pytest.fixture
def embedded() -> Iterator[MetricsQuerier]:
    store = SeriesStore(1e9)
    for series, values in DATA.items():
        layout = Layout((series,))
        for at, value in zip(STEPS, values, strict=True):
            store.append(str(series), layout, at * 1000, np.array([value]))
    made = MetricsQuerier(PromqlEngine(store))
    yield made
    made.close()


def comparable(value: QueryValue) -> object:
    match value:
        case Scalar():
            return ("scalar", pytest.approx(value.value, rel=1e-9))
        case Vector():
            return {s.labels: pytest.approx(s.value, rel=1e-9) for s in value.samples}
        case Matrix():
            return {s.labels: (s.times.tolist(), s.values.tolist()) for s in value.series}
        case _:
            return value


@pytest.mark.parametrize("expr", QUERIES)
async def test_an_instant_query(
    expr: str, remote: RemoteQuerier, embedded: MetricsQuerier, request: pytest.FixtureRequest
) -> None:
    if expr in METRICSQL and "victoriametrics" in request.node.callspec.id:
        assert comparable(await remote.instant_value(expr, NOW)) != comparable(await embedded.instant_value(expr, NOW))
        return
    assert comparable(await remote.instant_value(expr, NOW)) == comparable(await embedded.instant_value(expr, NOW))


@pytest.mark.parametrize("expr", [q for q in QUERIES if not q.endswith("]")])
async def test_a_rules_query(
    expr: str, remote: RemoteQuerier, embedded: MetricsQuerier, request: pytest.FixtureRequest
) -> None:
    if expr in METRICSQL and "victoriametrics" in request.node.callspec.id:
        return
    ours = {s.labels: pytest.approx(s.value, rel=1e-9) for s in await embedded.instant(expr, NOW)}
    assert {s.labels: s.value for s in await remote.instant(expr, NOW)} == ours


async def test_answers_of_the_api_are_prometheus_json(remote: RemoteQuerier, embedded: MetricsQuerier) -> None:
    told = json.loads((await remote.range_json("up", NOW - 60, NOW, 30)).data)
    ours = json.loads((await embedded.range_json("up", NOW - 60, NOW, 30)).data)
    assert told["resultType"] == "matrix"
    key = str
    assert sorted(told["result"], key=key) == sorted(ours["result"], key=key)
    cut = await remote.instant_json("up", NOW, limit=1)
    assert len(json.loads(cut.data)["result"]) == 1
    assert "results truncated due to limit" in cut.warnings


async def test_what_describes_series(remote: RemoteQuerier) -> None:
    span = (NOW - 600.0, NOW + 0.0)
    assert await remote.series(["requests_total"], *span) == [
        {"__name__": "requests_total", "model": "chat", "zone": "é"},
        {"__name__": "requests_total", "model": "rank"},
    ]
    assert await remote.label_names(["up"], *span) == ["__name__", "instance", "job"]
    assert await remote.label_values("instance", ["up"], *span) == ["a:1", "b:1"]
    assert isinstance(await remote.metadata("", 3), dict)


async def test_what_is_wrong_with_a_query_is_said_with_prometheus_type(remote: RemoteQuerier) -> None:
    with pytest.raises(QueryError) as caught:
        await remote.instant_json("sum(", NOW)
    assert caught.value.kind in ("bad_data", "execution")  # VictoriaMetrics answers 422
    with pytest.raises(QueryFailed):
        await remote.instant("sum(", NOW)


async def test_a_check_is_content(remote: RemoteQuerier) -> None:
    await remote.check()
    assert remote.fault == ""
