"""Engines' own metrics veto a backend, in a gateway that follows nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from tests.fakes.chat_engine import chat_engine
from tests.patience import PROCESS_S
from tests.scenario.gateway_up import chat, gateway_up, get


async def test_a_full_engine_gets_no_request_while_another_is_there(tmp_path: Path) -> None:
    waiting = {"one": 9.0, "two": 0.0}

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text=f"vllm:num_requests_waiting {waiting[request.match_info['name']]}\n")

    app = web.Application()
    app.add_routes([web.get("/{name}", metrics)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    root = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with asyncio.timeout(PROCESS_S), chat_engine("one") as one, chat_engine("two") as two:
        fleet = (
            "fleet: {name: test}\n"
            "gateway: {name: gw, authentication: none, workers: 2}\n"
            "models:\n  - name: chat\n    stable: v1\n    traffic: {driver: none}\n    versions:\n      v1:\n"
            "        backends:\n"
            f'          - {{url: "{one.url}", engine: vllm, metrics: "{root}/one"}}\n'
            f'          - {{url: "{two.url}", engine: vllm, metrics: "{root}/two"}}\n'
        )
        async with gateway_up(tmp_path, fleet) as gateway:
            await _vetoed(gateway.admin, one.url, 1)
            assert {await chat(gateway.port) for _ in range(20)} == {"two"}
            waiting["two"] = 9.0
            await _vetoed(gateway.admin, two.url, 1)
            while {await chat(gateway.port) for _ in range(20)} != {"one", "two"}:  # a veto on all of them is none
                pass
            waiting["one"] = waiting["two"] = 0.0
            await _vetoed(gateway.admin, one.url, 0)
            while {await chat(gateway.port) for _ in range(20)} != {"one", "two"}:
                pass
    await runner.cleanup()


async def _vetoed(admin: int, url: str, value: int) -> None:
    line = f'controlplane_gateway_vetoed{{backend="{url}"}} {value}'
    while line not in (await get(admin, "/metrics"))[1].decode():  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.1)
