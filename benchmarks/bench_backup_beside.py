"""Effect of a running backup on scraping, on rules, and on the page cache of the same machine.

A real control plane scrapes 50 targets each second, with the exposition of a vLLM server, and evaluates a rule each
second. In turns of some seconds it is alone, runs a backup job over and over, and is alone again. Each run reads all
files: their times change before it, so nothing is known to be unchanged. Of that turn only what happened while a run
was under way counts. The benchmark prints, for each turn:

- **scrape lateness**: how far the arrivals of a target's scrapes are from one interval apart, in milliseconds, as the
  target sees it,
- **rule delay**: the age of the newest value of the targets' clock in the result of the rule, in seconds. One interval
  of scrapes and one of rules are in it,
- **weights in memory**: the share of another file, such as an engine's weights, that is still in the page cache.

    python benchmarks/bench_backup_beside.py --gigabytes 2 --seconds 30 --folder /var/tmp
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np

from collectors.samples import FloatArray

CAPTURE = Path(__file__).parent.parent / "tests" / "fixtures" / "vllm-0.32-llm.prom"
TARGETS = 50
WARM_S = 10
WEIGHTS = 256 << 20
TOKEN = "cp_0123456789ab_" + "a" * 64
FLEET = """
fleet: {{name: bench}}
scrape: {{interval: 1s, timeout: 900ms}}
evaluation_interval: 1s
rules: [rules.yml]
targets: [{{engine: vllm, addresses: {addresses}}}]
backup:
  repository: {repository}
  key_file: {key}
  jobs: [{{name: models, folder: {models}, schedule: "@yearly"}}]
"""
RULES = 'groups: [{name: bench, interval: 1s, rules: [{record: "bench:clock", expr: "max(bench_clock)"}]}]\n'


async def serve(port: int) -> None:
    """Serve the targets, one address of the loopback network each, and the times at which they were scraped."""
    body, arrivals = CAPTURE.read_text(), {}  # type: ignore[var-annotated]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                if b"/arrivals" in line:
                    text = json.dumps(arrivals)
                    arrivals.clear()
                else:
                    here = writer.get_extra_info("sockname")[0]
                    arrivals.setdefault(here, []).append(time.monotonic())
                    text = f"{body}\n# TYPE bench_clock gauge\nbench_clock {time.time()!r}\n"
                data = text.encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(data)}\r\n\r\n"
                writer.write(head.encode() + data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", port)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


class Bench:
    """A control plane with its targets, and a repository."""

    def __init__(self, home: Path, gigabytes: float) -> None:
        self.home, self.models, self.weights = home, home / "models", home / "weights"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CP_")},
            "CP_BOOTSTRAP_TOKEN": TOKEN,
            "CP_BACKUP_REPOSITORY": (home / "repository").as_uri(),
            "CP_BACKUP_KEY_FILE": str(home / "key"),
        }
        self.models.mkdir()
        self.size = int(gigabytes * 1e9)
        for number in range(4):
            noise(self.models / f"{number}.bin", self.size // 4)
        noise(self.weights, WEIGHTS)
        self.weights.read_bytes()
        subprocess.run([sys.executable, "-m", "controlplane", "backup", "init"], env=self.environment, check=True)
        self.url = ""
        self.runs = 0

    @contextmanager
    def running(self, port: int) -> Iterator[None]:
        """Run targets and control plane."""
        targets = subprocess.Popen([sys.executable, __file__, "--serve", str(port)], stdout=subprocess.PIPE)
        assert targets.stdout is not None and targets.stdout.readline() == b"ready\n"
        addresses = json.dumps([f"127.0.1.{number}:{port}" for number in range(1, TARGETS + 1)])
        text = FLEET.format(
            addresses=addresses,
            repository=(self.home / "repository").as_uri(),
            key=self.home / "key",
            models=self.models,
        )
        (self.home / "fleet.yaml").write_text(text)
        (self.home / "rules.yml").write_text(RULES)
        words = ["up", "-c", "fleet.yaml", "--data-dir", "data", "--listen", "127.0.0.1:0"]
        log = self.home / "log"
        with log.open("wb") as written:
            plane = subprocess.Popen(
                [sys.executable, "-m", "controlplane", *words], cwd=self.home, env=self.environment, stderr=written
            )
        try:
            while not (found := re.search(r"listening on (\S+:\d+)\n", log.read_text())):
                if plane.poll() is not None:
                    raise SystemExit(log.read_text())
                time.sleep(0.1)
            self.url = f"http://{found[1]}"
            yield
        finally:
            for process in (plane, targets):
                process.terminate()
                process.wait()

    def ask(self, path: str, *, post: bool = False) -> Any:
        """Return a JSON answer of the control plane."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = Request(self.url + path, data=b"{}" if post else None, headers=headers)
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def arrivals(self, port: int) -> dict[str, list[float]]:
        """Return when each target was scraped since the last call."""
        with urlopen(f"http://127.0.1.1:{port}/arrivals", timeout=30) as answer:
            found: dict[str, list[float]] = json.load(answer)
        return found

    def turn(self, port: int, seconds: float, *, backup: bool) -> dict[str, FloatArray]:
        """Watch for some seconds, and keep a backup running meanwhile. Return the lateness and the delays."""
        self.arrivals(port)
        delays, looks, end = [], [], time.monotonic() + seconds
        while time.monotonic() < end:
            counts = not backup or self._runs_now()
            looks += [time.monotonic()] if counts else []
            rows = self.ask("/api/v1/query?query=bench:clock")["data"]["result"]
            if rows and counts:
                delays.append(time.time() - float(rows[0]["value"][1]))
            time.sleep(0.2)
        at = np.array(looks)
        late = []
        for times in map(np.array, self.arrivals(port).values()):
            near = np.abs(at[:, None] - times[None, 1:]).min(axis=0) < 0.5
            late.append(np.abs(np.diff(times)[near] - 1.0) * 1000)
        if backup:
            self._end_of_run()
        return {"late": np.concatenate(late), "delay": np.array(delays)}

    def _runs_now(self) -> bool:
        """Ask for a run when none is open. Return whether one is under way."""
        opened = self._job()["open"]
        if opened is None:
            for file in self.models.iterdir():
                os.utime(file)
            self.ask("/cp/v1/backups/models/runs", post=True)
            self.runs += 1
        return opened is not None and opened["state"] == "running"

    def _end_of_run(self) -> None:
        while self._job()["open"] is not None:
            time.sleep(0.2)
        if (last := self._job()["last"])["outcome"] != "succeeded":
            raise SystemExit(f"the backup failed: {last['words']}")

    def _job(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("/cp/v1/backups")["items"][0]
        return found

    def resident(self) -> float:
        """Return the share of the weights that is in the page cache."""
        words = ["fincore", "--bytes", "--noheadings", "--output", "RES", str(self.weights)]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout) / WEIGHTS


