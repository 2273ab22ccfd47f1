"""kill -9 of a real control plane in every phase of a rollout behind a real HAProxy, while clients stream."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.contract.drivers.real_haproxy import haproxy
from tests.contract.drivers.streams import stream
from tests.contract.drivers.versions import Versions
from tests.fakes.hook_server import HookServer
from tests.patience import PROCESS_S
from tests.scenario.driver_world import Crowd
from tests.scenario.up import LOG, TOKEN, up

pytestmark = pytest.mark.needs("haproxy")
FLEET = """\
fleet: {{name: test}}
models:
  - name: chat
    stable: v1
    traffic: {{driver: haproxy, model: llama, instances: [{{socket: {socket}, config: {config}}}]}}
    versions: {{v1: {{backends: [{{url: "{v1}", engine: vllm}}]}}, v2: {{backends: [{{url: "{v2}", engine: vllm}}]}}}}
    verify: {{for: 5s, requests: 3, prompt: hi}}
    rollout:
      rollback_window: 5s
      hooks:
        - {{name: backup, at: switch, url: "{hook}"}}
        - {{name: filled, at: full, url: "{hook}"}}
        - {{name: done, at: end, url: "{hook}"}}
"""
PHASES = ("planned", "preparing", "switching", "verifying", "draining")


async def call(port: int, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        session.request(method, f"http://127.0.0.1:{port}/cp/v1/{path}", json=body) as answer,
    ):
        found: dict[str, Any] = await answer.json()
        assert answer.status in (200, 202), found
        return found


async def test_a_promotion_survives_kill_9_in_each_phase_with_no_effect_doubled(tmp_path: Path) -> None:
    async with Versions() as versions, HookServer() as hooks:
        versions.stream()
        servers = {name: versions.address(name) for name in ("v1", "v2")}
        with haproxy(tmp_path, servers) as proxy:
            urls = {name: server.url for name, server in versions.servers.items() if name != "v3"}
            fleet = FLEET.format(socket=proxy.socket, config=proxy.config, hook=hooks.url, **urls)
            killed: list[str] = []
            rollout = ""
            async with Crowd(lambda tokens: stream(proxy.url, tokens)) as crowd:
                phase = ""
                while phase != "succeeded":
                    async with up(tmp_path, fleet) as (pid, port):
                        if not rollout:
                            rollout = (await call(port, "POST", "rollouts", {"model": "chat", "version": "v2"}))["id"]
                        async with asyncio.timeout(PROCESS_S):
                            while True:
                                try:
                                    shown = await call(port, "GET", f"rollouts/{rollout}")
                                except aiohttp.ClientConnectorError as refused:
                                    raise AssertionError((tmp_path / LOG).read_text()) from refused
                                except aiohttp.ClientOSError:
                                    continue  # a busy machine: the server closes a connection that is too slow
                                phase = shown["phase"]
                                assert phase in (*PHASES, "succeeded"), shown
                                if phase == "succeeded" or phase not in killed:
                                    break
                                await asyncio.sleep(0.01)
                        if phase != "succeeded":
                            killed.append(phase)
                            os.kill(pid, signal.SIGKILL)
                assert await crowd.next(100) == {"v2": 100}
            assert crowd.faults == []
            assert {"verifying", "draining"} <= set(killed), killed  # the other phases may pass between two looks
            keys = [request.headers["idempotency-key"] for request in hooks.requests]
            assert [key.rpartition(".")[2] for key in dict.fromkeys(keys)] == ["backup", "filled", "done"]
            assert len(keys) <= 3 + len(killed)
            assert proxy.config.read_text().count("weight 0 # of v1") == 1
            assert proxy.config.read_text().count("weight 100 # of v2") == 1
