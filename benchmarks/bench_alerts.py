"""Ten thousand alerts in five hundred groups: the pass from rule to message, and the way to a receiver.

    python benchmarks/bench_alerts.py [--alerts 10000] [--groups 500] [--repeats 3]

First, one process evaluates a rule with so many results and dispatches them through a tree of routes: CPU seconds of a
pass in which nothing changes, and of one in which every value does, and memory. Then the control plane and Debian's
Alertmanager each get the same alerts over `/api/v2/alerts`, with the same routes, and send them to a webhook of this
script: time from the first request to the first message and to the last, and CPU seconds until then. Last, a control
plane with these alerts is asked for them: seconds until its list, its page and `alerts list` are there.
"""

from __future__ import annotations

import argparse
import asyncio
import http.server
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common.contenders import ROOT, Contender, control_plane_of, free_address, running

from alerts.dispatch import Dispatcher, Stages
from alerts.evaluate import GroupEvaluator
from alerts.interfaces import VectorSample
from alerts.routing.config import read_alertmanager
from alerts.rules import parse_rules
from alerts.template import Surroundings
from collectors.samples import labels_of
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.alerting.mirror import Mirror
from controlplane.store.database import Database
from controlplane.store.migrate import migrate

RULE = """\
groups:
- name: g
  rules:
  - alert: Hot
    expr: temperature > 85
    labels: {severity: warning}
    annotations: {summary: '{{ $labels.node }} has {{ $value }}'}
"""
TEAMS = 20
BATCH = 1000
PATIENCE_S = 180.0


def labels(number: int, groups: int) -> dict[str, str]:
    """Return the labels of one series."""
    group = number % groups
    return {"node": f"n{number}", "rack": f"r{group}", "team": f"t{group % TEAMS}"}


def routes(url: str = "http://127.0.0.1:1") -> str:
    """Return an alertmanager.yml: a route and a receiver for each team, and an inhibition."""
    teams = [
        {"matchers": [f'team="t{number}"'], "receiver": f"t{number}", "group_by": ["rack"]} for number in range(TEAMS)
    ]
    receivers = [
        {"name": name, "webhook_configs": [{"url": f"{url}/{name}"}]}
        for name in ("ops", *(f"t{number}" for number in range(TEAMS)))
    ]
    inhibit = {"source_matchers": ["severity=critical"], "target_matchers": ["severity=warning"], "equal": ["rack"]}
    waits = {"group_wait": "1s", "group_interval": "1m", "repeat_interval": "4h"}
    root = {"receiver": "ops", "group_by": ["rack"], **waits, "routes": teams}
    return json.dumps({"route": root, "receivers": receivers, "inhibit_rules": [inhibit]})


# --- the pass in one process


class Hot:
    """A querier whose every series is hot. `moved` changes all values."""

    def __init__(self, alerts: int, groups: int) -> None:
        self._labels = [labels_of(labels(number, groups)) for number in range(alerts)]
        self.moved = 0.0

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        """Return all series."""
        return [VectorSample(each, 90.0 + self.moved) for each in self._labels]


class Now:
    """A clock that the benchmark moves."""

    time = 1_000_000.0

    def now(self) -> float:
        """Return unix seconds."""
        return self.time


async def passes(alerts: int, groups: int, repeats: int, folder: Path) -> dict[str, float]:
    """Return CPU seconds of a pass, by kind, and the peak of resident memory in MB."""
    database = Database(f"sqlite:///{folder}/a.db")
    migrate(database)
    (group,) = parse_rules(RULE, "rules.yml")
    hot, clock = Hot(alerts, groups), Now()
    store = SeriesStore(retention_s=60.0)
    mirror = Mirror()
    log, groups_log = SqlAlertLog(database, mirror=mirror), SqlGroupLog(database, mirror=mirror)
    evaluator = GroupEvaluator(group, hot, log, store, clock, around=Surroundings())
    routing = read_alertmanager(routes(), "am.yml")
    stages = Stages(routing, {name: (name,) for name in routing.receivers}, "http://c")
    dispatcher = Dispatcher(stages, groups_log, clock)

    async def one() -> tuple[float, float]:
        clock.time += 15.0
        started = time.process_time()
        await evaluator.evaluate()
        evaluated = time.process_time()
        await dispatcher.tick(changed=True)
        return evaluated - started, time.process_time() - evaluated

    first = await one()
    await one()  # sends the first messages
    same = [await one() for _ in range(repeats)]
    moved = []
    for _ in range(repeats):
        hot.moved += 1.0
        moved.append(await one())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"first evaluation": first[0], "first dispatch": first[1], "peak MB": peak}
    for name, each in (("unchanged", same), ("all values changed", moved)):
        found[f"{name}: evaluation"] = statistics.median(one[0] for one in each)
        found[f"{name}: dispatch"] = statistics.median(one[1] for one in each)
    database.close()
    return found


# --- beside Alertmanager


@dataclass
class Hook:
    """A webhook that notes when each message came, and how many alerts it had."""

    came: list[tuple[float, int]] = field(default_factory=list)

    @property
    def alerts(self) -> int:
        """Number of alerts in all messages."""
        return sum(count for _, count in self.came)


