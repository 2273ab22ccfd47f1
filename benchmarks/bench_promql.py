"""CPU seconds per query: the embedded engine and a real Prometheus on the same samples, in the same run.

Run: `python benchmarks/bench_promql.py [targets]`. Needs prometheus and promtool on the PATH. Prometheus's time is the
CPU time of its process for the HTTP request, JSON included. The engine's time includes writing the same JSON. Debian
stable has Prometheus 2.42.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from collectors.samples import FloatArray, Layout, Series, labels_of
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.series.series_store import SeriesStore

START, INTERVAL, ROWS = 1_700_000_007, 15, 240
END = START + INTERVAL * ROWS
BOUNDS = ("0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf")
REPEATS = 10

QUERIES = [
    "sum(requests_total)",
    "sum by (model) (rate(requests_total[5m]))",
    "histogram_quantile(0.99, sum by (le, model) (rate(latency_seconds_bucket[5m])))",
    "max by (instance) (temperature) > 85",
    "max_over_time(temperature[30m])",
    "topk(5, rate(requests_total[5m]))",
    'count_values("value", temperature)',
    'count_values by (instance, code) ("value", requests_total)',
    'label_replace(requests_total, "host", "$1", "instance", "(.*):.*")',
    'sum by (model) (rate(requests_total{code="500"}[5m])) / sum by (model) (rate(requests_total[5m]))',
]


def layouts(targets: int) -> list[Layout]:
    """Return one layout for each target: requests by code, a latency histogram, temperatures of eight GPUs."""
    result = []
    for target in range(targets):
        common = {"instance": f"10.0.0.{target}:8000", "model": f"m{target % 10}", "job": "vllm"}
        series = [Series("requests_total", labels_of({**common, "code": c})) for c in ("200", "400", "500")]
        series += [Series("latency_seconds_bucket", labels_of({**common, "le": le})) for le in BOUNDS]
        series += [Series("temperature", labels_of({**common, "gpu": str(g)})) for g in range(8)]
        result.append(Layout(tuple(series)))
    return result


def rows(seed: int) -> FloatArray:
    """Return the samples of one target: float64 of shape (ROWS, 19)."""
    rng = np.random.default_rng(seed)
    counters = rng.integers(0, 40, (ROWS, 3)).cumsum(axis=0) + 1000
    buckets = rng.integers(0, 9, (ROWS, len(BOUNDS))).cumsum(axis=0).cumsum(axis=1)
    return np.hstack((counters, buckets, rng.integers(60, 95, (ROWS, 8)))).astype(np.float64)


def write_openmetrics(path: Path, data: list[tuple[Layout, FloatArray]]) -> None:
    """Write every sample as OpenMetrics text for promtool. Values are float64 of shape (rows, series)."""
    families: dict[str, list[str]] = {}
    for layout, values in data:
        for column, series in enumerate(layout.raw):
            labels = ",".join(f'{k}="{v}"' for k, v in series.labels)
            families.setdefault(series.name, []).extend(
                f"{series.name}{{{labels}}} {value:g} {START + n * INTERVAL}"
                for n, value in enumerate(values[:, column].tolist())
            )
    path.write_text("\n".join([*(line for lines in families.values() for line in lines), "# EOF", ""]))


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_prometheus(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start Prometheus on the blocks in `folder`. Return its process and address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    options = ["--storage.tsdb.retention.time=100y", f"--web.listen-address={address}"]
    paths = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    process = subprocess.Popen(["prometheus", *paths, *options], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://{address}/-/ready").close()
            return process, address
        except OSError:
            time.sleep(0.1)
    raise SystemExit("prometheus did not start")


def per_query(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the mean CPU seconds of one call, after a call to warm up."""
    work()
    before = clock()
    for _ in range(REPEATS):
        work()
    return (clock() - before) / REPEATS


def main() -> None:
    """Print the time of each query in both programs, and the ratio."""
    targets = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    store = SeriesStore(retention_s=1e9)
    data = [(layout, rows(n)) for n, layout in enumerate(layouts(targets))]
    for n in range(ROWS):
        for number, (layout, values) in enumerate(data):
            store.append(f"t{number}", layout, (START + n * INTERVAL) * 1000, values[n])
    engine = PromqlEngine(store)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_openmetrics(folder / "samples", data)
        places = [str(folder / "samples"), str(folder / "data")]
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", *places]
        subprocess.run(command, check=True, capture_output=True)
        process, address = start_prometheus(folder)
        try:
            compare(engine, address, process.pid)
        finally:
            process.terminate()
            process.wait()


def compare(engine: PromqlEngine, address: str, pid: int) -> None:
    """Measure every query in both programs: at one instant, and over 40 minutes with a step of 10 s."""
    print(f"{'ours ms':>9} {'prom ms':>9} {'ours/prom':>9}")
    for query in QUERIES:
        instant = {"query": query, "time": END - 60}
        window = {"query": query, "start": END - 2460, "end": END - 60, "step": 10}
        for path, parameters in (("query", instant), ("query_range", window)):
            url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
            theirs = per_query(partial(lambda url: urllib.request.urlopen(url).read(), url), lambda: cpu_of(pid))
            if path == "query":
                ours = per_query(partial(_instant, engine, query), time.process_time)
            else:
                ours = per_query(partial(_range, engine, query), time.process_time)
            ratio = f"{ours / theirs:9.2f}" if theirs else "        -"
            print(f"{ours * 1e3:9.2f} {theirs * 1e3:9.2f} {ratio}  {path:11} {query}")


def _instant(engine: PromqlEngine, query: str) -> str:
    return json.dumps(engine.instant(query, END - 60).to_prometheus_json())


def _range(engine: PromqlEngine, query: str) -> str:
    return json.dumps(engine.range(query, END - 2460, END - 60, 10).to_prometheus_json())


if __name__ == "__main__":
    main()
