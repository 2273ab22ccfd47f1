"""Cost of the gateway beside HAProxy and the LiteLLM proxy, in one run on one machine.

    python benchmarks/bench_gateway.py [--seconds 8] [--streams 1000] [--litellm PROGRAM]

All of them pass requests to the same engines on loopback, with weights of 95 to 5 over two versions. The gateway checks
a key, keeps the limits of key, tenant and model, counts metrics, and writes usage records. LiteLLM checks its master
key and counts metrics. HAProxy does neither. For each it prints:

- small completions for each second of CPU time of its processes, from /proc. The wall clock says little where engines,
  clients and proxy share two cores;
- latency at 500 requests a second, as p50 and p99, less those of the engine alone;
- the share of one core that open streams of 20 tokens a second take.

wrk and haproxy are Debian's; LiteLLM has an environment of its own (`pip install 'litellm[proxy]' prometheus-client`).
A contender that is not installed is left out, and the output says so.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from contenders import Contender
from gateway_contenders import GATEWAY, engines, gateway, haproxy, litellm

LOAD = Path(__file__).parent / "gateway_load.py"
RATE = 500
SCRIPT = """
wrk.method = "POST"
wrk.body = '{"model": "chat", "max_tokens": 16, "messages": [{"role": "user", "content": "What is a control plane?"}]}'
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer %s"
"""


@dataclass
class Figures:
    """The figures of one contender."""

    name: str
    part: int = 1
    """The rate and the number of streams are divided by this."""
    per_cpu_s: float = 0.0
    per_s: float = 0.0
    latency: dict[str, float] = field(default_factory=dict)
    streams: dict[str, float] = field(default_factory=dict)
    cores: float = 0.0


def throughput(folder: Path, contender: Contender, seconds: float, connections: int) -> tuple[float, float]:
    """Return small completions a second of CPU, and a second of the wall clock."""
    script = folder / "post.lua"
    script.write_text(SCRIPT % contender.token)
    command = ["wrk", "-t1", f"-c{connections}", "-s", str(script), f"http://{contender.address}/v1/chat/completions"]
    subprocess.run([*command, "-d1"], capture_output=True, check=True)
    before = contender.cpu_s()
    said = subprocess.run([*command, f"-d{seconds:g}"], capture_output=True, check=True, text=True).stdout
    spent = contender.cpu_s() - before
    if "Non-2xx" in said or "Socket errors" in said:
        print(f"{contender.name}: some requests failed:\n{said}")
    found = re.search(r"(\d+) requests in ([0-9.]+)s", said)
    assert found, said
    requests = int(found[1])
    return requests / max(spent, 0.01), requests / float(found[2])


def load(kind: str, contender: Contender, amount: int, seconds: float) -> tuple[dict[str, float], float]:
    """Run gateway_load.py; return what it printed, and the share of a core that the contender used."""
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
    figures.per_cpu_s, figures.per_s = throughput(folder, contender, options.seconds, 32 // figures.part)
    figures.latency, _ = load("rate", contender, RATE // figures.part, options.seconds)
    figures.streams, figures.cores = load("streams", contender, options.streams // figures.part, options.seconds)
    return figures


def show(found: list[Figures], alone: dict[str, float]) -> None:
    """Print one row for each contender."""
    print(f"engine alone at {RATE}/s: p50 {alone['p50_ms']:.2f} ms, p99 {alone['p99_ms']:.2f} ms")
    print("             requests        | added at a rate       | streams")
    print("             a CPU s     a s |   rate   p50    p99   |   open  tokens/s  cores  µs a token")
    for one in found:
        p50, p99 = (one.latency[name] - alone[name] for name in ("p50_ms", "p99_ms"))
        tokens = one.streams["tokens_per_second"]
        print(
            f"{one.name:12}{one.per_cpu_s:8.0f}{one.per_s:8.0f} |{RATE // one.part:6.0f}{p50:7.2f}{p99:7.2f} ms |"
            f"{one.streams['streams']:7.0f}{tokens:10.0f}{one.cores:7.2f}{one.cores / max(tokens, 1) * 1e6:10.1f}"
        )
    ours = next((one for one in found if one.name == GATEWAY), None)
    for one in found:
        if ours and one is not ours:
            print(f"{GATEWAY} serves {ours.per_cpu_s / one.per_cpu_s:.2f} x the requests of {one.name} a CPU second")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--litellm", default=shutil.which("litellm"))
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed: apt-get install wrk")
    found = []
    with tempfile.TemporaryDirectory() as name, engines(Path(name)) as backends:
        folder = Path(name)
        alone, _ = load("rate", Contender("engine", 0, backends[0]), RATE, options.seconds)
        with gateway(folder / "gateway", backends) as contender:
            found.append(measure(folder, contender, options))
        if shutil.which("haproxy"):
            with haproxy(folder / "haproxy", backends) as contender:
                found.append(measure(folder, contender, options))
        else:
            print("HAProxy is not installed, and left out: apt-get install haproxy")
        if options.litellm:
            with litellm(folder / "litellm", backends, options.litellm) as contender:
                found.append(measure(folder, contender, options, slow=True))
        else:
            print("LiteLLM is not installed, and left out: --litellm PROGRAM says where it is")
    show(found, alone)


if __name__ == "__main__":
    main()
