"""Our Prometheus API and a real Prometheus, asked the same over the same samples: the same statuses and bodies.

The reference may be 2.42 (see `promql_reference`), whose ranges are closed on the left where Prometheus 3 (and we)
leave them open, so no sample lies on the edge of a range here. What Prometheus 3 does otherwise is in MODERN, with its
answer by hand.
"""

from __future__ import annotations

import asyncio
import math
import re
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from fastapi import FastAPI

from alerts.packs import BUILTIN, EXAMPLE, load_pack
from controlplane.access.roles import Principal, Role
from controlplane.api import prometheus, remote_write
from controlplane.api.auth import include
from controlplane.api.bodies import BodyBudget
from controlplane.api.interop import status, targets
from controlplane.api.problems import install
from controlplane.config.model import Fleet
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.write.ingest import Ingest
from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, encode
from controlplane.pools import make_pools
from tests.contract.api_paths import ALIKE, ANNOTATED, AT, SAME
from tests.contract.promql_reference import NEWER
from tests.contract.real_servers import prometheus as real_prometheus
from tests.patience import HANG_S

pytestmark = pytest.mark.needs("prometheus")

ROWS = 40
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]

POSTED = [
    path
    for path in (*SAME, *ANNOTATED, *ALIKE)
    if re.match(r"(query|query_range|series|labels|format_query)(\?|$)", path)
]
"""What may be sent as a form too."""

MODERN: dict[str, tuple[int, Any]] = {
    "series?match[]=gauge&limit=1": (200, ["results truncated due to limit"]),
    "labels?limit=1": (200, ["results truncated due to limit"]),
    "label/__name__/values?limit=2": (200, ["results truncated due to limit"]),
    f"query?query=gauge&time={AT}&limit=1": (200, ["results truncated due to limit"]),
    f"query?query=quantile%20by(job)(2,gauge)&time={AT}&limit=1": (
        200,
        [
            "results truncated due to limit",
            "PromQL warning: quantile value should be between 0 and 1, got 2 (1:18)",
        ],
    ),
    "label/__name__/values?limit=100": (200, None),
    "label/__name__/values?limit=-1": (400, 'invalid parameter "limit": limit must be non-negative'),
    "series?match[]=gauge&limit=x": (400, 'invalid parameter "limit": cannot parse "x" to a valid limit'),
    "query?query=1&limit=x": (400, 'invalid parameter "limit": cannot parse "x" to a valid limit'),
    "query?query=1&lookback_delta=x": (
        400,
        'error parsing lookback delta duration: cannot parse "x" to a valid duration',
    ),
}


class Everyone:
    """Lets any token in: access has its own tests."""

    async def by_token(self, text: str, attempt: Any, now: float) -> Principal:
        return Principal("test", Role.OPERATOR, "00000000")


class Bare:
    """Services of a control plane that scrapes nothing, like the Prometheus that it is compared to."""

    def __init__(self) -> None:
        self.series_store = SeriesStore(3600.0)
        self.queries = MetricsQuerier(PromqlEngine(self.series_store))
        self.ingest = Ingest(self.series_store, self, 3600.0, 100)
        self.gatekeeper, self.clock, self.alerts, self.pools = Everyone(), self, self, make_pools()

    def now(self) -> float:
        return float(AT)

    def rules(self) -> list[Any]:
        return []

    def targets(self) -> list[Any]:
        return []

    def dropped_targets(self) -> list[Any]:
        return []

    def active(self) -> list[Any]:
        return []

    def config(self) -> Any:
        return Fleet.model_validate({"fleet": {"name": "bare"}})


