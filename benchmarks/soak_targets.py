"""A fleet of targets that flap, move, lie, hang and die, watched by a control plane: alerts, memory and stalls.

    python benchmarks/soak_targets.py [--targets 2000] [--minutes 10]

One process serves all targets, each with a behaviour of its own, and one asks the control plane for `/healthz`. The
control plane finds the targets in `file_sd` files that are written again every 20 seconds. At the end the script prints
the alerts that fired against those that had to, how much memory the control plane grew from the first third to the
last, and how long its HTTP server took to answer. It ends with status 1 when an alert is wrong or missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from common.answers import Answer, Answers, asked
from common.contenders import TOKEN, Contender, control_plane_of

INTERVAL_S, WRITE_S, POLL_S = 15.0, 20.0, 5.0
DUE_S = 420.0
"""Seconds until all alerts must have fired: the slowest is for a target that was away three times."""
MOVE_S = 90.0
"""Seconds after which a target that moves has another instance."""
HISTOGRAMS = ("e2e_request_latency", "time_to_first_token", "inter_token_latency", "request_queue_time")
BOUNDS = (0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 5.0)


@dataclass(frozen=True)
class Behaviour:
    """One kind of target: its share of the fleet, and the alert that must fire for it. No other may."""

    name: str
    share: float
    alert: str = ""


BEHAVIOURS = (
    Behaviour("steady", 0.56),
    Behaviour("flaps", 0.10, "LLMCrashLoop"),
    Behaviour("moves", 0.08),
    Behaviour("slow", 0.05),
    Behaviour("lies", 0.05),
    Behaviour("resets", 0.05),
    Behaviour("gpu", 0.08),
    Behaviour("hot", 0.01, "GPUTemperatureHigh"),
    Behaviour("dead", 0.02, "LLMEngineDown"),
)


@dataclass
class Target:
    """One target of the fleet."""

    number: int
    behaviour: Behaviour
    chance: random.Random
    since: float = 0.0
    asked: int = 0

    @property
    def engine(self) -> str:
        """Kind of its engine."""
        return "dcgm" if self.behaviour.name in ("gpu", "hot") else "vllm"

    def instance(self, now: float) -> str:
        """Return its present name."""
        moved = int((now + self.number) // MOVE_S) if self.behaviour.name == "moves" else 0
        return f"t{self.number}-{moved}:8000"


@dataclass
class Seen:
    """Observations of a run."""

    fired: dict[tuple[str, str], float] = field(default_factory=dict)
    """(alert, instance or GPU) -> seconds after the start."""
    answers: Answers = field(default_factory=lambda: Answers([]))
    memory: list[int] = field(default_factory=list)


def made(count: int) -> list[Target]:
    """Return the fleet."""
    targets: list[Target] = []
    for behaviour in BEHAVIOURS[1:]:
        targets += [Target(0, behaviour, random.Random()) for _ in range(round(count * behaviour.share))]
    targets += [Target(0, BEHAVIOURS[0], random.Random()) for _ in range(count - len(targets))]
    for number, target in enumerate(targets):
        target.number, target.chance = number, random.Random(number)
    return targets


def vllm_page(target: Target, age_s: float) -> str:
    """Return a page of vLLM after `age_s` seconds of two requests a second."""
    label = 'engine="0",model_name="chat"'
    ended = int(2 * age_s)
    lines = [
        f'vllm:request_success_total{{{label},finished_reason="stop"}} {ended}',
        f"vllm:num_requests_running{{{label}}} {1 + target.chance.randrange(4)}",
        f"vllm:num_requests_waiting{{{label}}} 0",
        f"vllm:kv_cache_usage_perc{{{label}}} {target.chance.random() * 0.5:.3f}",
        f"vllm:prompt_tokens_total{{{label}}} {ended * 300}",
        f"vllm:generation_tokens_total{{{label}}} {ended * 120}",
        f"vllm:num_preemptions_total{{{label}}} 0",
    ]
    for name in HISTOGRAMS:
        lines.append(f"# TYPE vllm:{name}_seconds histogram")
        for number, bound in enumerate((*BOUNDS, "+Inf")):
            count = ended * min(10, number + 6) // 10  # all within 0.8 s
            lines.append(f'vllm:{name}_seconds_bucket{{{label},le="{bound}"}} {count}')
        lines += [f"vllm:{name}_seconds_sum{{{label}}} {ended * 0.4}", f"vllm:{name}_seconds_count{{{label}}} {ended}"]
    return "\n".join(lines) + "\n"


def dcgm_page(target: Target, age_s: float) -> str:
    """Return a page of dcgm-exporter for eight GPUs."""
    lines = []
    degrees = 91 if target.behaviour.name == "hot" else 55
    for gpu in range(8):
        label = f'gpu="{gpu}",UUID="GPU-{target.number}-{gpu}",Hostname="node-{target.number}",modelName="H200"'
        lines += [
            f"DCGM_FI_DEV_GPU_TEMP{{{label}}} {degrees + target.chance.randrange(3)}",
            f"DCGM_FI_DEV_GPU_UTIL{{{label}}} {target.chance.randrange(100)}",
            f"DCGM_FI_DEV_FB_USED{{{label}}} 60000",
            f"DCGM_FI_DEV_FB_FREE{{{label}}} 80000",
            f"DCGM_FI_DEV_FB_RESERVED{{{label}}} 600",
            f"DCGM_FI_DEV_POWER_USAGE{{{label}}} 400",
            f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{label}}} {age_s * 400_000:.0f}",
        ]
    return "\n".join(lines) + "\n"


LIES = (
    "<html><body>login</body></html>",
    "{}",
    "",
    "vllm:num_requests_running NaN\n" * 3,
    'vllm:num_requests_running{engine="0',
    "\x00\x01",
)


async def answer(target: Target, begun: float) -> web.StreamResponse:
    """Answer one scrape as the target's behaviour says. No behaviour but `dead` is away for a minute."""
    target.asked += 1
    kind, age_s = target.behaviour.name, time.time() - begun
    if kind == "dead":
        return web.Response(status=503)
    if kind == "flaps":
        # Away for one scrape, and then there for three.
        if target.asked % 4 == target.number % 4:
            return web.Response(status=target.chance.choice((500, 502, 503, 404)))
    elif kind == "slow":
        await asyncio.sleep(target.chance.choice((0.5, 3.0, 7.0)))
    elif kind == "lies" and target.asked % 20 == target.number % 20:
        return web.Response(text=target.chance.choice(LIES), content_type="text/plain")
    elif kind == "resets" and target.asked % 8 == 0:
        target.since = age_s
    page = dcgm_page if target.engine == "dcgm" else vllm_page
    return web.Response(text=page(target, age_s - target.since), content_type="text/plain")


