"""Scraped endpoints as Prometheus lists them, and what each exposes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from collectors.discovery.group import DroppedTarget
from collectors.relabel import Action, RelabelRule
from collectors.samples import Layout, Metadata, Series, labels_of
from collectors.target import Target, TargetHealth
from controlplane.api.interop import targets

NOW = 1_800_000_000.0


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


async def test_dropped_targets_and_the_labels_before_relabelling(rig: Any, viewer: httpx.AsyncClient) -> None:
    before = labels_of({"__address__": "a:8000", "env": "prod", "job": "vllm"})
    rig.targets[0] = replace(rig.targets[0], target=replace(rig.targets[0].target, discovered=before))
    gone = labels_of({"__address__": "b:8000", "env": "dev", "job": "vllm"})
    rig.dropped_targets += [DroppedTarget("vllm", gone), DroppedTarget("dcgm", labels_of({"__address__": "c:9400"}))]
    data = (await viewer.get("/api/v1/targets")).json()["data"]
    assert [target["discoveredLabels"] for target in data["activeTargets"]] == [dict(before)]
    assert data["droppedTargets"] == [
        {"discoveredLabels": dict(gone), "scrapePool": "vllm"},
        {"discoveredLabels": {"__address__": "c:9400"}, "scrapePool": "dcgm"},
    ]
    assert data["droppedTargetCounts"] == {"dcgm": 1, "vllm": 1}
    for query, active, dropped, counts in (
        ("state=active", 1, 0, {"dcgm": 1, "vllm": 1}),
        ("state=dropped", 0, 2, {"dcgm": 1, "vllm": 1}),
        ("scrapePool=dcgm", 0, 1, {"dcgm": 1}),
    ):
        data = (await viewer.get(f"/api/v1/targets?{query}")).json()["data"]
        assert (len(data["activeTargets"]), len(data["droppedTargets"])) == (active, dropped), query
        assert data["droppedTargetCounts"] == counts, query
    assert (await viewer.get("/cp/v1/targets")).json()["dropped"] == 2


async def test_why_an_endpoint_is_not_scraped(rig: Any, viewer: httpx.AsyncClient) -> None:
    rules = (RelabelRule(Action.DROP, ("env",), regex="dev"),)
    for name, env in (("b", "dev"), ("c", "dev"), ("d", "dev")):
        discovered = labels_of({"__address__": f"{name}:8000", "env": env, "pod": f"chat-{name}"})
        rig.dropped_targets.append(DroppedTarget("vllm" if name != "d" else "dcgm", discovered, rules))
    reason = 'relabel_configs[0] (drop): env must not match "dev", and is "dev"'
    found = (await viewer.get("/cp/v1/targets/dropped?search=chat-c")).json()
    labels = {"__address__": "c:8000", "env": "dev", "pod": "chat-c"}
    assert found == {
        "items": [{"job": "vllm", "address": "c:8000", "labels": labels, "reason": reason}],
        "total": 1,
    }
    for query, addresses, total in (
        ("", ["b:8000", "c:8000", "d:8000"], 3),
        ("limit=1", ["b:8000"], 3),
        ("job=dcgm", ["d:8000"], 1),
        ("job=vllm&search=chat-d", [], 0),
    ):
        found = (await viewer.get(f"/cp/v1/targets/dropped?{query}")).json()
        assert ([each["address"] for each in found["items"]], found["total"]) == (addresses, total), query
    for wrong in ("limit=0", "limit=1001", f"search={'x' * 201}"):
        assert (await viewer.get(f"/cp/v1/targets/dropped?{wrong}")).status_code == 400, wrong


@pytest.fixture
def exposing(rig: Any) -> Any:
    """Two targets: one exposes a counter and a histogram, the other a gauge that the first has too."""
    odd = Target("custom", "http://b:1/metrics", 'jo"b', "b:1", labels_of({"job": 'jo"b'}))
    rig.targets.append(TargetHealth(odd, "up"))
    metadata = {
        "llm_requests": Metadata("counter", "Requests."),
        "llm_seconds": Metadata("histogram", "Time."),
        "up": Metadata("gauge", "There?"),
        "gone": Metadata("gauge", "Of another target."),
    }
    for source, names, labels in (
        (
            "a",
            ("llm_requests_total", "llm_seconds_bucket", "llm_seconds_sum", "up"),
            {"job": "vllm", "instance": "a:8000"},
        ),
        ("b", ("up",), {"job": 'jo"b', "instance": "b:1"}),
        ("c", ("gone",), {"job": "other", "instance": "c"}),
    ):
        layout = Layout(tuple(Series(name, labels_of(labels)) for name in names), metadata=metadata)
        rig.series_store.append(source, layout, int(NOW * 1000) - 5000, [1.0] * len(names))
    return rig


A = {"job": "vllm", "instance": "a:8000", "model": "chat"}
B = {"job": 'jo"b', "instance": "b:1"}
COUNTER = {"type": "counter", "help": "Requests.", "unit": ""}
HISTOGRAM = {"type": "histogram", "help": "Time.", "unit": ""}
GAUGE = {"type": "gauge", "help": "There?", "unit": ""}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            {},
            [
                {"target": A, "metric": "llm_requests", **COUNTER},
                {"target": A, "metric": "llm_seconds", **HISTOGRAM},
                {"target": A, "metric": "up", **GAUGE},
                {"target": B, "metric": "up", **GAUGE},
            ],
        ),
        ({"metric": "up"}, [{"target": A, **GAUGE}, {"target": B, **GAUGE}]),
        ({"metric": "gone"}, []),
        ({"match_target": '{instance=~"b.*"}'}, [{"target": B, "metric": "up", **GAUGE}]),
        ({"match_target": '{model!=""}', "metric": "up"}, [{"target": A, **GAUGE}]),
        ({"limit": "1"}, [{"target": A, "metric": "llm_requests", **COUNTER}]),
        ({"limit": "0"}, []),
    ],
)
async def test_metadata_by_target(
    exposing: Any, viewer: httpx.AsyncClient, params: dict[str, str], expected: list[dict[str, Any]]
) -> None:
    answer = await viewer.get("/api/v1/targets/metadata", params=params)
    assert (answer.status_code, answer.json()["data"]) == (200, expected)


@pytest.mark.parametrize(
    ("params", "error"),
    [("limit=x", "limit must be a number"), ("match_target={", 'invalid parameter "match_target": ')],
)
async def test_metadata_wrongly_asked_for(viewer: httpx.AsyncClient, params: str, error: str) -> None:
    answer = await viewer.get(f"/api/v1/targets/metadata?{params}")
    assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")
    assert answer.json()["error"].startswith(error)


async def test_metadata_that_takes_too_long_is_given_up(
    exposing: Any, viewer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any, asker: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(exposing.queries, "label_values", hang)
    monkeypatch.setattr(targets, "QUERY_TIMEOUT_S", 0.01)
    answer = await viewer.get("/api/v1/targets/metadata")
    assert (answer.status_code, answer.json()["errorType"]) == (503, "timeout")
