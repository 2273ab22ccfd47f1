"""Time until a changed file_sd file takes effect, and how long the event loop stands still: 10,000 targets in 40 files.

    PYTHONPATH=. python benchmarks/bench_discovery.py [CHANGES]

Each change replaces the 250 addresses of one file. Reading runs in a thread, as in `controlplane up`, and the targets
are handed to a real ScrapeManager whose tasks never ask a target, so what is measured is discovery alone. The garbage
collector is set as `controlplane up` sets it. The control plane looks for changes every five seconds, which comes on
top.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DiscoveryGroup
from collectors.http.fetch import HttpSource
from collectors.relabel import Action, RelabelRule
from collectors.samples import Layout
from collectors.scraping.scrape import ScrapeManager
from controlplane.app.interpreter import set_up_interpreter
from controlplane.app.recipe import Recipe
from controlplane.clock.system import SystemClock

FILES, EACH = 40, 250
BEAT_S = 0.001


class Nowhere:
    """Keeps no sample."""

    def append(self, *_: Any) -> None:
        """Do nothing."""

    def end(self, *_: Any) -> None:
        """Do nothing."""


async def longest_stall(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return the milliseconds that a work takes, and the longest that the event loop ran nothing else."""
    stalls: list[float] = []

    async def beat() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(BEAT_S)
            stalls.append((now := time.perf_counter()) - last)
            last = now

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0)
    began = time.perf_counter()
    await work()
    took = time.perf_counter() - began
    await asyncio.sleep(2 * BEAT_S)
    beating.cancel()
    return 1000 * took, 1000 * max(stalls)


def write(file: Path, number: int, turn: int) -> None:
    """List addresses that no other file and no other turn lists."""
    targets = [f"10.{number}.{turn}.{host}:8000" for host in range(EACH)]
    file.write_text(json.dumps([{"targets": targets, "labels": {"zone": "a", "__meta_rack": str(number)}}]))


async def run(folder: Path, changes: int) -> None:
    """Print the times of the first reading, of one without changes, and of changes."""
    for number in range(FILES):
        write(folder / f"{number}.json", number, 0)
    rule = RelabelRule(Action.REPLACE, ("__meta_rack",), target_label="rack")
    discovery = Discovery([DiscoveryGroup("vllm", file_sd=("*.json",), relabel=(rule,))], folder)
    manager = ScrapeManager(
        Nowhere(), lambda t: Recipe(HttpSource, (t.url, t.auth), {}), lambda *_: Layout(()), SystemClock()
    )

    async def turn() -> None:
        await manager.apply(await asyncio.to_thread(discovery.refresh))

    for number, what in enumerate(("first reading", "no change", *["one file changed"] * changes)):
        if what == "one file changed":
            write(folder / "7.json", 7, number)
        took, stall = await longest_stall(turn)
        print(f"{FILES * EACH} targets, {what}: {took:.0f} ms, longest stall of the event loop {stall:.0f} ms")
    await manager.close()


async def never(_self: object, _scraper: object) -> None:
    """Ask no target."""
    await asyncio.Event().wait()


def main() -> None:
    """Print the times."""
    set_up_interpreter()
    with tempfile.TemporaryDirectory() as folder, patch.object(ScrapeManager, "_run", never):
        asyncio.run(run(Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else 5))


if __name__ == "__main__":
    main()
