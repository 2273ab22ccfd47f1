"""Memory and files of the gateway over a long run: requests, streams, clients that leave, ever new sessions.

    python benchmarks/soak_gateway.py [--minutes 30] [--rate 200]

It prints, each minute, the memory of the gateway's processes (Pss, from /proc), their open files, and the requests so
far; at the end, how much the memory grew from the first third to the last. Memory that is flat has nothing that grows
with requests, sessions or clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from pathlib import Path

import uvloop
from common.contenders import Contender
from gateway.contenders import engines, gateway
from gateway.load import PROMPT


class Counts:
    """Numbers of requests by their end."""

    def __init__(self) -> None:
        self.whole = self.left = self.failed = 0


async def one(port: int, key: str, number: int, counts: Counts) -> None:
    """Send one request with a connection of its own. Every fourth streams, and half of these clients leave."""
    chance = random.Random(number)
    stream = number % 4 == 0
    body = json.dumps({**PROMPT, "stream": stream, "user": f"user-{number}", "max_tokens": 40}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
        f"x-request-id: request-{number}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + body)
        if stream and chance.random() < 0.5:
            await reader.read(1)
            await asyncio.sleep(chance.random() * 2)
            counts.left += 1
        elif b" 200 OK" in await asyncio.wait_for(reader.read(), 60):
            counts.whole += 1
        else:
            counts.failed += 1
        writer.close()
    except (OSError, TimeoutError):
        counts.failed += 1


async def load(contender: Contender, rate: int, until: float, counts: Counts) -> None:
    """Send requests at a fixed rate, each with a session that no other has."""
    port, number = int(contender.address.rpartition(":")[2]), 0
    begun = time.monotonic()
    tasks: set[asyncio.Task[None]] = set()
    while time.monotonic() < until:
        task = asyncio.ensure_future(one(port, contender.token, number, counts))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
    await asyncio.gather(*tasks)


def files(contender: Contender) -> int:
    """Return the number of open files of all processes."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in contender.pids())


async def watch(contender: Contender, until: float, counts: Counts) -> list[int]:
    """Print a line each minute; return the memory of each, in bytes."""
    found = []
    minute = 0
    while time.monotonic() < until:
        await asyncio.sleep(min(60.0, max(0.0, until - time.monotonic())))
        minute += 1
        found.append(contender.memory()["Pss"])
        print(
            f"{minute:3} min  {found[-1] / 2**20:7.1f} MiB  {files(contender):4} files  {counts.whole} whole, "
            f"{counts.left} left by their clients, {counts.failed} failed",
            flush=True,
        )
    return found


async def soak(contender: Contender, options: argparse.Namespace) -> None:
    """Run the load and watch."""
    until = time.monotonic() + options.minutes * 60
    counts = Counts()
    _, memory = await asyncio.gather(load(contender, options.rate, until, counts), watch(contender, until, counts))
    third = max(1, len(memory) // 3)
    first, last = sum(memory[:third]) / third, sum(memory[-third:]) / third
    print(f"memory of the last third against the first: {last / first:.3f} x")


def main() -> None:
    """Run the gateway and the soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=200)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        engines(Path(name)) as backends,
        gateway(Path(name) / "gateway", backends) as contender,
    ):
        uvloop.run(soak(contender, options))


if __name__ == "__main__":
    main()
