"""Strangers at a real process: what their bodies cost it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

STRANGERS = 200
BODY = 2**20
TOKEN = "cp_0123456789ab_" + "a" * 64
MOST = 50 * 2**20
"""A quarter of what they send."""


@asynccontextmanager
async def up(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """Yield (pid, port) of a control plane that is ready."""
    (folder / "fleet.yaml").write_text("fleet: {name: test}\n")
    command = ["-m", "controlplane", "up", "-c", "fleet.yaml", "--data-dir", "data", "--listen", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=folder,
        env={"CP_BOOTSTRAP_TOKEN": TOKEN, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    try:
        async with asyncio.timeout(60):
            while b"listening on" not in (line := await process.stderr.readline()):
                assert line
            port = int(line.rsplit(b":", 1)[1])
            while not (await ask(port, "/readyz")).startswith(b"HTTP/1.1 200"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
        yield process.pid, port
    finally:
        process.terminate()
        await process.communicate()


async def ask(port: int, path: str, token: str = "") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    access = f"Authorization: Bearer {token}\r\n" if token else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{access}\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def slow_body(port: int, path: str, number: int) -> tuple[bytes, asyncio.StreamWriter]:
    """Send all of a body but its last byte, as far as it is taken; return the first line of the answer."""
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
        async with asyncio.timeout(60):
            ends = await asyncio.gather(*(slow_body(port, paths[n % len(paths)], n) for n in range(STRANGERS)))
        assert resident(pid) - before < MOST
        assert {line.split()[1] for line, _ in ends} == {b"401", b"413"}
        whoami = await ask(port, "/cp/v1/whoami", TOKEN)
        assert json.loads(whoami.partition(b"\r\n\r\n")[2])["token_id"] == "0123456789ab"
        for _, writer in ends:
            writer.close()
