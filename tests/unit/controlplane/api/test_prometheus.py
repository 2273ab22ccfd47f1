"""Prometheus's HTTP API, as Grafana uses it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from alerts.evaluate import GroupReport, RuleHealth
from alerts.interfaces import AlertInstance, AlertState, Transition
from alerts.rules import parse_rules
from collectors.samples import labels_of
from controlplane.access.roles import Role
from controlplane.api.prometheus_status import go_exponent
from controlplane.metrics.engine import PromqlEngine
from controlplane.metrics.querier import MetricsQuerier

NOW = 1_800_000_000.0

RULES = """
groups:
  - name: llm
    interval: 30s
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
        labels: {team: serving}
      - alert: Down
        expr: up == 0
        for: 1m
        labels: {severity: critical}
        annotations: {summary: "{{ $labels.instance }} is down"}
  - name: gpu
    rules:
      - alert: Hot
        expr: gpu_temperature_celsius > 85
"""


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


def reports(rig: Any) -> AlertInstance:
    llm, gpu = parse_rules(RULES, "rules.yml")
    labels = labels_of({"alertname": "Down", "severity": "critical", "instance": "b"})
    firing = AlertInstance(
        llm.rules[1].id, labels, (("summary", "b is down"),), AlertState.FIRING, 0.0, NOW - 90, fired_at=NOW - 30
    )
    rig.alert_log.record(
        firing.rule, [firing], [Transition(firing, AlertState.PENDING, AlertState.FIRING, NOW - 30, "fired")]
    )
    healths = (
        RuleHealth(llm.rules[0], "err", "the store is gone", NOW, 0.125),
        RuleHealth(llm.rules[1], "ok", "", NOW, 0.25, instances=(firing,)),
    )
    rig.reports = [
        GroupReport(llm, healths, NOW, 0.375),
        GroupReport(gpu, (RuleHealth(gpu.rules[0]),), None, 0.0),
    ]
    return firing


ALERT = {
    "labels": {"alertname": "Down", "severity": "critical", "instance": "b"},
    "annotations": {"summary": "b is down"},
    "state": "firing",
    "activeAt": "2027-01-15T07:58:30.000Z",
    "value": "0e+00",
}


async def test_rules(rig: Any) -> None:
    reports(rig)
    async with rig.client() as client:
        groups = (await client.get("/api/v1/rules")).json()["data"]["groups"]
    assert groups[0] == {
        "name": "llm",
        "file": "rules.yml",
        "interval": 30.0,
        "limit": 0,
        "evaluationTime": 0.375,
        "lastEvaluation": "2027-01-15T08:00:00.000Z",
        "rules": [
            {
                "type": "recording",
                "name": "job:up:sum",
                "query": "sum by (job) (up)",
                "labels": {"team": "serving"},
                "health": "err",
                "lastError": "the store is gone",
                "evaluationTime": 0.125,
                "lastEvaluation": "2027-01-15T08:00:00.000Z",
            },
            {
                "type": "alerting",
                "name": "Down",
                "query": "up == 0",
                "duration": 60.0,
                "keepFiringFor": 0.0,
                "labels": {"severity": "critical"},
                "annotations": {"summary": "{{ $labels.instance }} is down"},
                "alerts": [ALERT],
                "state": "firing",
                "health": "ok",
                "evaluationTime": 0.25,
                "lastEvaluation": "2027-01-15T08:00:00.000Z",
            },
        ],
    }
    assert (groups[1]["interval"], groups[1]["lastEvaluation"]) == (15.0, "0001-01-01T00:00:00Z")
    assert groups[1]["rules"][0]["health"] == "unknown"


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({}, ["job:up:sum", "Down", "Hot"]),
        ({"type": "alert"}, ["Down", "Hot"]),
        ({"type": "record"}, ["job:up:sum"]),
        ({"rule_name[]": ["Hot", "Down"]}, ["Down", "Hot"]),
        ({"rule_group[]": "gpu"}, ["Hot"]),
        ({"file[]": "other.yml"}, []),
    ],
)
async def test_rules_are_filtered(rig: Any, params: dict[str, Any], names: list[str]) -> None:
    reports(rig)
    async with rig.client() as client:
        groups = (await client.get("/api/v1/rules", params=params)).json()["data"]["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"]] == names
    assert all(group["rules"] for group in groups)


async def test_rules_without_alerts_and_a_wrong_type(rig: Any) -> None:
    reports(rig)
    async with rig.client() as client:
        groups = (await client.get("/api/v1/rules?exclude_alerts=true")).json()["data"]["groups"]
        wrong = await client.get("/api/v1/rules?type=all")
    assert groups[0]["rules"][1]["alerts"] == []
    assert (wrong.status_code, wrong.json()["error"]) == (400, 'invalid parameter "type": not supported value "all"')


async def test_alerts(rig: Any) -> None:
    reports(rig)
    async with rig.client() as client:
        assert (await client.get("/api/v1/alerts")).json() == {"status": "success", "data": {"alerts": [ALERT]}}


async def test_targets(viewer: httpx.AsyncClient) -> None:
    data = (await viewer.get("/api/v1/targets")).json()["data"]
    assert data == {
        "activeTargets": [
            {
                "discoveredLabels": {
                    "job": "vllm",
                    "model": "chat",
                    "instance": "a:8000",
                    "__address__": "a:8000",
                    "__scheme__": "http",
                    "__metrics_path__": "/metrics",
                },
                "labels": {"job": "vllm", "model": "chat", "instance": "a:8000"},
                "scrapePool": "vllm",
                "scrapeUrl": "http://a:8000/metrics",
                "globalUrl": "http://a:8000/metrics",
                "lastError": "",
                "lastScrape": "2027-01-15T07:59:55.000Z",
                "lastScrapeDuration": 0.25,
                "health": "up",
                "scrapeInterval": "15s",
                "scrapeTimeout": "10s",
            }
        ],
        "droppedTargets": [],
        "droppedTargetCounts": {},
    }
    for path, count in (("?state=dropped", 0), ("?state=any", 1), ("?scrapePool=vllm", 1), ("?scrapePool=x", 0)):
        found = (await viewer.get(f"/api/v1/targets{path}")).json()["data"]["activeTargets"]
        assert len(found) == count, path
    assert (await viewer.get("/api/v1/targets?state=up")).status_code == 400


async def test_buildinfo_is_a_version_that_grafana_can_compare(viewer: httpx.AsyncClient) -> None:
    data = (await viewer.get("/api/v1/status/buildinfo")).json()["data"]
    assert data["version"] == "3.0.0+controlplane.0.1.0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0e+00"),
        (-0.0, "-0e+00"),
        (1.0, "1e+00"),
        (2.5, "2.5e+00"),
        (-1234.5, "-1.2345e+03"),
        (1e-7, "1e-07"),
        (1e100, "1e+100"),
        (100.0, "1e+02"),
        (float("inf"), "+Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_alert_values_are_written_as_go_does(value: float, text: str) -> None:
    assert go_exponent(value) == text