@contextmanager
def hook() -> Iterator[tuple[Hook, str]]:
    """Serve a webhook until the block ends; yield it and its address."""
    found = Hook()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.came.append((time.perf_counter(), len(json.loads(body)["alerts"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 512  # with five, the default, the kernel drops connections of a burst for a second

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def alertmanager(folder: Path, url: str) -> Iterator[Contender]:
    """Run Debian's Alertmanager alone."""
    folder.mkdir(parents=True)
    (folder / "am.yml").write_text(routes(url))
    address = free_address()
    command = ["prometheus-alertmanager", f"--config.file={folder / 'am.yml'}", "--cluster.listen-address="]
    command += [f"--storage.path={folder / 'data'}", f"--web.listen-address={address}", "--log.level=error"]
    with running("Alertmanager", command, folder, address, "/-/ready") as contender:
        yield contender


@contextmanager
def ours(folder: Path, url: str) -> Iterator[Contender]:
    """Run a control plane that routes by the same file."""
    folder.mkdir(parents=True)
    (folder / "am.yml").write_text(routes(url))
    fleet = {"fleet": {"name": "bench"}, "rules": [], "notifications": {"alertmanager_config": "am.yml"}}
    with control_plane_of(folder, fleet) as contender:
        yield contender


def post(contender: Contender, alerts: int, groups: int) -> None:
    """Send all alerts, as a Prometheus does: in requests of BATCH."""
    now = datetime.now(UTC)
    for start in range(0, alerts, BATCH):
        body = [
            {
                "labels": {"alertname": "Hot", "severity": "warning", **labels(number, groups)},
                "annotations": {"summary": f"n{number} is hot"},
                "startsAt": now.isoformat(),
                "endsAt": (now + timedelta(hours=1)).isoformat(),
            }
            for number in range(start, min(alerts, start + BATCH))
        ]
        headers = {"Content-Type": "application/json"}
        if contender.token:
            headers["Authorization"] = f"Bearer {contender.token}"
        url = f"http://{contender.address}/api/v2/alerts"
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)).close()


def beside(run: Callable[[Path, str], object], folder: Path, alerts: int, groups: int) -> tuple[float, float, float]:
    """Return seconds to the first and to the last message, and CPU seconds until then."""
    with hook() as (got, url), run(folder, url) as contender:  # type: ignore[attr-defined]
        time.sleep(3.0)
        cpu, started = contender.cpu_s(), time.perf_counter()
        post(contender, alerts, groups)
        while got.alerts < alerts and time.perf_counter() - started < PATIENCE_S:
            time.sleep(0.05)
        if got.alerts < alerts:
            raise SystemExit(f"{contender.name}: {got.alerts} of {alerts} alerts came within {PATIENCE_S:g} s")
        times = [at - started for at, _ in got.came]
        return min(times), max(times), contender.cpu_s() - cpu


# --- what people ask for


def asked(folder: Path, alerts: int, groups: int, repeats: int) -> dict[str, float]:
    """Return median seconds of the ways to look at that many alerts."""
    with hook() as (got, url), ours(folder, url) as contender:
        post(contender, alerts, groups)
        deadline = time.perf_counter() + PATIENCE_S
        while got.alerts < alerts and time.perf_counter() < deadline:
            time.sleep(0.05)
        address = f"http://{contender.address}"
        headers = {"Authorization": f"Bearer {contender.token}"}
        command = [sys.executable, "-m", "controlplane", "alerts", "list", "--url", address]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CP_TOKEN": contender.token}

        def get(path: str) -> Callable[[], object]:
            return lambda: urllib.request.urlopen(urllib.request.Request(address + path, headers=headers)).read()

        ways: dict[str, Callable[[], object]] = {
            "GET /cp/v1/alerts": get("/cp/v1/alerts"),
            "GET /alerts, the page": get("/alerts"),
            "controlplane alerts list": lambda: subprocess.run(
                command, env=environment, check=True, capture_output=True
            ),
            "GET /api/v2/alerts, all": get("/api/v2/alerts"),
            "GET /api/v2/alerts, of a team": get("/api/v2/alerts?filter=team%3Dt1"),
        }
        return {name: statistics.median(_seconds(way) for _ in range(repeats)) for name, way in ways.items()}


def _seconds(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def main() -> None:
    """Run both parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--groups", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(passes(options.alerts, options.groups, options.repeats, Path(folder)))
    print(f"{options.alerts} alerts in {options.groups} groups, CPU seconds of one core:")
    for name, value in found.items():
        print(f"  {name:32} {value:8.2f}")
    said = subprocess.run(["prometheus-alertmanager", "--version"], capture_output=True, text=True, check=True)
    print(f"beside Alertmanager {(said.stdout or said.stderr).split()[2].partition('+')[0]}: seconds")
    print(f"  {'':14}{'first message':>14}{'all messages':>14}{'CPU':>8}")
    rows: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.repeats):
            for name, run in (("control plane", ours), ("Alertmanager", alertmanager)):
                there = Path(folder) / f"{name}{number}".replace(" ", "")
                rows.setdefault(name, []).append(beside(run, there, options.alerts, options.groups))
    middle = {name: [statistics.median(row[at] for row in each) for at in range(3)] for name, each in rows.items()}
    for name, (first, last, cpu) in middle.items():
        print(f"  {name:14}{first:14.2f}{last:14.2f}{cpu:8.2f}")
    one, other = middle["control plane"], middle["Alertmanager"]
    print(f"  {'ratio':14}" + "".join(f"{a / b:{w}.2f}" for a, b, w in zip(one, other, (14, 14, 8), strict=True)))
    with tempfile.TemporaryDirectory() as folder:
        looks = asked(Path(folder) / "asked", options.alerts, options.groups, max(3, options.repeats))
    print(f"seconds to look at {options.alerts} alerts:")
    for name, value in looks.items():
        print(f"  {name:32} {value:8.2f}")


if __name__ == "__main__":
    main()
