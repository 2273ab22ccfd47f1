"""A control plane as a separate process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.fakes.warm import fork
from tests.patience import PROCESS_S

ROOT = Path(__file__).parents[2]
TOKEN = "cp_0123456789ab_" + "a" * 64
"""A token with the role admin."""
LOG = "control-plane.log"


@asynccontextmanager
async def up(folder: Path, fleet: str = "fleet: {name: test}\n") -> AsyncIterator[tuple[int, int]]:
    """Yield (pid, port) of a control plane that is ready. It writes its log to `control-plane.log` in `folder`.

    The log is a file: a process whose pipe nobody reads stops when the pipe is full.
    """
    (folder / "fleet.yaml").write_text(fleet)
    words = ["controlplane", "up", "-c", "fleet.yaml", "--data-dir", "data", "--listen", "127.0.0.1:0"]
    log = folder / LOG
    with log.open("wb") as written:
        environment = {"CP_BOOTSTRAP_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
        process = fork(words, folder, environment, written, written)
    try:
        async with asyncio.timeout(PROCESS_S):
            while not (listening := re.search(r"listening on \S+:(\d+)\n", log.read_text())):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
            port = int(listening[1])
            while not (await ask(port, "/readyz")).startswith(b"HTTP/1.1 200"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
        yield process.pid, port
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):  # it may have been killed just now
                process.terminate()
        await process.wait()


async def ask(port: int, path: str, token: str = "") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    access = f"Authorization: Bearer {token}\r\n" if token else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{access}\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer
