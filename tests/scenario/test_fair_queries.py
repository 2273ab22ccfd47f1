"""Queries of several clients to a running control plane: heavy ones, a light one, and clients that disconnect."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, encode
from tests.contract.real_servers import control_plane
from tests.patience import HANG_S

SERIES = 4000


def heavy(leaves: int) -> str:
    """Return a query with many nodes, which takes many seconds."""
    nodes = [f'count(label_replace(heavy, "x", "{n}$1", "n", "(.*)"))' for n in range(leaves)]
    while len(nodes) > 1:
        nodes = [f"({'+'.join(nodes[at : at + 2])})" for at in range(0, len(nodes), 2)]
    return nodes[0]


async def test_one_viewers_heavy_queries_hold_up_nobody_else_and_end_with_their_clients(tmp_path: Path) -> None:
    now = int(time.time())
    rows = [TimeSeries((("__name__", "heavy"), ("n", str(n))), ((now * 1000, 1.0),)) for n in range(SERIES)]
    with control_plane(tmp_path, "fleet: {name: fair}\nrules: []\nmetrics: {query_workers: 2}\n") as plane:
        async with httpx.AsyncClient(base_url=plane.url, headers=plane.headers, timeout=HANG_S) as admin:
            wrote = await admin.post("/api/v1/write", content=encode(WriteRequest(tuple(rows))))
            assert wrote.status_code == 204, wrote.text
            tokens = [
                (await admin.post("/cp/v1/tokens", json={"name": name, "role": "viewer"})).json()["token"]
                for name in ("loud", "quiet")
            ]

            async def state() -> dict[str, float]:
                text = (await admin.get("/metrics")).text
                found = {f.name: f.samples for f in text_string_to_metric_families(text)}
                return {s.labels["state"]: s.value for s in found["controlplane_queries"]}

            async def until(wanted: dict[str, float]) -> None:
                async with asyncio.timeout(HANG_S):
                    while await state() != wanted:  # noqa: ASYNC110 - an outside observer has no event
                        await asyncio.sleep(0.05)

            async def ask(token: str, expr: str) -> Any:
                headers = {"Authorization": f"Bearer {token}"}
                async with httpx.AsyncClient(base_url=plane.url, headers=headers, timeout=HANG_S) as client:
                    return (await client.post("/api/v1/query", data={"query": expr, "time": str(now)})).json()

            loud = [asyncio.create_task(ask(tokens[0], heavy(128))) for _ in range(8)]
            await until({"running": 4.0, "waiting": 4.0})
            for _ in range(3):
                answer = await ask(tokens[1], "count(heavy)")
                assert answer["data"]["result"][0]["value"] == [now, str(SERIES)]
                assert not any(task.done() for task in loud)
            for task in loud:
                task.cancel()
            await asyncio.gather(*loud, return_exceptions=True)
            await until({"running": 0.0, "waiting": 0.0})
