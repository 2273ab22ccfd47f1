"""Debian's amtool makes, changes, imports and ends silences of a real control plane, and notifications follow."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.patience import HANG_S, PROCESS_S, until
from tests.scenario.test_amtool import amtool
from tests.scenario.up import TOKEN, up

pytestmark = pytest.mark.needs("amtool")
FLEET = """\
fleet: {name: test}
evaluation_interval: 1s
rules: [rules.yml]
notifiers: [{name: file, type: log}]
route: {receiver: file, group_by: [alertname], group_wait: 0s, group_interval: 1s}
"""
RULES = """\
groups:
  - name: g
    rules:
      - {alert: Hot, expr: vector(91), labels: {severity: critical, model: chat}}
      - {alert: Cold, expr: vector(3), labels: {severity: warning, model: code}}
"""


class Plane:
    """A control plane, by amtool and by its own API."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def tool(self, *words: str) -> Any:
        """Run amtool. Return its JSON, or its text."""
        code, out, err = await amtool(self.port, *words)
        assert code == 0, (words, out, err)
        try:
            return json.loads(out)
        except ValueError:
            return out.strip()

    async def states(self) -> dict[str, str]:
        """Return the state of each silence, by its comment."""
        found = await self.tool("silence", "query", "-o", "json")
        return {one["comment"]: one["status"]["state"] for one in found}

    async def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=HANG_S
        ) as client:
            answer = await client.get(path)
            assert answer.status_code == 200, answer.text
            return answer.json()

    async def sent(self) -> list[str]:
        """Return the lines of the messages that were sent, the oldest first."""
        items = (await self.get("/cp/v1/notifications"))["items"]
        return [one["summary"] for one in reversed(items) if one["status"] == "sent"]

    async def until_sent(self, count: int, about: str) -> None:
        async with asyncio.timeout(PROCESS_S):
            while sum(about in line for line in await self.sent()) < count:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)


def held(folder: Path) -> bool:
    """Return whether dispatch has left an alert out of its group."""
    with closing(sqlite3.connect(folder / "data" / "controlplane.db")) as database:
        return any(json.loads(held) for (held,) in database.execute("SELECT held FROM alert_group"))


async def test_amtool_makes_changes_imports_and_ends_silences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "http.yml").write_text(f"authorization: {{credentials: {TOKEN}}}\n")
    async with up(tmp_path, FLEET) as (_, port):
        plane = Plane(port)
        await plane.until_sent(1, "Hot")
        await plane.until_sent(1, "Cold")
        added = await plane.tool("silence", "add", "model=chat", "-a", "ann", "-c", "new driver", "-d", "2h")
        assert await plane.tool("silence", "query", "-q", "model=chat") == added
        (one,) = await plane.tool("silence", "query", "-o", "json")
        assert one["matchers"] == [{"name": "model", "value": "chat", "isRegex": False, "isEqual": True}]
        assert (one["createdBy"], one["comment"], one["status"]["state"]) == ("ann", "new driver", "active")
        (hot,) = await plane.tool("alert", "query", "-o", "json", "--silenced", "model=chat")
        assert hot["status"]["silencedBy"] == [added]
        await until(lambda: held(tmp_path))  # a silence that ends before dispatch saw it has held nothing back

        assert await plane.tool("silence", "update", "-d", "4h", "-c", "longer", added) != ""
        (one,) = await plane.tool("silence", "query", "-o", "json")
        assert (one["id"], one["comment"]) == (added, "longer")
        length = datetime.fromisoformat(one["endsAt"]) - datetime.now(UTC)
        assert timedelta(hours=3) < length < timedelta(hours=5)

        file = tmp_path / "silences.json"
        file.write_text(json.dumps(await plane.tool("silence", "query", "-o", "json")))
        await plane.tool("silence", "import", str(file))
        assert await plane.states() == {"longer": "active"}, "the same silence is not made twice"

        await plane.tool("silence", "expire", added)
        assert await plane.tool("silence", "query", "-q") == ""
        (over,) = await plane.tool("silence", "query", "-o", "json", "--expired")
        assert (over["id"], over["status"]["state"]) == (added, "expired")
        await plane.until_sent(2, "Hot")  # it still fires, and nothing holds it back any more
        assert sum("Cold" in line for line in await plane.sent()) == 1

        code, _, err = await amtool(port, "silence", "expire", "00000000-0000-4000-8000-000000000000")
        assert (code, "404" in err or "not found" in err.lower()) == (1, True), err
        code, _, err = await amtool(port, "silence", "add", "model=~.*", "-c", "all", "-a", "ann")
        assert code == 1