def noise(path: Path, size: int) -> None:
    """Write incompressible bytes."""
    with path.open("wb") as file:
        for at in range(0, size, 1 << 24):
            file.write(os.urandom(min(1 << 24, size - at)))


def told(name: str, found: dict[str, FloatArray], resident: float) -> None:
    """Print one row."""
    late, delay = np.percentile(found["late"], [50, 99, 100]), np.percentile(found["delay"], [50, 99, 100])
    columns = [*(f"{value:8.1f}" for value in late), *(f"{value:8.2f}" for value in delay)]
    print(f"{name:16}{' '.join(columns)}  {resident:7.0%}  {len(found['late']):7d}")


def run(home: Path, gigabytes: float, seconds: float, port: int) -> None:
    """Print the three turns."""
    bench = Bench(home, gigabytes)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {TARGETS} targets; {gigabytes:g} GB in each backup")
    print(f"{'':16}{'scrape lateness, ms':^27}{'rule delay, s':^27}  weights")
    print(f"{'':16}" + " ".join(f"{word:>8}" for word in ("p50", "p99", "max") * 2) + "  in mem.  scrapes")
    with bench.running(port):
        time.sleep(WARM_S)
        for name, backup in (("alone", False), ("during backups", True), ("alone again", False)):
            told(name, bench.turn(port, seconds, backup=backup), bench.resident())
        last = bench._job()["last"]
    print(f"{bench.runs} runs; the last one took {last['seconds']:.1f} s")


def main() -> None:
    """Run the benchmark, or serve the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each turn")
    parser.add_argument("--folder", type=Path, help="where the files are written; a folder on a disk, not in memory")
    parser.add_argument("--port", type=int, default=9911)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve))
        return
    if shutil.which("fincore") is None:
        raise SystemExit("fincore is missing: install util-linux")
    with tempfile.TemporaryDirectory(dir=given.folder) as home:
        run(Path(home), given.gigabytes, given.seconds, given.port)


if __name__ == "__main__":
    main()
