"""The seeded fleet: its day goes over into the live world without a jump, and every part of it has content."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from controlplane.access.roles import Role
from tests.e2e.bad_day.curves import Grid, below, counted
from tests.e2e.bad_day.pages import Page
from tests.e2e.bad_day.world import World
from tests.patience import PROCESS_S

NOW = 1_800_000_000.0
RATE = 'sum by (model) (rate(llm_requests_total{source="engine"}[5m]))'


def test_a_counter_that_stands_still_is_the_same_to_the_last_digit() -> None:
    grid = Grid(NOW)
    rate = 3.3 * grid.bump(-3600.0, -1800.0)
    rows = grid.rows(counted(rate)[:, None], NOW + np.arange(-7200.0, 600.0, 7.0))[:, 0]
    assert (np.diff(rows) >= 0.0).all()
    assert len(set(rows[rows == rows[-1]])) == 1
    assert rows[-1] - rows[0] == pytest.approx(3.3 * (1800.0 - 300.0), abs=3.3 * 60.0)


def test_a_page_is_the_same_function_of_the_time_for_the_past_and_for_a_scrape() -> None:
    grid = Grid(NOW)
    page = Page(grid)
    page.family("up_time_seconds", "gauge", [({"a": "b"}, grid.times - grid.start)])
    page.histogram("d", {}, (0.5, 1.0), np.full(len(grid.times), 2.0), np.full(len(grid.times), 0.5))
    page.finish()
    values = [float(line.rpartition(b" ")[2]) for line in page.body(NOW + 30.0).splitlines() if line[0] != ord("#")]
    assert values == page.rows(np.array([NOW + 30.0]))[0].tolist()
    assert page.body(NOW).startswith(b'# TYPE up_time_seconds gauge\nup_time_seconds{a="b"} 88200.0\n')
    assert below(0.5, np.array([0.5]))[0] == 0.5


async def test_the_day_is_seeded_and_goes_on(tmp_path: Path) -> None:
    async with World(tmp_path) as world, world.client(Role.ADMIN) as client:
        names = {"GPUTemperatureHigh", "GPUMemoryHigh", "LLMEngineDown", "LLMErrorRateHigh", "LLMLatencyP99High"}
        async with asyncio.timeout(PROCESS_S):
            while names - {a["name"] for a in await _items(client, "/cp/v1/alerts?state=firing")}:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        pending = {a["name"] for a in await _items(client, "/cp/v1/alerts?state=pending")}
        assert "GPUPowerHigh" in pending
        resolved = Counter(a["name"] for a in await _items(client, "/cp/v1/alerts?state=resolved&limit=500"))
        assert {"ChatSlowForUsers", "LLMErrorRateHigh"} <= set(resolved)

        rollouts = {(r["model"], r["to"]): r for r in await _items(client, "/cp/v1/rollouts")}
        assert {key: rollout["phase"] for key, rollout in rollouts.items()} == {
            ("chat", "v4"): "switching",
            ("translate", "v3"): "switching",
            ("embed", "v3"): "rolled-back",
            ("code", "v6"): "rolled-back",
            ("vision", "v2"): "rolled-back",
            ("embed", "v2"): "succeeded",
        }
        assert "v6 is worse than v5" in rollouts["code", "v6"]["sentence"]
        silences = Counter(s["state"] for s in await _items(client, "/cp/v1/silences?state=all"))
        assert silences == {"active": 2, "pending": 1, "expired": 2}

        up = "min(up{job='dcgm', node='gpu-01'})"
        scraped = 'count_over_time(llm_requests_running{model="chat", version="v3", source="engine"}[1m]) > 2'
        await _until_some(client, scraped)  # the live engines were scraped, too
        await _until_some(client, f"{up} == 1")
        for series in await _matrix(client, RATE):
            values = np.array([float(value) for _, value in series["values"]])
            assert len(values) > 140, series["metric"]
            assert values.max() < 150.0, series["metric"]  # a reset counter would count from zero again
            assert (values[:-3] > 0.0).all(), series["metric"]
        (series,) = await _matrix(client, up)
        # The last one is of now, where a busy machine may lose a scrape.
        assert [float(value) for _, value in series["values"][:-1]].count(0.0) == 0


async def _until_some(client: httpx.AsyncClient, query: str) -> None:
    """Wait until a query has a result."""
    async with asyncio.timeout(PROCESS_S):
        while True:
            answer = (await client.get("/api/v1/query", params={"query": query})).raise_for_status().json()
            if answer["data"]["result"]:
                return
            await asyncio.sleep(0.5)


async def _items(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get(path)).raise_for_status().json()["items"]
    return items


async def _matrix(client: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    """Return the answer to a query over the last day."""
    now = (await client.get("/api/v1/query", params={"query": "time()"})).json()["data"]["result"][0]
    asked = {"query": query, "start": now - 86400.0, "end": now, "step": 600}
    answer = (await client.get("/api/v1/query_range", params=asked)).raise_for_status().json()
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found
