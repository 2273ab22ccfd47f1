"""What heavy queries do to the event loop that scrapes: evaluated in a thread of this process, and in the query worker.

Run: `python benchmarks/bench_isolation.py [targets]`. A task wakes every 5 ms and notes how late it is: alone, and
beside four clients that ask heavy queries one after the other, in a thread and in the worker, in turns. Prints the
lateness, and thread / worker as a ratio. This decided that scraping and control share a process, and ad-hoc queries
do not (docs/adr/0005-one-process-and-a-query-worker.md).
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import uvloop

from collectors.exposition import parse
from collectors.samples import Layout, Series, labels_of
from controlplane.errors import QueryError
from controlplane.metrics.engine import PromqlEngine
from controlplane.metrics.querier import MetricsQuerier
from controlplane.metrics.queries import Queries
from controlplane.metrics.series_store import SeriesStore
from controlplane.metrics.storage.folder import Folder
from controlplane.metrics.workers.querier import WorkerQuerier

CAPTURE = Path(__file__).parent.parent / "tests" / "fixtures" / "vllm-0.32-llm.prom"
START_MS, INTERVAL_MS, ROWS = 1_700_000_000_000, 15_000, 60
AT = (START_MS + ROWS * INTERVAL_MS) / 1000
WAKE_S, ROUND_S, ROUNDS, CLIENTS = 0.005, 4.0, 3, 4
HEAVY = (
    'count(label_replace({__name__=~"vllm:.*"}, "x", "$1", "instance", "(.*):.*"))',
    'sum by (instance) (last_over_time({__name__=~"vllm:.*_bucket"}[10m]))',
)


def fill(store: SeriesStore, targets: int) -> None:
    """Store 15 minutes of the vLLM capture from many targets."""
    parsed = parse(CAPTURE.read_bytes())
    for target in range(targets):
        labels = {"job": "vllm", "instance": f"10.0.{target // 250}.{target % 250}:8000"}
        layout = Layout(tuple(Series(s.name, labels_of({**dict(s.labels), **labels})) for s in parsed.series))
        for row in range(ROWS):
            store.append(f"t{target}", layout, START_MS + row * INTERVAL_MS, parsed.values + row)


async def lateness(seconds: float) -> list[float]:
    """Return how late each wake-up was, in milliseconds."""
    late, end = [], time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        await asyncio.sleep(WAKE_S)
        late.append((time.perf_counter() - before - WAKE_S) * 1000)
    return late


async def beside(queries: Queries | None) -> tuple[list[float], int]:
    """Return the lateness beside clients of `queries` (None: alone), and how many queries were answered."""
    answered, done = 0, asyncio.Event()

    async def client(number: int) -> None:
        nonlocal answered
        assert queries is not None
        while not done.is_set():
            try:
                await queries.instant_json(HEAVY[number % len(HEAVY)], AT)
            except QueryError as error:
                raise SystemExit(str(error)) from error
            answered += 1

    clients = [asyncio.create_task(client(n)) for n in range(CLIENTS if queries else 0)]
    late = await lateness(ROUND_S)
    done.set()
    await asyncio.gather(*clients)
    return late, answered


async def main() -> None:
    """Print one line a place of evaluation."""
    targets = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as name:
        store = SeriesStore.in_folder(Path(name), 86_400.0, None, 86_400.0)
        folder = store.space
        assert isinstance(folder, Folder)
        fill(store, targets)
        thread = MetricsQuerier(PromqlEngine(store), workers=CLIENTS)
        worker = WorkerQuerier(thread, name, lambda: True)
        for queries in (thread, worker):
            for expr in HEAVY:
                await queries.instant_json(expr, AT)
        found: dict[str, tuple[list[float], int]] = {"alone": ([], 0), "thread": ([], 0), "worker": ([], 0)}
        for _ in range(ROUNDS):
            for place, queries in (("alone", None), ("thread", thread), ("worker", worker)):
                late, answered = await beside(queries)
                found[place] = (found[place][0] + late, found[place][1] + answered)
        print(f"{store.stats().series:,} series; the loop's lateness in ms")
        print(f"{'':8}{'p50':>8}{'p99':>8}{'max':>8}{'queries':>9}")
        tails = {}
        for place, (late, answered) in found.items():
            p50, tails[place], most = np.percentile(late, [50, 99, 100])
            print(f"{place:8}{p50:8.2f}{tails[place]:8.2f}{most:8.1f}{answered:9}")
        print(f"thread / worker at p99: {tails['thread'] / tails['worker']:.1f}")
        worker.close()
        await worker.wait_closed()
        folder.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
