"""Cost of slow bodies without a token: memory of `controlplane up` beside clients that never finish their request.

Run: `python benchmarks/bench_slow_bodies.py [connections]`. Clients on 30 loopback addresses send the head of a POST of
1 MiB without a token, then the body without its last byte, and hold the connection for ten seconds. Prints the resident
memory before and its maximum meanwhile, the numbers of clients that got 401, were refused or were held, and the slowest
answer of `/healthz` meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

BODY = 2**20
HOLD_S = 10.0
SETTLE_S = 3.0
HEAD = f"POST /cp/v1/rollouts HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY}\r\n\r\n".encode()
PIECE = b" " * 2**16


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def attack(port: int, number: int) -> str:
    """Send a slow body, and return the outcome: 401, another status, refused, or held."""
    source = (f"127.0.1.{number % 30 + 1}", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
    except OSError:
        return "refused"
    left = BODY - 1
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(HOLD_S):
            writer.write(HEAD)
            while left > 0 and not reader.at_eof():
                piece = PIECE[:left]
                writer.write(piece)
                await writer.drain()
                left -= len(piece)
            await asyncio.sleep(HOLD_S)
    answer = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(0.2):
            answer = await reader.read(12)
    writer.close()
    return answer[9:].decode() or ("refused" if reader.at_eof() else "held")


def _ask(port: int) -> float:
    before = time.perf_counter()
    urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60).read()
    return time.perf_counter() - before


async def watch(pid: int, port: int, most: list[int], slowest: list[float]) -> None:
    """Record the maximum of memory and the slowest answer until cancelled."""
    while True:
        most[0] = max(most[0], resident(pid))
        with contextlib.suppress(OSError):
            slowest[0] = max(slowest[0], await asyncio.to_thread(_ask, port))
        await asyncio.sleep(0.1)


@contextlib.contextmanager
def up() -> Iterator[tuple[int, int]]:
    """Yield (pid, port) of a control plane that answers."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        Path(folder, "fleet.yaml").write_text("fleet: {name: bench}\n")
        command = [sys.executable, "-m", "controlplane", "up", "-c", f"{folder}/fleet.yaml", "--data-dir", folder]
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen([*command, "--listen", f"127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    _ask(port)
                    break
                time.sleep(0.1)
            time.sleep(SETTLE_S)
            yield server.pid, port
        finally:
            server.terminate()
            server.wait()


async def main(pid: int, port: int, count: int) -> None:
    """Run the attack once, and print the results."""
    before = resident(pid)
    most, slowest = [before], [0.0]
    watching = asyncio.create_task(watch(pid, port, most, slowest))
    ends = await asyncio.gather(*(attack(port, number) for number in range(count)))
    watching.cancel()
    told = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
    print(f"{count} slow bodies of {BODY / 2**20:.0f} MiB without a token: {told}")
    print(f"resident memory: {before / 2**20:.0f} MiB before, {most[0] / 2**20:.0f} MiB at most")
    print(f"/healthz meanwhile: {slowest[0]:.2f} s at most")


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, hard), hard))
    with up() as (pid, port):
        asyncio.run(main(pid, port, int(sys.argv[1]) if len(sys.argv) > 1 else 1500))
