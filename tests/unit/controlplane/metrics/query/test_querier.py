from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from alerts.errors import QueryFailed
from alerts.interfaces import Querier, VectorSample
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Scalar
from controlplane.metrics.query import querier as querier_module
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.budget import EngineLimits
from controlplane.metrics.series.series_store import SeriesStore
from tests.unit.controlplane.metrics.conftest import Promql


@pytest.fixture
def querier(promql: type[Promql]) -> Iterator[MetricsQuerier]:
    querier = MetricsQuerier(promql.load("up 1 0 1"))
    yield querier
    querier.close()


async def test_a_rule_gets_a_vector_or_a_scalar(querier: MetricsQuerier) -> None:
    rules: Querier = querier
    assert await rules.instant("up", 60) == [VectorSample((("__name__", "up"),), 0.0)]
    assert await rules.instant("1 + 1", 60) == [VectorSample((), 2.0)]
    assert await rules.instant("nope", 60) == []


@pytest.mark.parametrize("expr", ["up[5m]", '"text"', "sum(", 'label_replace(up, "", "", "", "")'])
async def test_a_rule_that_fails_is_never_an_empty_result(querier: MetricsQuerier, expr: str) -> None:
    with pytest.raises(QueryFailed, match=r"bad_data|execution"):
        await querier.instant(expr, 60)


async def test_ad_hoc_queries(querier: MetricsQuerier) -> None:
    assert await querier.instant_value("scalar(up)", 60) == Scalar(60, 0)
    rendered = await querier.range_json("up", 0, 120, 60)
    assert json.loads(rendered.data)["result"][0]["values"] == [[0, "1"], [60, "0"], [120, "1"]]
    with pytest.raises(QueryError, match="unknown function"):
        await querier.instant_value("nope(up)", 60)


async def test_ad_hoc_queries_that_hang_hold_up_neither_rules_nor_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    class Hanging(PromqlEngine):
        def instant(self, expr: str, at: float, *_: Any, **__: Any) -> Scalar:
            if expr == "hang":
                release.wait()
            return Scalar(at, 1.0)

    monkeypatch.setattr(querier_module, "GRACE_S", 0.0)
    querier = MetricsQuerier(Hanging(SeriesStore(), EngineLimits(timeout_s=0.05)), workers=1)
    try:
        hanging = asyncio.gather(*(querier.instant_value("hang", 0) for _ in range(3)), return_exceptions=True)
        await asyncio.sleep(0)
        assert await querier.instant("rule", 0) == [VectorSample((), 1.0)]
        assert [getattr(e, "kind", None) for e in await hanging] == ["timeout"] * 3
    finally:
        release.set()
        querier.close()
