"""Effect of heavy queries on others: on the event loop that scrapes, and on another client's light query.

Run: `python benchmarks/bench_isolation.py [targets]`. A task wakes every 5 ms and records its delay: alone, and beside
four clients that send heavy queries, which run in a thread or in the workers, in turns. Prints the delays, and their
ratio thread / workers. For this result scraping and control share a process, and ad-hoc queries do not
(docs/adr/0005-one-process-and-a-query-worker.md).

Then one client runs eight heavy queries at a time while another repeats a light query: alone, beside them in its own
share, and, for comparison, in the share of the heavy queries. Last, the benchmark prints the time until a cancelled
heavy query has ended, by a notice to its worker and by killing the worker, and the memory of each worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import uvloop

from collectors.exposition.parser import parse
from collectors.samples import Layout, Series, labels_of
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.query.queries import Queries
from controlplane.metrics.query.workers.querier import WorkerQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.folder import Folder

CAPTURE = Path(__file__).parent.parent / "tests" / "fixtures" / "vllm-0.32-llm.prom"
START_MS, INTERVAL_MS, ROWS = 1_700_000_000_000, 15_000, 60
AT = (START_MS + ROWS * INTERVAL_MS) / 1000
LIGHT = 'sum by (instance) (rate({__name__="vllm:generation_tokens_total"}[5m]))'
LIGHT_S, SETTLE_S = 8.0, 4.0
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
    """Return the delay of each wake-up, in milliseconds."""
    late, end = [], time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        await asyncio.sleep(WAKE_S)
        late.append((time.perf_counter() - before - WAKE_S) * 1000)
    return late


async def beside(queries: Queries | None) -> tuple[list[float], int]:
    """Return the delays beside clients of `queries` (None: alone), and the number of answers."""
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


async def asked(queries: WorkerQuerier, asker: str, heavy: str | None) -> list[float]:
    """Return the milliseconds of light queries of `asker` beside eight heavy queries of `heavy` (None: alone)."""
    done = asyncio.Event()

    async def client(number: int) -> None:
        while not done.is_set():
            with contextlib.suppress(QueryError):
                await queries.range_json(HEAVY[number % 2], AT - 600, AT, 15, asker=heavy or "")

    clients = [asyncio.create_task(client(n)) for n in range(8 if heavy else 0)]
    if heavy:
        await asyncio.sleep(SETTLE_S)
    took, end = [], time.perf_counter() + LIGHT_S
    while (before := time.perf_counter()) < end:
        await queries.instant_json(LIGHT, AT, asker=asker)
        took.append((time.perf_counter() - before) * 1000)
        await asyncio.sleep(0.02)
    done.set()
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return took


async def ending(queries: WorkerQuerier, kill: bool) -> float:
    """Return the seconds from the cancellation of a heavy query to the answer of the next light one."""
    heavy = asyncio.create_task(queries.range_json(HEAVY[0], AT - 600, AT, 15, asker="a"))
    await asyncio.sleep(1.0)
    before = time.perf_counter()
    heavy.cancel()
    if kill:
        for worker in queries._pool._workers:
            worker.kill()
    while queries.report().running:  # noqa: ASYNC110 - an outside observer has no event
        await asyncio.sleep(0.001)
    await queries.instant_json(LIGHT, AT, asker="b")
    return time.perf_counter() - before


def memory(pid: int) -> tuple[float, float]:
    """Return resident and proportional memory of a process, in MB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {line.split()[0]: int(line.split()[1]) / 1024 for line in rollup.splitlines()[1:]}
    return found["Rss:"], found["Pss:"]


async def shares(worker: WorkerQuerier) -> None:
    """Print the effect of one client's heavy queries on another client, and the cost of workers."""
    print(f"a light query in ms\n{'':22}{'p50':>8}{'p99':>8}{'max':>8}{'asked':>8}")
    for name, asker, heavy in (("alone", "b", None), ("beside, another's", "b", "a"), ("beside, its own", "a", "a")):
        took = await asked(worker, asker, heavy)
        p50, p99, most = np.percentile(took, [50, 99, 100])
        print(f"{name:22}{p50:8.1f}{p99:8.1f}{most:8.1f}{len(took):8}")
    for one in worker._pool._workers:
        print("a worker holds {:.0f} MB, {:.0f} MB with shared pages divided".format(*memory(one.process.pid)))
    for name, kill in (("told", False), ("killed", True)):
        took = [await ending(worker, kill) for _ in range(5)]
        print(f"a heavy query that is {name}: light answer after {np.median(took):.2f} s, {max(took):.2f} at most")


async def main() -> None:
    """Print one line for each place of evaluation, and then `shares`."""
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
        found: dict[str, tuple[list[float], int]] = {"alone": ([], 0), "thread": ([], 0), "workers": ([], 0)}
        for _ in range(ROUNDS):
            for place, asked in (("alone", None), ("thread", thread), ("workers", worker)):
                late, answered = await beside(asked)
                found[place] = (found[place][0] + late, found[place][1] + answered)
        print(f"{store.stats().series:,} series; the loop's lateness in ms")
        print(f"{'':8}{'p50':>8}{'p99':>8}{'max':>8}{'queries':>9}")
        tails = {}
        for place, (late, answered) in found.items():
            p50, tails[place], most = np.percentile(late, [50, 99, 100])
            print(f"{place:8}{p50:8.2f}{tails[place]:8.2f}{most:8.1f}{answered:9}")
        print(f"thread / workers at p99: {tails['thread'] / tails['workers']:.1f}")
        await shares(worker)
        worker.close()
        await worker.wait_closed()
        folder.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