def lists(targets: list[Target], port: int, now: float) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the content of each file: its name, and its groups of targets."""
    for engine in ("vllm", "dcgm"):
        for part in range(20):
            groups = [
                {
                    "targets": [f"127.0.0.1:{port}"],
                    "labels": {"instance": t.instance(now), "__metrics_path__": f"/t/{t.number}"},
                }
                for t in targets
                if t.engine == engine and t.number % 20 == part
            ]
            yield f"{engine}-{part}.json", groups


def write(folder: Path, targets: list[Target], port: int, now: float) -> None:
    """Write all lists, each by renaming."""
    folder.mkdir(exist_ok=True)
    for name, groups in lists(targets, port, now):
        (folder / f".{name}").write_text(json.dumps(groups))
        (folder / f".{name}").rename(folder / name)


async def serve(count: int, begun: float, port: Connection) -> None:
    """Serve all targets on one loopback port, and tell which. Ends with its process."""
    targets, app = made(count), web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await answer(targets[int(request.match_info["number"])], begun)

    app.router.add_get("/t/{number}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    port.send(runner.addresses[0][1])
    await asyncio.Event().wait()


def served(count: int, begun: float, port: Connection) -> None:
    """Run the server in a process of its own, so that it delays no measurement."""
    asyncio.run(serve(count, begun, port))


async def watch(contender: Contender, rewrite: Callable[[], None], minutes: float) -> Seen:
    """Rewrite the lists, and note alerts and memory, until the time is over."""
    seen, begun = Seen(), time.monotonic()
    end, written, polled, told = begun + minutes * 60, begun, begun, begun
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        while (now := time.monotonic()) < end:
            if now - written >= WRITE_S:
                written = now
                rewrite()
            if now - polled >= POLL_S:
                polled = now
                async with session.get(f"http://{contender.address}/api/v1/alerts") as response:
                    for alert in (await response.json())["data"]["alerts"]:
                        if alert["state"] == "firing" and alert["labels"]["alertname"] != "Watchdog":
                            labels = alert["labels"]
                            key = (labels["alertname"], labels.get("instance") or labels.get("gpu", ""))
                            seen.fired.setdefault(key, now - begun)
                seen.memory.append(contender.memory()["Pss_Anon"])
            if now - told >= 60:
                told = now
                print(f"{(now - begun) / 60:4.0f} min  {seen.memory[-1] / 2**20:6.0f} MiB  {len(seen.fired)} alerts")
            await asyncio.sleep(0.1)
    return seen


def expected(targets: list[Target], now: float) -> set[tuple[str, str]]:
    """Return the alerts that must have fired."""
    made: set[tuple[str, str]] = set()
    for target in targets:
        if target.behaviour.name == "hot":
            made |= {(target.behaviour.alert, f"GPU-{target.number}-{gpu}") for gpu in range(8)}
        elif target.behaviour.alert:
            made.add((target.behaviour.alert, target.instance(now)))
    return made


def report(seen: Seen, due: set[tuple[str, str]]) -> int:
    """Print the results. Return the exit status."""
    wrong, missing = sorted(set(seen.fired) - due), sorted(due - set(seen.fired))
    print(f"alerts: {len(due)} expected, {len(missing)} of them missing, {len(wrong)} wrong")
    for name, rows in (("missing", missing), ("wrong", wrong)):
        for row in rows[:10]:
            print(f"  {name}: {row}")
    third = len(seen.memory) // 3
    first, last = max(seen.memory[:third], default=0), max(seen.memory[-third:], default=0)
    print(f"memory of its own: {first / 2**20:.0f} MiB in the first third, {last / 2**20:.0f} MiB in the last")
    print(f"answers of /healthz: {seen.answers.describe()}")
    for answer in sorted(seen.answers.stalls, key=lambda answer: -answer.took)[:10]:
        print(f"  after {answer.at:.1f} s: {answer.took * 1000:.0f} ms")
    return 1 if wrong or missing else 0


def run(count: int, minutes: float) -> int:
    """Run the fleet and the control plane. Return the exit status."""
    targets, begun, answers = made(count), time.time(), list[Answer]()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=served, args=(count, begun, theirs), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as scratch:
        lists_folder, port = Path(scratch) / "lists", ours.recv()

        def rewrite() -> None:
            write(lists_folder, targets, port, time.time())

        rewrite()
        fleet = {
            "fleet": {"name": "soak"},
            "scrape": {"interval": f"{INTERVAL_S:g}s"},
            "targets": [
                {"engine": engine, "file_sd": [f"{lists_folder}/{engine}-*.json"]} for engine in ("vllm", "dcgm")
            ],
            "rules": ["builtin:llm", "builtin:gpu"],
        }
        try:
            with control_plane_of(Path(scratch) / "plane", fleet) as contender:
                with asked(contender.address, "/healthz", answers):
                    seen = asyncio.run(watch(contender, rewrite, minutes))
                seen.answers = Answers(answers)
        finally:
            server.terminate()
    return report(seen, expected(targets, begun))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    if arguments.minutes * 60 <= DUE_S:
        parser.error(f"--minutes: give more than {DUE_S / 60:g}: sooner, not every expected alert is due")
    sys.exit(run(arguments.targets, arguments.minutes))


if __name__ == "__main__":
    main()
