"""What the server says of itself, and what it must not say."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import yaml

from controlplane.api.interop.server import HIDDEN, without_secrets
from controlplane.config.model import Fleet

CANARY = "c4n4ry"


def fleet(**more: Any) -> Fleet:
    return Fleet.model_validate({"fleet": {"name": "prod"}, **more})


async def test_the_configuration_is_told_with_its_defaults(rig: Any, viewer: httpx.AsyncClient) -> None:
    told = yaml.safe_load((await viewer.get("/api/v1/status/config")).json()["data"]["yaml"])
    assert told["fleet"] == {"name": "prod"}
    assert told["scrape"]["interval"] == 15.0


def test_no_secret_is_told_wherever_it_stands() -> None:
    shown = yaml.safe_dump(
        without_secrets(
            fleet(
                database=f"postgresql+psycopg://cp:{CANARY}@db:5432/cp?password={CANARY}",
                metrics={
                    "query_url": "http://mimir:9009/prometheus",
                    "query": {
                        "headers": {"X-Scope-OrgID": CANARY},
                        "authorization": {"credentials_file": "/run/secrets/token"},
                    },
                    "remote_write": [
                        {"url": f"http://vm:8428/api/v1/write?key={CANARY}", "headers": {"X-Key": CANARY}}
                    ],
                },
                notifiers=[
                    {"name": "ops", "type": "slack", "channel": "#ops", "token_env": "SLACK_TOKEN"},
                    {"name": "hook", "type": "webhook", "url": f"https://u:{CANARY}@hooks.example/{CANARY}?k={CANARY}"},
                    {"name": "own", "type": "command", "command": ["a"], "environment": {"A_KEY": CANARY}},
                ],
                targets=[{"engine": "probe", "urls": [f"http://a:8000/v1/completions?api_key={CANARY}"]}],
            )
        )
    )
    assert CANARY not in shown
    for kept in (
        "/run/secrets/token",
        "SLACK_TOKEN",
        "X-Scope-OrgID",
        "db:5432",
        f"cp:{HIDDEN}@",
        "hooks.example",
        "A_KEY",
    ):
        assert kept in shown, kept


@pytest.mark.parametrize("path", ["config", "flags", "runtimeinfo", "tsdb", "buildinfo"])
async def test_every_status_has_prometheus_envelope(viewer: httpx.AsyncClient, path: str) -> None:
    answer = await viewer.get(f"/api/v1/status/{path}")
    assert (answer.status_code, answer.json()["status"]) == (200, "success")


async def test_flags_are_text_under_prometheus_names(viewer: httpx.AsyncClient) -> None:
    flags = (await viewer.get("/api/v1/status/flags")).json()["data"]
    assert flags["query.lookback-delta"] == "5m"
    assert flags["storage.tsdb.retention.time"] == "1d"
    assert all(isinstance(value, str) for value in flags.values())


async def test_runtimeinfo_says_since_when(viewer: httpx.AsyncClient) -> None:
    info = (await viewer.get("/api/v1/status/runtimeinfo")).json()["data"]
    assert info["startTime"] == "2027-01-15T07:00:00Z"
    assert info["lastConfigTime"] == "2027-01-15T07:59:00Z"
    assert (info["reloadConfigSuccess"], info["storageRetention"]) == (True, "1d")


@pytest.mark.parametrize("limit", ["0", "-1", "x", "10001"])
async def test_a_limit_that_is_none_is_refused(viewer: httpx.AsyncClient, limit: str) -> None:
    answer = await viewer.get(f"/api/v1/status/tsdb?limit={limit}")
    assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")


async def test_series_are_counted(rig: Any, viewer: httpx.AsyncClient) -> None:
    rig.store("a", 1_800_000_000.0, ("up", {"job": "x"}, 1.0), ("up", {"job": "y"}, 1.0), ("ups", {"job": "x"}, 1.0))
    data = (await viewer.get("/api/v1/status/tsdb?limit=2")).json()["data"]
    assert data["headStats"] == {
        "numSeries": 3,
        "numLabelPairs": 4,
        "chunkCount": 1,
        "minTime": 1_800_000_000_000,
        "maxTime": 1_800_000_000_000,
    }
    assert data["seriesCountByMetricName"] == [{"name": "up", "value": 2}, {"name": "ups", "value": 1}]
    assert data["memoryInBytesByLabelName"] == [{"name": "__name__", "value": 7}, {"name": "job", "value": 3}]


@pytest.mark.parametrize(("missing", "status"), [({}, 200), ({"database": "gone"}, 503)])
async def test_prometheus_health_checks(
    rig: Any, viewer: httpx.AsyncClient, missing: dict[str, str], status: int
) -> None:
    rig.not_ready = missing
    assert (await viewer.get("/-/healthy")).status_code == 200
    ready = await viewer.get("/-/ready")
    assert (ready.status_code, ready.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert "gone" not in ready.text
