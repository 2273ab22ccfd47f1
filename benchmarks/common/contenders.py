"""The two programs that benchmarks compare: Prometheus and the control plane, each with its own data folder.

Both are children of the benchmark on loopback. Their cost is CPU time from /proc, which does not include
waiting on a busy machine.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOKEN = "cp_0123abcd_" + "b" * 43
START_S = 60.0
NEWER_PROMETHEUS = ROOT / ".cache" / "prometheus" / "usr" / "bin" / "prometheus"
VICTORIA_METRICS = "victoria-metrics"


@dataclass(frozen=True)
class Contender:
    """A running program that speaks Prometheus's HTTP API."""

    name: str
    pid: int
    address: str
    token: str = ""

    def get(self, path: str, **parameters: object) -> Any:
        """Return the `data` of an answer of `/api/v1/…`."""
        return json.loads(self.raw(f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))["data"]

    def raw(self, path: str) -> bytes:
        """Return the body of any path."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with urllib.request.urlopen(urllib.request.Request(f"http://{self.address}{path}", headers=headers)) as answer:
            body: bytes = answer.read()
        return body

    def number(self, query: str, default: float = 0.0) -> float:
        """Return the value of an instant query with one sample."""
        result = self.get("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else default

    def pids(self) -> list[int]:
        """Return the process and all its descendants."""
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
        found = [self.pid]
        for pid in found:
            found.extend(child for child, parent in parents.items() if parent == pid)
        return found

    def cpu_s(self, *, children_only: bool = False) -> float:
        """Return the CPU seconds of all its processes, with those that have ended, or of its children that live."""
        total = 0
        for pid in self.pids()[children_only:]:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15] if pid == self.pid else fields[11:13]))
        return total / os.sysconf("SC_CLK_TCK")

    def await_children(self, seconds: float) -> None:
        """Wait until the processes that it started have used no CPU for `seconds`.

        A query worker that starts on a busy machine takes more CPU than a minute of scraping.
        """
        used = None
        while used != (now := self._cpu_of_children()):
            used = now
            time.sleep(seconds)

    def _cpu_of_children(self) -> dict[int, list[str]]:
        stats = {pid: Path(f"/proc/{pid}/stat").read_text() for pid in self.pids() if pid != self.pid}
        return {pid: stat.rpartition(")")[2].split()[11:13] for pid, stat in stats.items()}

    def memory(self) -> dict[str, int]:
        """Return the bytes of all its processes by kind: Rss, Pss, and the parts of Pss: Anon, File and Shmem."""
        totals = {"Rss": 0, "Pss": 0, "Pss_Anon": 0, "Pss_File": 0, "Pss_Shmem": 0}
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, _, rest = line.partition(":")
                if name in totals:
                    totals[name] += int(rest.split()[0]) * 1024
        return totals


def free_address() -> str:
    """Return a free loopback address, as host:port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def prometheus(
    folder: Path, addresses: Iterable[str], interval_s: float, *, rules: str = "", canonical: bool = False
) -> Iterator[Contender]:
    """Run Prometheus on targets of one job. `rules` is the text of a rule file. `canonical` also scrapes /canonical."""
    folder.mkdir(parents=True, exist_ok=True)
    where = {"static_configs": [{"targets": list(addresses)}]}
    jobs: list[dict[str, object]] = [{"job_name": "vllm", **where}]
    if canonical:
        relabel = [{"action": "labeldrop", "regex": "job"}]
        jobs.append({"job_name": "canonical", "metrics_path": "/canonical", "honor_labels": True, **where})
        jobs[-1]["metric_relabel_configs"] = relabel
    interval = {
        "scrape_interval": f"{interval_s:g}s",
        "scrape_timeout": f"{interval_s:g}s",
        "evaluation_interval": "15s",
    }
    (folder / "rules.json").write_text(rules or '{"groups": []}')
    config = {"global": interval, "rule_files": ["rules.json"], "scrape_configs": jobs}
    (folder / "prometheus.json").write_text(json.dumps(config))
    address = free_address()
    command = [
        prometheus_binary(),
        f"--config.file={folder / 'prometheus.json'}",
        f"--storage.tsdb.path={folder / 'data'}",
    ]
    command += ["--storage.tsdb.retention.time=1h", f"--web.listen-address={address}", "--log.level=error"]
    with running("prometheus", command, folder, address, "/-/ready") as contender:
        yield contender


def prometheus_binary() -> str:
    """Return the program to run as Prometheus."""
    return str(NEWER_PROMETHEUS) if NEWER_PROMETHEUS.exists() else "prometheus"


def prometheus_version() -> str:
    """Return the version of the program that is run as Prometheus."""
    said = subprocess.run([prometheus_binary(), "--version"], capture_output=True, text=True, check=True)
    return (said.stdout or said.stderr).split()[2].partition("+")[0]


@contextmanager
def victoria_metrics(folder: Path, addresses: Iterable[str], interval_s: float) -> Iterator[Contender]:
    """Run VictoriaMetrics, as one process, on targets of one job."""
    folder.mkdir(parents=True, exist_ok=True)
    interval = f"{interval_s:g}s"
    jobs = [{"job_name": "vllm", "static_configs": [{"targets": list(addresses)}]}]
    config = {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": jobs}
    (folder / "scrape.json").write_text(json.dumps(config))
    address = free_address()
    command = [VICTORIA_METRICS, f"-promscrape.config={folder / 'scrape.json'}", f"-httpListenAddr={address}"]
    # Its shortest retention is a day. By default it answers nothing about the last 30 seconds.
    command += [f"-storageDataPath={folder / 'data'}", "-retentionPeriod=1d", "-search.latencyOffset=0s"]
    with running("VictoriaMetrics", command, folder, address, "/health") as contender:
        yield contender


@contextmanager
def control_plane(
    folder: Path, addresses: Iterable[str], interval_s: float, *, rules: Iterable[str] = ("builtin:llm", "builtin:gpu")
) -> Iterator[Contender]:
    """Run `controlplane up` on targets of one engine."""
    fleet = {
        "fleet": {"name": "bench"},
        "scrape": {"interval": f"{interval_s:g}s"},
        "targets": [{"engine": "vllm", "addresses": list(addresses)}],
        "rules": list(rules),
    }
    with control_plane_of(folder, fleet) as contender:
        yield contender


@contextmanager
def control_plane_of(folder: Path, fleet: dict[str, Any]) -> Iterator[Contender]:
    """Run `controlplane up` on the content of a fleet.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fleet.yaml").write_text(json.dumps(fleet))
    address = free_address()
    command = [sys.executable, "-m", "controlplane", "up", "-c", str(folder / "fleet.yaml")]
    command += ["--listen", address, "--data-dir", str(folder / "data")]
    with running("controlplane", command, folder, address, "/readyz", token=TOKEN) as contender:
        yield contender


@contextmanager
def running(
    name: str, command: list[str], folder: Path, address: str, ready: str, token: str = ""
) -> Iterator[Contender]:
    """Run a program in a folder until the block ends. It has started when `ready` of its address answers 200.

    Raises SystemExit with the end of its log when it does not start.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CP_BOOTSTRAP_TOKEN": token}
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, stdout=file, env=environment, cwd=folder)
    contender = Contender(name, process.pid, address, token)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(contender, ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield contender
    finally:
        process.terminate()
        process.wait()


def _answers(contender: Contender, path: str) -> bool:
    try:
        contender.raw(path)
    except OSError:
        return False
    return True
