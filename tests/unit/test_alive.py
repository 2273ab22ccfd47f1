"""A server that ends by itself fails its test at once, with its signal and the last lines of its log."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.demo.process import Child, ChildDied
from tests.alive import alive
from tests.patience import HANG_S, until

LIVES = "import time; time.sleep(600)"
CRASHES = "import os, signal; print('the last words', flush=True); os.kill(os.getpid(), signal.SIGSEGV)"
EXITS = "import sys; print('cannot bind', flush=True); sys.exit(3)"


@asynccontextmanager
async def child(folder: Path, code: str) -> AsyncIterator[Child]:
    made = await Child.start("server", [sys.executable, "-c", code], folder / "server.log")
    try:
        yield made
    finally:
        await made.stop()


@pytest.mark.parametrize(("code", "how"), [(CRASHES, r"signal 11\).*the last words"), (EXITS, r"status 3\).*cannot")])
async def test_a_body_that_would_wait_for_ever_fails_at_once(tmp_path: Path, code: str, how: str) -> None:
    async with child(tmp_path, LIVES) as other, child(tmp_path, code) as server:
        with pytest.raises(ChildDied, match=f"(?s)server ended .*{how}"):
            async with asyncio.timeout(HANG_S), alive(other, server):
                await asyncio.Event().wait()
    assert (task := asyncio.current_task()) is not None
    assert task.cancelling() == 0


async def test_what_the_body_meets_because_of_it_is_the_second_thing_said(tmp_path: Path) -> None:
    async with child(tmp_path, LIVES) as server:
        with pytest.raises(ChildDied, match="signal 9") as raised:
            async with alive(server):
                try:
                    server.kill()
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise ConnectionError("refused") from None
        assert isinstance(raised.value.__cause__, ConnectionError)


async def test_a_body_that_ends_well_beside_a_dead_server_fails_too(tmp_path: Path) -> None:
    async with child(tmp_path, LIVES) as server:
        with pytest.raises(ChildDied, match="signal 9"):
            async with alive(server):
                server.kill()
                with pytest.raises(asyncio.CancelledError):
                    await until(lambda: False)


async def test_a_faulty_body_of_living_servers_keeps_its_fault_and_a_good_one_ends_well(tmp_path: Path) -> None:
    async with child(tmp_path, LIVES) as server:
        with pytest.raises(ZeroDivisionError):
            async with alive(server):
                raise ZeroDivisionError
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), alive(server):
                await asyncio.Event().wait()
        async with alive(server):
            await asyncio.sleep(0)
        assert server.returncode is None
