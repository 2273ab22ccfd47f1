"""Cost of the gateway beside HAProxy, SGLang's router and the LiteLLM proxy, in one run on one machine.

    python benchmarks/bench_gateway.py [--seconds 8] [--streams 1000] [--litellm PROGRAM] [--sglang-router PROGRAM]
        [--python PROGRAM]

All of them pass requests to the same engines on loopback, with weights of 95 to 5 over two versions (SGLang's router
has none, and takes turns). The gateway checks a key, keeps the limits of key, tenant and model, counts metrics, and
writes usage records. LiteLLM and SGLang's router check one key and count metrics. HAProxy does neither. For each it
prints:

- small completions for each second of CPU time of its processes, from /proc. The wall clock says little where engines,
  clients and proxy share two cores. "Alike": each connection sends the same head again and again, as one client does.
  "Traced": each request has a `traceparent` of its own, so no two heads are alike;
- latency at 500 requests a second, as p50 and p99, less those of the engine alone;
- the share of one core that open streams of 20 tokens a second take.

A second worker costs what two workers share: the port, and the memory with limits, tickets and metrics. So one gateway
with two workers is compared with two gateways of one worker each that serve beside each other, each pair under the same
load. Both pairs have as many processes on the same cores, so a machine that has no core for each worker slows both
alike. With r for the ratio of their requests for each second of the workers' CPU time, two workers with a core for each
serve 2 r times as much as one.

wrk and haproxy are Debian's; LiteLLM and SGLang's router have environments of their own
(`pip install 'litellm[proxy]' prometheus-client`, `pip install sglang-router`). A contender that is not installed is
left out, and the output says so. `--python` runs the gateway by another interpreter of the same version, with the
packages of this one.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from common.contenders import Contender
from gateway.contenders import GATEWAY, engines, gateway, haproxy, litellm, sglang_router

LOAD = Path(__file__).parent / "gateway" / "load.py"
RATE = 500
ROUNDS = 6
"""Rounds of two workers that share against two that do not."""
SCRIPT = """
wrk.method = "POST"
wrk.body = '{"model": "chat", "max_tokens": 16, "messages": [{"role": "user", "content": "What is a control plane?"}]}'
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer %s"
"""
TRACED = """
local number = 0
request = function()
  number = number + 1
  wrk.headers["traceparent"] = string.format("00-%032x-%016x-00", number, number)
  return wrk.format()
end
"""


@dataclass
class Figures:
    """The figures of one contender."""

    name: str
    part: int = 1
    """The rate and the number of streams are divided by this."""
    per_cpu_s: float = 0.0
    per_s: float = 0.0
    traced_per_cpu_s: float = 0.0
    latency: dict[str, float] = field(default_factory=dict)
    streams: dict[str, float] = field(default_factory=dict)
    cores: float = 0.0


def throughput(
    folder: Path, contender: Contender, seconds: float, connections: int, more: str = ""
) -> tuple[float, float]:
    """Return small completions a second of CPU, and a second of the wall clock. `more` is added to wrk's script."""
    script = folder / "post.lua"
    script.write_text(SCRIPT % contender.token + more)
    completed(script, contender, 1, connections)
    before, began = contender.cpu_s(), time.monotonic()
    requests = completed(script, contender, seconds, connections)
    took = time.monotonic() - began
    return requests / max(contender.cpu_s() - before, 0.01), requests / took


