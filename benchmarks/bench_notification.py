"""From a breach to the message at a receiver, at 1,000 scraped targets, beside Prometheus with Alertmanager.

    python benchmarks/bench_notification.py [--targets 1000] [--breaches 5] [--interval 15]

The targets are those of benchmarks/common/fleet_of_files.py. One more target has a metric that breaches a rule, each
time with another label, so each breach is an alert and a group of its own (`group_wait: 0s`). Measured is the time
from the evaluation that fires, which the alert's start tells, to the message: at a Slack server of this script for the
control plane, and at a webhook for Alertmanager. Prometheus evaluates the same rule, every five seconds as well.
"""

from __future__ import annotations

import argparse
import http.server
import json
import math
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from common.contenders import (
    Contender,
    control_plane_of,
    free_address,
    prometheus_binary,
    prometheus_version,
    running,
)
from common.fleet_of_files import fleet_of_files

EVALUATE_S = 5.0
RULES = {
    "groups": [
        {
            "name": "breaches",
            "interval": f"{EVALUATE_S:g}s",
            "rules": [{"alert": "Breach", "expr": "breach > 0", "labels": {"severity": "critical"}}],
        }
    ]
}
PATIENCE_S = 120.0


@dataclass
class World:
    """The target that breaches, and the receivers. Times are unix seconds."""

    breaches: int = 0
    came: dict[str, float] = field(default_factory=dict)
    """When the message about each breach came."""

    def noted(self, body: bytes) -> None:
        """Note the breaches that a message is about, once each."""
        now = time.time()
        for number in range(1, self.breaches + 1):
            if f"breach-{number}-" in body.decode() and f"breach-{number}-" not in self.came:
                self.came[f"breach-{number}-"] = now

    @property
    def metrics(self) -> bytes:
        """The body of the target's /metrics."""
        lines = "".join(f'breach{{which="breach-{number}-"}} 1\n' for number in range(1, self.breaches + 1))
        engine = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 0\n"
        return f"# TYPE breach gauge\n{lines}{engine}".encode()


@contextmanager
def served() -> Iterator[tuple[World, str]]:
    """Serve the target, Slack's API and a webhook until the block ends. Yield the world and its host:port."""
    world = World()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(world.metrics, "text/plain; version=0.0.4")

        def do_POST(self) -> None:
            world.noted(self.rfile.read(int(self.headers["Content-Length"])))
            told = {"ok": True, "channel": "C0123456789", "ts": f"{time.time():.6f}"}
            self._answer(json.dumps(told).encode(), "application/json")

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield world, f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def ours(folder: Path, addresses: list[str], world: str, interval: str) -> Iterator[Contender]:
    """Run a control plane with the packs, the rule and a Slack notifier."""
    folder.mkdir(parents=True)
    (folder / "rules.yml").write_text(json.dumps(RULES))
    (folder / "token").write_text("xoxb-0")
    slack = {
        "name": "ops",
        "type": "slack",
        "channel": "C0123456789",
        "token_file": "token",
        "base_url": f"http://{world}/api/",
        "chart": False,
    }
    fleet = {
        "fleet": {"name": "bench"},
        "scrape": {"interval": interval},
        "targets": [{"engine": "vllm", "addresses": [*addresses, world]}],
        "rules": ["builtin:llm", "rules.yml"],
        "notifiers": [slack, {"name": "log", "type": "log"}],
        "route": {
            "receiver": "log",
            "routes": [
                {
                    "matchers": ["alertname=Breach"],
                    "receiver": "ops",
                    "group_by": ["which"],
                    "group_wait": "0s",
                }
            ],
        },
    }
    with control_plane_of(folder, fleet) as contender:
        yield contender


@contextmanager
def theirs(folder: Path, addresses: list[str], world: str, interval: str) -> Iterator[Contender]:
    """Run Prometheus and an Alertmanager with the rule and a webhook."""
    folder.mkdir(parents=True)
    manager, address = free_address(), free_address()
    route = {"receiver": "ops", "group_by": ["which"], "group_wait": "0s"}
    receivers = [{"name": "ops", "webhook_configs": [{"url": f"http://{world}/"}]}]
    (folder / "am.yml").write_text(json.dumps({"route": route, "receivers": receivers}))
    (folder / "rules.json").write_text(json.dumps(RULES))
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": f"{EVALUATE_S:g}s"},
        "rule_files": ["rules.json"],
        "scrape_configs": [{"job_name": "vllm", "static_configs": [{"targets": [*addresses, world]}]}],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager]}]}]},
    }
    (folder / "prometheus.json").write_text(json.dumps(config))
    command = ["prometheus-alertmanager", f"--config.file={folder / 'am.yml'}", "--cluster.listen-address="]
    command += [f"--storage.path={folder / 'am'}", f"--web.listen-address={manager}", "--log.level=error"]
    other = [prometheus_binary(), f"--config.file={folder / 'prometheus.json'}", "--log.level=error"]
    other += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    with (
        running("Alertmanager", command, folder, manager, "/-/ready"),
        running("Prometheus", other, folder, address, "/-/ready") as contender,
    ):
        yield contender


def measured(contender: Contender, world: World, breaches: int, interval_s: float) -> list[float]:
    """Return the seconds from the evaluation that fired to the message, for each breach."""
    world.breaches, world.came = 0, {}
    until = time.monotonic() + PATIENCE_S
    while contender.number("count(up == 1)") < 1 and time.monotonic() < until:
        time.sleep(1.0)
    time.sleep(2 * interval_s)
    found = []
    for number in range(1, breaches + 1):
        world.breaches = number
        name = f"breach-{number}-"
        until = time.monotonic() + PATIENCE_S
        while name not in world.came:
            if time.monotonic() > until:
                raise SystemExit(f"{contender.name}: no message about a breach came within {PATIENCE_S:g} s")
            time.sleep(0.01)
        alerts: list[dict[str, Any]] = contender.get("alerts")["alerts"]
        (alert,) = [each for each in alerts if each["labels"].get("which") == name]
        found.append(world.came[name] - datetime.fromisoformat(alert["activeAt"].replace("Z", "+00:00")).timestamp())
    return found


def main() -> None:
    """Run both and print their times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--breaches", type=int, default=5)
    parser.add_argument("--interval", type=float, default=15.0)
    parser.add_argument("--port", type=int, default=9900)
    options = parser.parse_args()
    said = subprocess.run(["prometheus-alertmanager", "--version"], capture_output=True, text=True, check=True)
    peer = (
        f"Prometheus {prometheus_version()}, Alertmanager {(said.stdout or said.stderr).split()[2].partition('+')[0]}"
    )
    middles = []
    print(
        f"{options.targets} targets every {options.interval:g} s, {options.breaches} breaches: evaluation to message, s"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet_of_files(options.targets, options.interval, options.port) as addresses,
        served() as (world, address),
    ):
        for name, run in (("control plane", ours), (peer, theirs)):
            with run(Path(folder) / name[:7], addresses, address, f"{options.interval:g}s") as contender:
                times = measured(contender, world, options.breaches, options.interval)
            middles.append(statistics.median(times))
            print(f"  {name:42} median {middles[-1]:6.3f}   longest {max(times):6.3f}")
    print(f"  ratio of the medians {middles[0] / middles[1] if middles[1] else math.nan:.2f}")


if __name__ == "__main__":
    main()
