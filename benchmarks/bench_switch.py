"""Switches under 50 open streams: streams lost, the time of the switch, and the time from an error breach to 0 %.

python -m benchmarks.bench_switch [--repetitions 5] [--only gateway|breach|triton]

The gateway is a real process with two workers, before engines of tokens; the control plane is a real `controlplane up`.
Triton is the real server of the nvidia-pytriton wheel, with the driver and the rollout engine in this process.
- switch, gateway: from the assignment of the weights (its time in the database) to the start of the first stream from
  which on the new version answers all. It is an upper bound: a request must come for the switch to be seen.
- switch, Triton: from the start of the first stream that the new version answered to the start of the first stream from
  which on it answers all. Triton itself decides the moment, when the load is done.
- breach: from the moment at which both engines of the candidate begin to answer 500 to the start of the last request
  that the candidate got. The canary has 20 %, and a look every 5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.e2e.test_triton_bad_versions import Bench, bench
from tests.scenario.chaos_clients import STREAMS, Ended
from tests.scenario.chaos_world import ENGINES, ChaosWorld

INTERVAL_S = 5.0
"""Seconds between two looks: the smallest that fleet.yaml accepts."""
BOUND_S = {"switch": 1.0, "breach": INTERVAL_S + 1.0}
CANARY = {
    "strategy": "canary",
    "steps": ["20%", "analyse 10m"],
    "analysis": {"interval": f"{INTERVAL_S:g}s", "minimum_requests": 50},
}


@dataclass
class Figures:
    """What was measured of one kind of switch."""

    name: str
    bound_s: float
    streams: int = 0
    failed: int = 0
    cut: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, ended: Sequence[Ended], seconds: float) -> None:
        """Add one repetition."""
        self.streams += len(ended)
        self.cut += sum(one.how in ("told", "broken") for one in ended)
        self.failed += sum(one.how not in ("whole", "told", "broken") for one in ended)
        self.seconds.append(seconds)

    def line(self) -> str:
        """Return the figures as one line."""
        times = ", ".join(f"{one:.2f}" for one in self.seconds)
        verdict = "met" if max(self.seconds) <= self.bound_s else "MISSED"
        return (
            f"{self.name:22} n={len(self.seconds)} streams={self.streams} failed={self.failed} cut={self.cut} "
            f"worst={max(self.seconds):.2f} s (target {self.bound_s:g} s: {verdict}) all=[{times}]"
        )


class SwitchWorld(ChaosWorld):
    """The fleet of processes, whose gateway is scraped every second."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._database = folder / "plane" / "controlplane.db"

    def _fleet(self) -> str:
        admin = f'  admin: "127.0.0.1:{self._ports["admin"]}"\n  authentication: none'
        text = super()._fleet().replace("  authentication: none", admin)
        return f"scrape: {{interval: 1s}}\n{text.lstrip()}"

    def assigned_at(self) -> float:
        """Return the time of the newest assignment, in unix seconds."""
        with sqlite3.connect(f"file:{self._database}?mode=ro", uri=True) as db:
            return float(db.execute("SELECT updated_at FROM traffic_assignment WHERE model = 'chat'").fetchone()[0])

    async def back(self) -> str:
        """Begin a rollback, and return its id."""
        status, found = await self.api("POST", "/cp/v1/models/chat/rollback", {})
        assert status == 202, found
        return str(found["id"])

    async def broken(self, version: str) -> float:
        """Let both engines of a version answer 500, and return the unix seconds."""
        async with aiohttp.ClientSession() as session:
            for name in ENGINES[version]:
                async with session.post(f"http://127.0.0.1:{self._ports[name]}/break"):
                    pass
        return time.time()

    async def until_ended(self, rollout: str) -> None:
        """Wait for the end of a rollout."""
        async with asyncio.timeout(300):
            while (await self.phase(rollout))[0] not in ("succeeded", "rolled-back", "failed"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


def all_from(ended: Sequence[Ended], old: str, new: str) -> float:
    """Return when the first stream began from which on the new version answered all, in unix seconds."""
    last = max(one.began_at for one in ended if one.engine.startswith(old))
    return min(one.began_at for one in ended if one.engine.startswith(new) and one.began_at > last)


async def gateway(folder: Path, repetitions: int) -> list[Figures]:
    """Promote and roll back on the gateway."""
    promote, back = Figures("gateway promote", BOUND_S["switch"]), Figures("gateway rollback", BOUND_S["switch"])
    async with SwitchWorld(folder) as world:
        for _ in range(repetitions):
            for figures, old, new in ((promote, "v1", "v2"), (back, "v2", "v1")):
                before = len(world.ended)
                rollout = await (world.promote(new) if figures is promote else world.back())
                await world.until_ended(rollout)
                await world.more(2 * STREAMS)
                ended = world.ended[before:]
                figures.add(ended, all_from(ended, old, new) - world.assigned_at())
    return [promote, back]


async def breach(folder: Path, repetitions: int) -> list[Figures]:
    """Break the candidate of a canary, each time in a new fleet."""
    figures = Figures("gateway breach to 0 %", BOUND_S["breach"])
    for number in range(repetitions):
        (folder / str(number)).mkdir()
        async with SwitchWorld(folder / str(number)) as world:
            rollout = await world.promote("v2", rollout=CANARY)
            await world.in_phase(rollout, "switching")
            await world.when(lambda: _seen(world, "v2"))
            await world.more(12 * STREAMS)
            at = await world.broken("v2")
            before = len(world.ended)
            await world.until_ended(rollout)
            await world.more(2 * STREAMS)
            after = world.ended[before:]
            # A refused request has no engine's name: the candidate alone refuses.
            figures.add([], max(one.began_at for one in after if one.how == "500") - at)
            figures.streams += len(after)
            figures.cut += sum(one.how in ("told", "broken") for one in after)
            figures.failed += sum(one.how not in ("whole", "500", "told", "broken") for one in after)
    return [figures]


async def _seen(world: ChaosWorld, version: str) -> bool:
    return any(one.engine.startswith(version) for one in world.ended[-STREAMS:])


async def triton(folder: Path, repetitions: int) -> list[Figures]:
    """Promote and roll back on a real Triton."""
    promote, back = Figures("Triton promote", BOUND_S["switch"]), Figures("Triton rollback", BOUND_S["switch"])
    async with bench(folder, token_s=0.03) as world:
        ended: list[Ended] = []
        clients = [asyncio.create_task(_ask(world.server.http_url, ended)) for _ in range(STREAMS)]
        for _ in range(repetitions):
            for figures, old, new in ((promote, "v1", "v2"), (back, "v2", "v1")):
                before = len(ended)
                await world.promote(new) if figures is promote else await _rolled_back(world)
                await _more(ended, 2 * STREAMS)
                now = ended[before:]
                first = min(one.began_at for one in now if one.engine == new)
                figures.add(now, all_from(now, old, new) - first)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    return [promote, back]


async def _rolled_back(world: Bench) -> None:
    rollout = await world.service.rollback("model", actor="ann")
    while not (await world.service.show(rollout.id)).rollout.finished:
        await world.engine.tick(time.time())
        await asyncio.sleep(0.2)


async def _more(ended: list[Ended], count: int) -> None:
    goal = len(ended) + count
    async with asyncio.timeout(60):
        while len(ended) < goal:  # noqa: ASYNC110 - the clients are tasks
            await asyncio.sleep(0.02)


async def _ask(url: str, ended: list[Ended]) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            began, got, status = time.time(), b"", 0
            body = {"text_input": "how are you", "stream": True}
            try:
                async with session.post(f"{url}/v2/models/model/generate_stream", json=body) as answer:
                    status = answer.status
                    async for piece in answer.content.iter_any():
                        got += piece
            except aiohttp.ClientError:
                pass
            ended.append(_judged(status, got, began))


def _judged(status: int, got: bytes, began_at: float) -> Ended:
    events = [json.loads(line[5:]) for line in got.split(b"\n") if line.startswith(b"data:")]
    engine = str(events[0].get("text_output", ""))[:2] if events else ""
    whole = status == 200 and bool(events) and events[-1].get("finish_reason") == "stop"
    how = "whole" if whole else "broken" if events else str(status or "silent")
    return Ended(how, engine, got[-400:], began_at)


async def main(repetitions: int, only: str) -> int:
    """Print the figures, and return the exit status."""
    runs: dict[str, Callable[[Path, int], Awaitable[list[Figures]]]] = {
        "gateway": gateway,
        "breach": breach,
        "triton": triton,
    }
    missed = False
    print(f"{STREAMS} streams at once; a look every {INTERVAL_S:g} s; targets: 0 failed, 0 cut", flush=True)
    for name, run in runs.items():
        if only not in ("", name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            for figures in await run(Path(folder), repetitions):
                print(figures.line(), flush=True)
                missed |= bool(figures.failed or figures.cut or max(figures.seconds) > figures.bound_s)
    return int(missed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", default="", choices=["gateway", "breach", "triton"])
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.repetitions, options.only)))
