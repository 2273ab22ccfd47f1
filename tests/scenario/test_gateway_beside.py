"""`gateway.beside`: a gateway that `up` starts, that survives it, and that the next `up` finds."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from controlplane.gateway.process.folder import holder
from tests.fakes.chat_engine import chat_engine
from tests.patience import PROCESS_S, until
from tests.ports import free_port
from tests.scenario.gateway_up import chat, fleet_of, get
from tests.scenario.up import up


async def serves(port: int) -> None:
    """Wait until the gateway on a port answers a chat."""
    async with asyncio.timeout(PROCESS_S):
        while True:
            try:
                if await chat(port) == "hello":
                    return
            except OSError:
                pass
            await asyncio.sleep(0.1)


async def follows(admin: int, control_plane: int) -> None:
    """Wait until the gateway with an admin port follows a control plane."""
    async with asyncio.timeout(PROCESS_S):
        while f"127.0.0.1:{control_plane}".encode() not in (await get(admin, "/healthz"))[1]:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


async def test_the_gateway_beside_survives_and_is_found_again(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    folder = tmp_path / "data" / "gateway"
    async with chat_engine() as engine:
        fleet = fleet_of(engine.url, f', beside: true, listen: "127.0.0.1:{port}", admin: "127.0.0.1:{admin}"')
        try:
            async with up(tmp_path, fleet) as (pid, control_plane):
                await serves(port)
                first = holder(folder)
                assert first
                assert os.getpgid(first) == first
                # It follows the control plane, with a token that was made for it.
                assert (folder / "control-plane-token").stat().st_mode & 0o777 == 0o600
                async with asyncio.timeout(PROCESS_S):
                    while f"127.0.0.1:{control_plane}".encode() not in (await get(admin, "/healthz"))[1]:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.1)
                os.kill(pid, signal.SIGKILL)
                await until(
                    lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
                )
                await serves(port)
                assert holder(folder) == first
            # The next control plane listens elsewhere: a new gateway takes over, and there is one.
            async with up(tmp_path, fleet) as (_, elsewhere):
                await follows(admin, elsewhere)
                second = holder(folder)
                assert second not in (None, first)
                await serves(port)
                # The control plane's end in order leaves it alone too.
            assert holder(folder) == second
            await serves(port)
        finally:
            if (left := holder(folder)) is not None:
                os.kill(left, signal.SIGTERM)
        await until(lambda: holder(folder) is None, PROCESS_S)