def completed(script: Path, contender: Contender, seconds: float, connections: int) -> int:
    """Return the number of small completions that a contender served."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}", "-s", str(script)]
    command.append(f"http://{contender.address}/v1/chat/completions")
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        print(f"{contender.name}: some requests failed:\n{said}")
    found = re.search(r"(\d+) requests in", said)
    assert found, said
    return int(found[1])


def together(script: Path, pair: Sequence[Contender], seconds: float) -> float:
    """Return the requests a second of the workers' CPU time while two loads run at once, one on each of the pair.

    Both may be the same contender. Supervisors are left out: a pair has one or two of them.
    """
    distinct = set(pair)
    before = sum(one.cpu_s(children_only=True) for one in distinct)
    with ThreadPoolExecutor(len(pair)) as threads:
        requests = sum(threads.map(lambda one: completed(script, one, seconds, 32), pair))
    return requests / (sum(one.cpu_s(children_only=True) for one in distinct) - before)


def load(kind: str, contender: Contender, amount: int, seconds: float) -> tuple[dict[str, float], float]:
    """Run gateway/load.py; return what it printed, and the share of a core that the contender used."""
    port = contender.address.rpartition(":")[2]
    command = [sys.executable, str(LOAD), kind, port, contender.token or "none", str(amount), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    if kind == "streams":
        process.stdout.readline()
    before, began = contender.cpu_s() if contender.pid else 0.0, time.monotonic()
    said = process.stdout.readline()
    spent = contender.cpu_s() - before if contender.pid else 0.0
    cores = spent / (time.monotonic() - began)
    process.wait()
    figures: dict[str, float] = json.loads(said)
    return figures, cores


def measure(folder: Path, contender: Contender, options: argparse.Namespace, *, slow: bool = False) -> Figures:
    """Measure one contender. `slow`: it cannot hold the rate and the number of streams, and gets a tenth of both."""
    figures = Figures(contender.name, part=10 if slow else 1)
    connections = 32 // figures.part
    figures.per_cpu_s, figures.per_s = throughput(folder, contender, options.seconds, connections)
    figures.traced_per_cpu_s, _ = throughput(folder, contender, options.seconds, connections, TRACED)
    figures.latency, _ = load("rate", contender, RATE // figures.part, options.seconds)
    figures.streams, figures.cores = load("streams", contender, options.streams // figures.part, options.seconds)
    return figures


def show(found: list[Figures], alone: dict[str, float]) -> None:
    """Print one row for each contender."""
    print(f"engine alone at {RATE}/s: p50 {alone['p50_ms']:.2f} ms, p99 {alone['p99_ms']:.2f} ms")
    print("                requests a CPU s |         | added at a rate       | streams")
    print("                 alike    traced |     a s |   rate   p50    p99   |   open  tokens/s  cores  µs a token")
    for one in found:
        p50, p99 = (one.latency[name] - alone[name] for name in ("p50_ms", "p99_ms"))
        tokens = one.streams["tokens_per_second"]
        print(
            f"{one.name:15}{one.per_cpu_s:7.0f}{one.traced_per_cpu_s:10.0f} |{one.per_s:8.0f} |"
            f"{RATE // one.part:6.0f}{p50:7.2f}{p99:7.2f} ms |"
            f"{one.streams['streams']:7.0f}{tokens:10.0f}{one.cores:7.2f}{one.cores / max(tokens, 1) * 1e6:10.1f}"
        )
    ours = next((one for one in found if one.name == GATEWAY), None)
    for one in found:
        if ours and one is not ours:
            print(f"{GATEWAY} serves {ours.per_cpu_s / one.per_cpu_s:.2f} x the requests of {one.name} a CPU second")


def compare_workers(folder: Path, backends: list[str], options: argparse.Namespace) -> None:
    """Print what a second worker costs. The two pairs are measured in turns."""
    with (
        gateway(folder / "one", backends, 1, options.python) as one,
        gateway(folder / "other", backends, 1, options.python) as other,
        gateway(folder / "two", backends, 2, options.python) as two,
    ):
        script = folder / "post.lua"
        script.write_text(SCRIPT % two.token)
        apart, joined = list[float](), list[float]()
        for number in range(ROUNDS + 1):
            for found, pair in ((apart, (one, other)), (joined, (two, two))):
                rate = together(script, pair, max(1, options.seconds // 2))
                if number:  # the first round warms up
                    found.append(rate)
    ratio = statistics.median(ours / theirs for ours, theirs in zip(joined, apart, strict=True))
    print(
        f"{statistics.median(apart):.0f} requests a CPU second by two gateways of one worker, "
        f"{statistics.median(joined):.0f} by one gateway of two: with a core for each, two serve {2 * ratio:.2f} x one"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--litellm", default=shutil.which("litellm"))
    parser.add_argument("--sglang-router", default=shutil.which("sglang-router"))
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name, engines(Path(name)) as backends:
        folder = Path(name)
        alone, _ = load("rate", Contender("engine", 0, backends[0]), RATE, options.seconds)
        found = list(measured(folder, backends, options))
        show(found, alone)
        compare_workers(folder / "workers", backends, options)


def measured(folder: Path, backends: list[str], options: argparse.Namespace) -> Iterator[Figures]:
    """Measure the contenders that are installed, one after the other."""
    with gateway(folder / "gateway", backends, 1, options.python) as contender:
        yield measure(folder, contender, options)
    if shutil.which("haproxy"):
        with haproxy(folder / "haproxy", backends) as contender:
            yield measure(folder, contender, options)
    else:
        print("HAProxy is not installed, and left out: apt-get install haproxy")
    if options.sglang_router:
        with sglang_router(folder / "sglang", backends, options.sglang_router) as contender:
            yield measure(folder, contender, options)
    else:
        print("SGLang's router is not installed, and left out: --sglang-router PROGRAM says where it is")
    if options.litellm:
        with litellm(folder / "litellm", backends, options.litellm) as contender:
            yield measure(folder, contender, options, slow=True)
    else:
        print("LiteLLM is not installed, and left out: --litellm PROGRAM says where it is")


if __name__ == "__main__":
    main()
