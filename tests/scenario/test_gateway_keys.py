"""Keys from the control plane to a client, with real processes: a control plane, a gateway, and a fake engine."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.chat_engine import chat_engine
from tests.patience import PROCESS_S
from tests.scenario.gateway_up import fleet_of, gateway_up
from tests.scenario.up import TOKEN, up

ASKED = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


async def ask(port: int, key: str, field: str = "Authorization") -> httpx.Response:
    """Send one chat request. Each has a connection of its own, so that both workers get some."""
    value = f"Bearer {key}" if field == "Authorization" else key
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PROCESS_S) as client:
        return await client.post("/v1/chat/completions", json=ASKED, headers={field: value} if key else {})


async def until(port: int, key: str, status: int) -> httpx.Response:
    """Send requests until one has this status."""
    async with asyncio.timeout(PROCESS_S):
        while (answer := await ask(port, key)).status_code != status:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        return answer


async def test_a_key_opens_the_gateway_within_its_limits_until_it_is_revoked(tmp_path: Path) -> None:
    plane, gate = tmp_path / "plane", tmp_path / "gate"
    plane.mkdir()
    gate.mkdir()
    (gate / "token").write_text(TOKEN)
    async with chat_engine("hello") as engine:
        tenants = ", tenants: {search: {requests_per_minute: 1000}}"
        served = fleet_of(engine.url, tenants).replace("authentication: none", "authentication: keys")
        async with up(plane, served) as (_, plane_port):
            follows = (
                "fleet: {name: test}\ngateway:\n  name: gw\n  workers: 2\n  control_plane:\n"
                f'    url: "http://127.0.0.1:{plane_port}"\n'
                "    authorization: {credentials_file: token}\n"
            )
            api = httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{plane_port}",
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=PROCESS_S,
            )
            async with gateway_up(gate, follows) as gateway, api:
                wanted: dict[str, Any] = {"name": "ci", "tenant": "search", "limits": {"requests_per_minute": 2}}
                made = (await api.post("/cp/v1/keys", json=wanted)).json()
                key = made["key"]

                none = await ask(gateway.port, "")
                assert none.status_code == 401 and "Send an API key" in none.json()["error"]["message"]
                first = await until(gateway.port, key, 200)
                assert first.headers["x-ratelimit-limit-requests"] == "2"
                assert first.headers["x-ratelimit-remaining-requests"] == "1"
                answers = [await ask(gateway.port, key, field) for field in ("x-api-key", "api-key") * 2]
                assert [answer.status_code for answer in answers] == [200, 429, 429, 429]
                refused = answers[-1]
                assert f"API key {made['id']} (tenant search) may have 2 requests a minute" in refused.text
                assert 1 <= int(refused.headers["retry-after"]) <= 30
                assert engine.requests == 2

                changed = await api.post(
                    f"/cp/v1/keys/{made['id']}/limits", json={"requests_per_minute": None, "daily_tokens": 60}
                )
                assert changed.status_code == 200
                spent = await until(gateway.port, key, 429)
                while "today" not in spent.text:
                    spent = await ask(gateway.port, key)
                assert spent.headers["x-should-retry"] == "false"
                assert json.loads(spent.text)["error"]["code"] == "insufficient_quota"

                assert (await api.delete(f"/cp/v1/keys/{made['id']}")).status_code == 204
                gone = await until(gateway.port, key, 401)
                assert key.split("_")[2] not in gone.text
                assert key.split("_")[2] not in "\n".join(gateway.log)
