"""Prometheus's HTTP API, as Grafana uses it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from controlplane.access.roles import Role
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.query.render import Rendered
from tests.patience import HANG_S

NOW = 1_800_000_000.0


@pytest.fixture
async def real(rig: Any) -> Any:
    """A viewer of a real series store, behind the real engine."""
    querier = MetricsQuerier(PromqlEngine(rig.series_store))
    rig.queries = querier
    for at in (NOW - 30, NOW - 15, NOW):
        rig.store("a", at, ("up", {"job": "vllm", "instance": "a"}, 1.0), ("llm_requests_total", {"model": "chat"}, at))
        rig.store("b", at, ("up", {"job": "triton", "instance": "b"}, 0.0))
    async with rig.client(Role.VIEWER) as client:
        yield client
    querier.close()


async def test_query(real: httpx.AsyncClient) -> None:
    answer = await real.get("/api/v1/query", params={"query": "up"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    body["data"]["result"].sort(key=lambda s: s["metric"]["instance"])
    assert body == {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [
                {"metric": {"__name__": "up", "instance": "a", "job": "vllm"}, "value": [1800000000, "1"]},
                {"metric": {"__name__": "up", "instance": "b", "job": "triton"}, "value": [1800000000, "0"]},
            ],
        },
    }


async def test_query_scalar_string_and_empty(real: httpx.AsyncClient) -> None:
    async def data(expr: str) -> Any:
        return (await real.get("/api/v1/query", params={"query": expr, "time": "10.5"})).json()["data"]

    assert await data("1+1") == {"resultType": "scalar", "result": [10.5, "2"]}
    assert await data('"hello"') == {"resultType": "string", "result": [10.5, "hello"]}
    assert await data("nothing") == {"resultType": "vector", "result": []}


async def test_query_range(real: httpx.AsyncClient) -> None:
    params = {"query": 'up{job="vllm"}', "start": str(NOW - 30), "end": "2027-01-15T08:00:00Z", "step": "15s"}
    expected = {
        "status": "success",
        "data": {
            "resultType": "matrix",
            "result": [
                {
                    "metric": {"__name__": "up", "instance": "a", "job": "vllm"},
                    "values": [[1799999970, "1"], [1799999985, "1"], [1800000000, "1"]],
                }
            ],
        },
    }
    assert (await real.get("/api/v1/query_range", params=params)).json() == expected
    assert (await real.post("/api/v1/query_range", data=params)).json() == expected


async def test_a_form_wins_over_the_query_string(rig: Any, viewer: httpx.AsyncClient) -> None:
    await viewer.post("/api/v1/query?query=url&time=1", data={"query": "form"})
    assert rig.queries.asked == [("form", 1.0)]


async def test_a_limit_cuts_and_says_so(viewer: httpx.AsyncClient) -> None:
    cut = (await viewer.get("/api/v1/query", params={"query": "x", "limit": "2"})).json()
    assert [s["metric"]["n"] for s in cut["data"]["result"]] == ["0", "1"]
    assert cut["warnings"] == ["results truncated due to limit"]
    for limit in ("0", "3"):
        whole = (await viewer.get("/api/v1/query", params={"query": "x", "limit": limit})).json()
        assert (len(whole["data"]["result"]), "warnings" in whole) == (3, False)
    scalar = (await viewer.get("/api/v1/query", params={"query": "1", "limit": "1"})).json()
    assert scalar["data"]["resultType"] == "scalar"


@pytest.mark.parametrize(("kind", "status"), [("bad_data", 400), ("execution", 422), ("timeout", 503)])
async def test_a_failed_query(viewer: httpx.AsyncClient, kind: str, status: int) -> None:
    answer = await viewer.get("/api/v1/query", params={"query": kind})
    assert answer.status_code == status
    place = 'invalid parameter "query": ' if kind == "bad_data" else ""
    assert answer.json() == {"status": "error", "errorType": kind, "error": f"{place}this is {kind}"}


async def test_a_query_that_hangs_ends_at_the_callers_timeout(viewer: httpx.AsyncClient) -> None:
    answer = await viewer.get("/api/v1/query", params={"query": "hang", "timeout": "10ms"})
    assert answer.status_code == 503
    assert answer.json()["errorType"] == "timeout"


async def test_syntax_errors_are_bad_data(real: httpx.AsyncClient) -> None:
    for expr in ("up{", "", "sum(", "up[5m]]"):
        answer = await real.get("/api/v1/query", params={"query": expr})
        assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data"), expr


async def test_too_many_points(viewer: httpx.AsyncClient) -> None:
    params = {"query": "up", "start": "0", "end": "20000", "step": "1"}
    answer = await viewer.get("/api/v1/query_range", params=params)
    assert answer.status_code == 400
    assert answer.json() == {
        "status": "error",
        "errorType": "bad_data",
        "error": "exceeded maximum resolution of 11,000 points per timeseries. "
        "Try decreasing the query resolution (?step=XX)",
    }


async def test_series(real: httpx.AsyncClient) -> None:
    params = {"match[]": ['up{job="vllm"}', "llm_requests_total"]}
    for answer in (await real.get("/api/v1/series", params=params), await real.post("/api/v1/series", data=params)):
        assert answer.json()["data"] == [
            {"__name__": "llm_requests_total", "model": "chat"},
            {"__name__": "up", "instance": "a", "job": "vllm"},
        ]
    cut = (await real.get("/api/v1/series", params={"match[]": "up", "limit": "1"})).json()
    assert (len(cut["data"]), cut["warnings"]) == (1, ["results truncated due to limit"])
    before = await real.get("/api/v1/series", params={"match[]": "up", "end": str(NOW - 3600)})
    assert before.json() == {"status": "success", "data": []}


@pytest.mark.parametrize("selector", [[], ["{}"], ["up{"], ["sum(up)"], ['{job=~".*"}']])
async def test_a_bad_selector(real: httpx.AsyncClient, selector: list[str]) -> None:
    answer = await real.get("/api/v1/series", params={"match[]": selector})
    assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")


async def test_labels_and_their_values(real: httpx.AsyncClient) -> None:
    async def data(path: str, **params: Any) -> Any:
        return (await real.get(f"/api/v1/{path}", params=params)).json()["data"]

    assert await data("labels") == ["__name__", "instance", "job", "model"]
    assert await data("labels", **{"match[]": "llm_requests_total"}) == ["__name__", "model"]
    assert await data("label/job/values") == ["triton", "vllm"]
    assert await data("label/__name__/values") == ["llm_requests_total", "up"]
    assert await data("label/job/values", **{"match[]": 'up{instance="a"}'}) == ["vllm"]
    assert await data("label/nothing/values") == []


async def test_metadata(real: httpx.AsyncClient) -> None:
    up = {"up": [{"type": "gauge", "help": "Whether the scrape worked.", "unit": ""}]}
    assert (await real.get("/api/v1/metadata")).json()["data"] == up
    assert (await real.get("/api/v1/metadata", params={"metric": "up"})).json()["data"] == up
    assert (await real.get("/api/v1/metadata", params={"metric": "down"})).json()["data"] == {}


async def test_a_lookback_of_ones_own(real: httpx.AsyncClient) -> None:
    async def count(**params: str) -> int:
        given = {"query": "up", "time": str(NOW + 100), **params}
        return len((await real.get("/api/v1/query", params=given)).json()["data"]["result"])

    assert await count() == 2
    assert await count(lookback_delta="99") == 0
    assert await count(lookback_delta="2m") == 2
    assert await count(lookback_delta="0") == await count(lookback_delta="-1") == 2
    params = {"query": "up", "start": str(NOW), "end": str(NOW + 60), "step": "30", "lookback_delta": "20s"}
    found = (await real.post("/api/v1/query_range", data=params)).json()["data"]["result"]
    assert [len(series["values"]) for series in found] == [1, 1]
    wrong = await real.get("/api/v1/query?query=up&lookback_delta=x")
    assert (wrong.status_code, wrong.json()["error"]) == (
        400,
        'error parsing lookback delta duration: cannot parse "x" to a valid duration',
    )


async def test_what_grafanas_data_source_asks(real: httpx.AsyncClient) -> None:
    """Its health check, how it tells versions apart, and what its query editor loads (grafana, pkg/promlib)."""
    window = {"start": str(NOW - 3600), "end": str(NOW)}
    listing = {**window, "match[]": 'up{job!=""}', "limit": "40000"}

    async def data(method: str, path: str, params: dict[str, str]) -> Any:
        sent = {"data": params} if method == "POST" else {"params": params}
        answer = await real.request(method, f"/api/v1/{path}", **sent)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        assert "warnings" not in answer.json()
        return answer.json()["data"]

    assert await data("POST", "query", {"query": "1+1", "time": "4"}) == {"resultType": "scalar", "result": [4, "2"]}
    assert "features" not in await data("GET", "status/buildinfo", {})  # else it takes us for Mimir
    assert await data("POST", "labels", listing) == ["__name__", "instance", "job"]
    assert await data("GET", "label/__name__/values", {**window, "limit": "40000"}) == ["llm_requests_total", "up"]
    assert await data("GET", "label/job/values", listing) == ["triton", "vllm"]
    assert len(await data("POST", "series", listing)) == 2
    assert "up" in await data("GET", "metadata", {"limit": "40000"})
    assert await data("POST", "query_exemplars", {**window, "query": "up"}) == []
    assert await data("GET", "rules", {}) == {"groups": []}
    step = {**window, "query": "count(up)", "step": "15", "timeout": "60s"}
    assert (await data("POST", "query_range", step))["result"][0]["values"][-1] == [1800000000, "2"]


async def test_stats_change_nothing(real: httpx.AsyncClient) -> None:
    plain, asked = [(await real.get(f"/api/v1/query?query=up{more}")).json() for more in ("", "&stats=all")]
    assert plain == asked


async def test_exemplars_are_none(viewer: httpx.AsyncClient) -> None:
    for answer in (
        await viewer.get("/api/v1/query_exemplars?query=up&start=1&end=2"),
        await viewer.post("/api/v1/query_exemplars", data={"query": "rate(up[5m])"}),
    ):
        assert (answer.status_code, answer.json()) == (200, {"status": "success", "data": []})
    for wrong in ("query=up{", "query=up&start=2&end=1", "query=up&start=x"):
        assert (await viewer.get(f"/api/v1/query_exemplars?{wrong}")).json()["errorType"] == "bad_data"


async def test_a_query_is_formatted(viewer: httpx.AsyncClient) -> None:
    asked = {"query": "sum  by(job)(rate( up[5m]))/2"}
    for answer in (
        await viewer.get("/api/v1/format_query", params=asked),
        await viewer.post("/api/v1/format_query", data=asked),
    ):
        assert answer.json() == {"status": "success", "data": "sum by (job) (rate(up[5m])) / 2"}
    wrong = await viewer.get("/api/v1/format_query?query=up{")
    assert (wrong.status_code, wrong.json()["error"].startswith('invalid parameter "query": ')) == (400, True)


async def test_values_of_a_label_with_a_utf8_name(rig: Any, viewer: httpx.AsyncClient) -> None:
    rig.store("t", NOW, ("up", {"http.method": "GET", "a_b": "x"}, 1.0))
    for path, values in (("U__http_2e_method", ["GET"]), ("http.method", ["GET"]), ("U__a__b", ["x"]), ("a_b", ["x"])):
        assert (await viewer.get(f"/api/v1/label/{path}/values")).json()["data"] == values, path
    empty = await viewer.get("/api/v1/label/U__/values")
    assert (empty.status_code, empty.json()["error"]) == (400, 'invalid label name: ""')


@pytest.mark.parametrize("path", ["query", "query_range", "series", "labels", "format_query", "query_exemplars"])
async def test_a_page_of_another_origin_is_told_nothing(viewer: httpx.AsyncClient, path: str) -> None:
    origin = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for method in ("GET", "POST", "OPTIONS"):
        answer = await viewer.request(method, f"/api/v1/{path}?query=up", headers=origin)
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nothing", 404),
        ("GET", "read", 405),
        ("GET", "admin/tsdb/snapshot", 404),
        ("POST", "admin/tsdb/delete_series", 404),
        ("GET", "label//values", 404),
        ("PUT", "query", 405),
        ("DELETE", "series", 405),
        ("POST", "rules", 405),
        ("POST", "label/job/values", 405),
        ("POST", "metadata", 405),
    ],
)
async def test_what_is_not_there_is_said_in_prometheus_shape(
    viewer: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await viewer.request(method, f"/api/v1/{path}")
    assert answer.status_code == status
    assert answer.json() == {
        "status": "error",
        "errorType": "not_found" if status == 404 else "bad_data",
        "error": answer.json()["error"],
    }
    assert f"/api/v1/{path}" in answer.json()["error"]


class Slow:
    """An evaluation that waits for its end, and remembers how it came and for whom."""

    def __init__(self) -> None:
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()
        self.askers: list[str] = []

    async def __call__(self, *_: Any, asker: str, **options: Any) -> Any:
        self.askers.append(asker)
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("GET", "query?query=1", "instant_json"),
        ("POST", "query", "instant_json"),
        ("GET", "query_range?query=1&start=0&end=1&step=1", "range_json"),
        ("GET", "series?match[]=up", "series"),
        ("GET", "labels", "label_names"),
        ("GET", "label/job/values", "label_values"),
        ("GET", "targets/metadata", "label_values"),
    ],
)
async def test_a_query_ends_with_its_client_and_counts_to_its_token(
    rig: Any, method: str, path: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    monkeypatch.setattr(rig.queries, call, slow)
    query = path.partition("?")[2].encode()
    token = rig.role_tokens[Role.VIEWER]
    scope = {
        "type": "http",
        "method": method,
        "path": f"/api/v1/{path.partition('?')[0]}",
        "query_string": query,
        "headers": [
            (b"host", b"cp.example.org"),
            (b"authorization", f"Bearer {token}".encode()),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ],
    }
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    body = b"query=1" if method == "POST" else b""
    told.put_nowait({"type": "http.request", "body": body, "more_body": False})
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(HANG_S):
        answering = asyncio.create_task(rig.app()(scope, told.get, send))
        await slow.begun.wait()
        told.put_nowait({"type": "http.disconnect"})
        await slow.cancelled.wait()
        await answering
    assert slow.askers == [rig.tokens.authenticate(token, NOW).token_id]
    assert sent[0]["status"] == 499


@pytest.mark.parametrize(
    ("kind", "status", "retry"),
    [("too_many_requests", 429, "5"), ("unavailable", 503, "5"), ("timeout", 503, "5"), ("execution", 422, None)],
)
async def test_who_is_refused_is_told_when_to_come_again(
    rig: Any, viewer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, kind: str, status: int, retry: str | None
) -> None:
    async def refuse(*_: Any, **options: Any) -> Any:
        raise QueryError(kind, "no")

    monkeypatch.setattr(rig.queries, "instant_json", refuse)
    answer = await viewer.get("/api/v1/query?query=1")
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry)
    assert answer.json() == {"status": "error", "errorType": kind, "error": "no"}


async def test_what_is_odd_about_a_query_is_told_beside_its_answer(
    rig: Any, viewer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(*_: Any, **options: Any) -> Rendered:
        return Rendered(b"{}", ("odd",), ("PromQL info: “hm”",))

    monkeypatch.setattr(rig.queries, "range_json", answer)
    told = await viewer.get("/api/v1/query_range?query=1&start=0&end=1&step=1")
    assert told.json() == {"status": "success", "data": {}, "warnings": ["odd"], "infos": ["PromQL info: “hm”"]}
