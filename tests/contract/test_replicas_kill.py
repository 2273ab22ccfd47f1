"""Two real processes on a real PostgreSQL behind a real PgBouncer, and `kill -9` of the one that alerts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.outbox import OutboxStatus, OutboxStore
from tests.patience import PROCESS_S
from tests.scenario.up import TOKEN, ask, up

FLEET = """
fleet: {{name: pair}}
database: "{url}"
scrape: {{interval: 1s, timeout: 1s}}
evaluation_interval: 1s
targets: [{{engine: custom, addresses: ["127.0.0.1:9"]}}]
rules: [rules.yml]
route: {{receiver: log, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
notifiers: [{{name: log, type: log}}]
"""
RULES = """
groups:
- name: g
  rules:
  - {record: "down:count", expr: "count(up{job='custom'} == 0)"}
  - {alert: Down, expr: "down:count > 0", for: 2s}
  - {alert: DownForLong, expr: "down:count > 0", for: 10m}
"""


class Replica:
    """One process, asked over HTTP."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid, self.port = pid, port

    async def get(self, path: str) -> Any:
        head, _, body = (await ask(self.port, path, TOKEN)).partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0], head
        return json.loads(body)["data"]

    async def states(self) -> dict[str, tuple[str, str]]:
        """Return state and activeAt of each alert, by name, as the rules page tells."""
        (group,) = (await self.get("/api/v1/rules?type=alert&rule_group[]=g"))["groups"]
        alerts = [alert for rule in group["rules"] for alert in rule["alerts"]]
        return {alert["labels"]["alertname"]: (alert["state"], alert["activeAt"]) for alert in alerts}

    async def evaluated_by(self) -> str:
        (group,) = (await self.get("/api/v1/rules?type=alert&rule_group[]=g"))["groups"]
        return str(group["rules"][0].get("evaluatedBy", ""))

    async def values(self, expr: str) -> dict[str, float]:
        """Return the values of a query by their alertname, or what stands for it."""
        found = (await self.get(f"/api/v1/query?query={quote(expr)}"))["result"]
        return {sample["metric"].get("alertname", ""): float(sample["value"][1]) for sample in found}

    async def times(self, expr: str) -> list[float]:
        """Return the times of the samples of a query's one series."""
        found = (await self.get(f"/api/v1/query?query={quote(expr)}"))["result"]
        return [at for series in found for at, _ in series["values"]]


async def until(happened: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PROCESS_S):
        while not await happened():  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.1)


def holder(db: Database) -> str:
    return next((s.holder for s in LeaseStore(db).list() if s.name == "alerting"), "")


@pytest.mark.needs("pgbouncer")
async def test_a_killed_leader_is_followed_by_one_that_knows_all(tmp_path: Path, pooled_empty: Database) -> None:
    url = pooled_empty.engine.url.render_as_string(hide_password=False)
    async with AsyncExitStack() as stack:
        folders = [tmp_path / "one", tmp_path / "two"]
        for folder in folders:
            folder.mkdir()
            (folder / "rules.yml").write_text(RULES)
        starting = [stack.enter_async_context(up(folder, FLEET.format(url=url))) for folder in folders]
        replicas = [Replica(pid, port) for pid, port in await asyncio.gather(*starting)]
        leader, survivor = sorted(replicas, key=lambda replica: f":{replica.pid}:" not in holder(pooled_empty))
        wanted = {"Down": "firing", "DownForLong": "pending"}

        async def both_know() -> bool:
            seen = [{name: state for name, (state, _) in (await r.states()).items()} for r in replicas]
            return seen == [wanted, wanted]

        await until(both_know)
        assert await leader.states() == await survivor.states()
        before = await survivor.states()
        assert (await survivor.values("ALERTS")).keys() == before.keys()
        assert f":{leader.pid}:" in holder(pooled_empty)
        await until(survivor.evaluated_by)
        assert f":{leader.pid}:" in await survivor.evaluated_by()

        os.kill(leader.pid, signal.SIGKILL)
        killed_at = (await survivor.values("vector(time())"))[""]
        (lease,) = [lease for lease in LeaseStore(pooled_empty).list() if lease.name == "alerting"]
        assert f":{leader.pid}:" in lease.holder

        async def recorded_since() -> bool:
            """Return whether the survivor has recorded while nobody could alert: before the dead one's lease ended."""
            return any(killed_at < at < lease.expires_at for at in await survivor.times("down:count[1m]"))

        await until(recorded_since)

        async def survivor_alerts() -> bool:
            return f":{survivor.pid}:" in holder(pooled_empty) and not await survivor.evaluated_by()

        await until(survivor_alerts)
        assert await survivor.states() == before
        assert (await survivor.values("ALERTS")).keys() == before.keys()
        messages = [m for m in OutboxStore(pooled_empty).recent(100) if "Down" in m.lane]
        assert [(m.payload["status"], m.status, m.attempts) for m in messages] == [("firing", OutboxStatus.SENT, 1)]
