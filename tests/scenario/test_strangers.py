"""Clients without a token send bodies to a real process, and its memory stays small."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from pathlib import Path

from tests.patience import PROCESS_S
from tests.scenario.up import TOKEN, ask, up

STRANGERS = 200
BODY = 2**20
MOST = 50 * 2**20
"""Most bytes of memory that the process may gain: a quarter of all bodies."""


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def slow_body(port: int, path: str, number: int) -> tuple[bytes, asyncio.StreamWriter]:
    """Send a body without its last byte, as far as the server reads it. Return the first line of the answer."""
    source = (f"127.0.1.{number % 20 + 1}", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY}\r\n\r\n".encode())
    with contextlib.suppress(OSError):
        writer.write(b" " * (BODY - 1))
        await writer.drain()
    return await reader.readline(), writer


async def test_slow_bodies_of_strangers_are_refused_and_cost_next_to_nothing(tmp_path: Path) -> None:
    paths = ["/cp/v1/rollouts", "/api/v1/query", "/api/v1/write", "/sign-in", "/nothing"]
    async with up(tmp_path) as (pid, port):
        await ask(port, "/cp/v1/fleet", TOKEN)
        before = resident(pid)
        async with asyncio.timeout(PROCESS_S):
            ends = await asyncio.gather(*(slow_body(port, paths[n % len(paths)], n) for n in range(STRANGERS)))
        assert resident(pid) - before < MOST
        assert {line.split()[1] for line, _ in ends} == {b"401", b"413"}
        whoami = await ask(port, "/cp/v1/whoami", TOKEN)
        assert json.loads(whoami.partition(b"\r\n\r\n")[2])["token_id"] == "0123456789ab"
        for _, writer in ends:
            writer.close()