def samples() -> bytes:
    """Return two gauges, one series of numbers that are hard to write, and one that ended."""
    times = [(AT - 7 - 15 * back) * 1000 for back in reversed(range(ROWS))]
    hard = [0.1 + 0.2, 1e21, 1e20, 1e-7, 1e-6, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 123]

    def series(values: list[float], **labels: str) -> TimeSeries:
        return TimeSeries(tuple(sorted(labels.items())), tuple(zip(times[-len(values) :], values, strict=True)))

    return encode(
        WriteRequest(
            (
                series([100.0 + n for n in range(ROWS)], __name__="gauge", job="a", instance="ü:1"),
                series([n / 3 for n in range(ROWS)], __name__="gauge", job="b", instance='"q"'),
                *(series([value], __name__="edge", kind=str(n)) for n, value in enumerate(hard)),
                series([*[1.0] * 5, STALE, *[2.0] * 10, STALE], __name__="ended"),
            )
        )
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    with real_prometheus(folder, "global: {}\n", "--web.enable-remote-write-receiver") as url:
        answer = httpx.post(f"{url}/api/v1/write", content=samples(), timeout=HANG_S)
        assert answer.status_code == 204, answer.text
        yield url


@pytest.fixture(scope="module")
def ours() -> Iterator[FastAPI]:
    app = FastAPI()
    services = Bare()
    app.state.services = services
    app.state.bodies, app.state.writers = BodyBudget(), remote_write.Writers()
    install(app)
    for part in (prometheus, status, targets, remote_write):
        include(app, part.router)
    assert asyncio.run(_seed(app)) == 204
    yield app
    services.queries.close()


async def _seed(app: FastAPI) -> int:
    async with _client(app) as client:
        return (await client.post("/api/v1/write", content=samples())).status_code


def _client(app: FastAPI) -> httpx.AsyncClient:
    headers = {"Authorization": "Bearer any"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ours", headers=headers)


async def ask(ours: FastAPI, real: str, path: str, method: str = "GET") -> tuple[httpx.Response, httpx.Response]:
    url, _, query = path.partition("?")
    asked: dict[str, Any] = {}
    if method == "POST":
        form: dict[str, list[str]] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            form.setdefault(name, []).append(value)
        asked = {"data": form}
    else:
        url = path
    async with _client(ours) as client:
        answer = await client.request(method, f"/api/v1/{url}", **asked)
    async with httpx.AsyncClient(base_url=real, timeout=HANG_S) as client:
        return answer, await client.request(method, f"/api/v1/{url}", **asked)


def in_order(body: Any) -> Any:
    """Return the body with its series sorted: neither promises an order but where a query sorts."""
    data = body.get("data")
    if isinstance(data, list) and all(isinstance(series, dict) for series in data):
        data.sort(key=lambda series: sorted(series.items()))
    if isinstance(data, dict) and data.get("resultType") in ("vector", "matrix"):
        data["result"].sort(key=lambda series: sorted(series["metric"].items()))
    return body


def worded(body: Any) -> Any:
    """Return the body as Prometheus 3 words it."""
    if not NEWER and "error" in body:
        body["error"] = body["error"].replace("Invalid time value", "invalid time value")
        body["error"] = re.sub("^invalid expression type", 'invalid parameter "query": \\g<0>', body["error"])
    return body


def annotated(body: Any, path: str) -> Any:
    """Return our body as the reference has it: 2.42 knows no annotations."""
    if path in ANNOTATED:
        told = [*body.get("warnings", ()), *body.get("infos", ())]
        assert len(told) == 1 and told[0].startswith("PromQL "), told
        if not NEWER:
            return {"status": body["status"], "data": body["data"]}
    return body


@pytest.mark.parametrize("path", [*SAME, *ANNOTATED])
async def test_the_same_answer(ours: FastAPI, real: str, path: str) -> None:
    answer, expected = await ask(ours, real, path)
    body = (answer.status_code, in_order(annotated(answer.json(), path)))
    assert body == (expected.status_code, in_order(worded(expected.json())))
    assert answer.headers["content-type"] == expected.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ALIKE)
async def test_the_same_refusal(ours: FastAPI, real: str, path: str) -> None:
    _assert_alike(*await ask(ours, real, path))


def _assert_alike(answer: httpx.Response, expected: httpx.Response) -> None:
    assert answer.status_code == expected.status_code, expected.text
    body, model = answer.json(), expected.json()
    assert {**body, "error": ""} == {**model, "error": ""}
    place = re.match(r'invalid parameter "[^"]+": ', model["error"])
    assert place is None or body["error"].startswith(place[0])


@pytest.mark.parametrize("path", POSTED)
async def test_the_same_by_form(ours: FastAPI, real: str, path: str) -> None:
    answer, expected = await ask(ours, real, path, "POST")
    if path in ALIKE:
        _assert_alike(answer, expected)
    else:
        assert (answer.status_code, in_order(annotated(answer.json(), path))) == (
            expected.status_code,
            in_order(worded(expected.json())),
        )


@pytest.mark.parametrize("path", ["targets", "targets?state=active", "targets?state=dropped", "targets?state=any"])
async def test_no_targets(ours: FastAPI, real: str, path: str) -> None:
    answer, expected = await ask(ours, real, path)
    body, model = answer.json(), expected.json()
    model["data"]["droppedTargetCounts"] = {}  # of Prometheus 3
    assert (answer.status_code, body) == (expected.status_code, model)


@pytest.mark.parametrize("path", MODERN)
async def test_what_prometheus_3_has_beyond(ours: FastAPI, path: str) -> None:
    async with _client(ours) as client:
        answer = await client.get(f"/api/v1/{path}")
    body = answer.json()
    assert (answer.status_code, body.get("warnings", body.get("error"))) == MODERN[path]


async def test_the_shipped_rules_are_formatted_alike(ours: FastAPI, real: str) -> None:
    for pack in BUILTIN:
        for group in load_pack(pack, options=EXAMPLE):
            for rule in group.rules:
                form = {"query": rule.expr}
                async with _client(ours) as client, httpx.AsyncClient(base_url=real, timeout=HANG_S) as reference:
                    answer = await client.post("/api/v1/format_query", data=form)
                    assert answer.json() == (await reference.post("/api/v1/format_query", data=form)).json()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "query"),
        ("DELETE", "query_range"),
        ("POST", "label/job/values"),
        ("POST", "metadata"),
        ("POST", "rules"),
        ("POST", "targets"),
        ("GET", "write"),
    ],
)
async def test_the_same_methods(ours: FastAPI, real: str, method: str, path: str) -> None:
    answer, expected = await ask(ours, real, path, method)
    assert answer.status_code == expected.status_code == 405
    assert answer.json()["status"] == "error"
