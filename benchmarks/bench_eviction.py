"""How long an eviction keeps the event loop from its work, while 300 targets go on being scraped.

    python benchmarks/bench_eviction.py [--targets 300] [--dir FOLDER]

A task wakes every 5 ms, and what it comes late is a stall. On the same loop rows of as many living targets arrive, and
one target changes its layout some six times a second; beside it a thread tidies, as in `controlplane up`. Lines and
series are those of benchmarks/common/fleet_of_files.py. Printed for each kind of eviction: the longest stall, the 99th
percentile, and how long the eviction took. The target is 50 ms. If other programs use the processor too, run it as root
under `chrt -f 5`, so that they do not add to the stalls.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import uvloop
from common.fleet_of_files import Bodies

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.interner import Interner
from collectors.exposition.parser import parse
from collectors.samples import Layout
from collectors.target import Target
from controlplane.app.interpreter import set_up_interpreter
from controlplane.metrics.series import tidy as tidying
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.folder import Folder

WAKE_S = 0.005
ROW_S = 5.0 / 300
"""Between two rows: 300 targets every 5 s."""
RETENTION_S = 3600.0
START_MS = 1_700_000_000_000
LATER_MS = START_MS + int(2 * RETENTION_S * 1000)
LAYOUTS = 600
"""Of one target: more than 200,000 columns, so that its oldest layouts are dropped."""


@dataclass
class Fleet:
    """A store with targets that are gone, and targets that live."""

    store: SeriesStore
    tidy: Tidy
    living: list[tuple[str, Layout]]
    changing: Iterator[Layout]
    """Of one target that changes its labels with every row."""


def layouts_of(targets: int, generation: str) -> list[tuple[str, Layout]]:
    """Return source and layout of each target."""
    catalogue, interner, bodies = load_catalogue(), Interner(), Bodies(targets, 5.0)
    bodies.advance()
    made = []
    for n in range(targets):
        instance = f"{generation}-{n}:8000"
        target = Target("vllm", f"http://{instance}/metrics", "vllm", instance)
        said = parse(bodies.text(n).encode())
        made.append((f"scrape:{instance}", canonical_layout(said.series, said.metadata, target, catalogue, interner)))
    return made


def changing_layouts(count: int) -> Iterator[Layout]:
    """Return layouts, made beforehand, of a target that puts a new label on every line."""
    catalogue, interner, bodies = load_catalogue(), Interner(), Bodies(1, 5.0)
    bodies.advance()
    said = parse(bodies.text(0).encode())

    def make(number: int) -> Layout:
        labels = (("pod", f"pod-{number}"),)
        target = Target("vllm", "http://changing:8000/metrics", "vllm", "changing:8000", labels=labels)
        return canonical_layout(said.series, said.metadata, target, catalogue, interner)

    return iter([make(number) for number in range(count)])


@contextmanager
def fleet(targets: int, parent: str | None) -> Iterator[Fleet]:
    """Make a store in files, with a row of each target that is gone and of each that lives."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        store = SeriesStore.in_folder(Path(folder), RETENTION_S, None, RETENTION_S)
        for source, layout in layouts_of(targets, "gone"):
            store.append(source, layout, START_MS, np.arange(len(layout.raw), dtype=np.float64))
        living = layouts_of(targets, "living")
        for source, layout in living:
            store.append(source, layout, LATER_MS, np.arange(len(layout.raw), dtype=np.float64))
        yield Fleet(store, Tidy(store), living, changing_layouts(LAYOUTS + 100))


async def scraping(fleet: Fleet, moments: Iterator[int]) -> None:
    """Append a row of the next living target at a time, and every tenth time one of the changing target."""
    while True:
        for source, layout in fleet.living:
            moment = next(moments)
            fleet.store.append(source, layout, LATER_MS + moment, np.zeros(len(layout.raw)))
            if moment % 10 == 0:
                other = next(fleet.changing)
                fleet.store.append("scrape:changing", other, LATER_MS + moment, np.zeros(len(other.raw)))
            await asyncio.sleep(ROW_S)


async def late(found: list[float]) -> None:
    """Collect by how many milliseconds each wake-up was late."""
    while True:
        due = time.perf_counter() + WAKE_S
        await asyncio.sleep(WAKE_S)
        found.append((time.perf_counter() - due) * 1000)


async def watched(name: str, fleet: Fleet, moments: Iterator[int], work: Callable[[], object] | None) -> None:
    """Print how late the loop is while `work` runs in a thread (or for three seconds)."""
    found: list[float] = []
    tasks = [asyncio.create_task(scraping(fleet, moments)), asyncio.create_task(late(found))]
    await asyncio.sleep(0.5)
    found.clear()
    started = time.perf_counter()
    await (asyncio.sleep(3.0) if work is None else asyncio.to_thread(work))
    took = time.perf_counter() - started
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    p99 = float(np.percentile(found, 99))
    print(f"{name:52}{max(found):10.1f} ms{p99:8.1f} ms{took:8.2f} s", flush=True)


async def one_target(fleet: Fleet) -> None:
    """Print how late the loop is while one target's layouts pass their limit."""
    found: list[float] = []
    watching = asyncio.create_task(late(found))
    longest = 0.0
    started = time.perf_counter()
    for number in range(LAYOUTS):
        layout = next(fleet.changing)
        before = time.perf_counter()
        fleet.store.append("scrape:one", layout, LATER_MS + number, np.zeros(len(layout.raw)))
        longest = max(longest, time.perf_counter() - before)
        await asyncio.sleep(0.001)
    watching.cancel()
    evicted = fleet.store.stats().layouts_evicted
    took = time.perf_counter() - started
    name = f"layouts of one target ({evicted} dropped)"
    print(f"{name:52}{longest * 1000:10.1f} ms{float(np.percentile(found, 99)):8.1f} ms{took:8.2f} s", flush=True)


async def measure(targets: int, parent: str | None) -> None:
    """Measure each kind of eviction."""
    print(f"{'':52}{'longest':>13}{'p99':>11}{'took':>10}")
    with fleet(targets, parent) as made:
        moments = count(1000)
        gc.collect()
        await watched("nothing evicted", made, moments, None)
        tidy, store = made.tidy, made.store
        await watched("what is past its retention", made, moments, lambda: tidy.turn(LATER_MS))
        await one_target(made)
        assert isinstance(store.space, Folder) and store.space.journal, "a store in files has a journal"
        before = store.space.journal.end
        tidying.REWRITE_BYTES = min(tidying.REWRITE_BYTES, before)
        later_ms = LATER_MS + int(RETENTION_S * 1000) + 100_000
        await watched(
            f"everything, the journal of {before / 2**20:.1f} MiB rewritten", made, moments, lambda: tidy.turn(later_ms)
        )
        assert store.space.journal.end < before, "the journal is shorter now"


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--targets", type=int, default=300)
    parser.add_argument("--dir", help="where the store's files are made, on the disk that is to be measured")
    given = parser.parse_args()
    set_up_interpreter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(given.targets, given.dir))


if __name__ == "__main__":
    main()
