"""Bytes of samples on disk, seconds to open them after a restart, and memory of targets that are gone.

    python benchmarks/bench_storage.py [--targets 30] [--hours 24] [--interval 15]
    python benchmarks/bench_storage.py --gone 1000

Stores the vLLM capture with changing values and its canonical series, with the timestamps of real scrapes, as fast as
one core can. Prints the bytes of the files, and the seconds to open them. `--targets 300 --hours 1` is the restart of a
fleet with 110,000 series. bench_scrape.py measures memory.

With `--gone`, so many targets come and go, 20 at a time, each with a pod, an address and ten minutes of scrapes of its
own. With `--late`, so many of its lines appear only after a minute, which is a second layout. Printed is the memory
that one of them leaves, in the process that writes and in one that follows its files.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from common.contenders import Contender
from common.fleet_of_files import Bodies, addresses

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.interner import Interner
from collectors.exposition.parser import parse
from collectors.samples import Layout
from collectors.target import Target
from controlplane.metrics.series.follower import Follower
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.store_limits import StoreLimits
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.folder import Folder

START_MS = 1_700_000_000_000
TIDY_EVERY_MS = 60_000
DAY_S = 86_400.0
RESTARTS = 3
TOGETHER, LIFE_ROWS, LATE_ROWS, FIRST = 20, 40, 4, 200
"""With `--gone`: targets that live at one time, rows of each, rows before late lines come, and targets that come before
the measurement begins."""


def layouts(bodies: Bodies, instances: list[str]) -> list[Layout]:
    """Return the layout of each target, with its canonical series."""
    catalogue, made = load_catalogue(), []
    for number, instance in enumerate(instances):
        parsed = parse(bodies.text(number).encode())
        target = Target("vllm", f"http://{instance}/metrics", "vllm", instance)
        made.append(canonical_layout(parsed.series, parsed.metadata, target, catalogue))
    return made


def fill(store: SeriesStore, targets: int, hours: float, interval_s: float) -> int:
    """Store the targets' samples of `hours`, and return their number."""
    bodies = Bodies(targets, interval_s, created=False)
    instances = addresses(targets, 8000)
    sources = list(zip(instances, layouts(bodies, instances), strict=True))
    tidy, tidied_ms, rows = Tidy(store), START_MS, round(hours * 3600 / interval_s)
    for row in range(rows):
        now_ms = START_MS + round(row * interval_s * 1000)
        bodies.advance()
        for (instance, layout), values in zip(sources, bodies.values, strict=True):
            store.append(instance, layout, now_ms, values)
        if now_ms - tidied_ms >= TIDY_EVERY_MS:
            tidy.turn(now_ms)
            tidied_ms = now_ms
    return rows * targets * bodies.samples


def opened(folder: Path) -> SeriesStore:
    """Open the store of a folder. A new folder has an empty store."""
    return SeriesStore.in_folder(folder, 2 * DAY_S, None, 2 * DAY_S)


def closed(store: SeriesStore) -> int:
    """Close the store; return the bytes of its files."""
    assert isinstance(store.space, Folder)
    size = store.space.disk_bytes
    store.space.close()
    return size


def kilobytes() -> float:
    """Return the memory of this process that it shares with no file."""
    gc.collect()
    return Contender("this process", os.getpid(), "").memory()["Pss_Anon"] / 1000


def come_and_go(store: SeriesStore, targets: range, late: int, interner: Interner) -> None:
    """Let targets come and go, one group after another, until all their rows are packed. `late` lines come late."""
    catalogue, bodies, tidy = load_catalogue(), Bodies(TOGETHER, 15.0, created=False), Tidy(store)
    bodies.advance()
    now_ms = START_MS + targets.start // TOGETHER * 2 * LIFE_ROWS * 15_000
    for first in targets[::TOGETHER]:
        group = []
        for n, number in enumerate(range(first, first + TOGETHER)):
            instance = f"10.{number // 62_500}.{number // 250 % 250}.{1 + number % 250}:8000"
            own = {"instance": instance, "job": "vllm", "node": f"node-{number % 200}", "pod": f"vllm-{number:08x}"}
            said = parse(bodies.text(n).encode())
            target = Target("vllm", f"http://{instance}/metrics", "vllm", instance, tuple(sorted(own.items())))
            made = [
                canonical_layout(some, said.metadata, target, catalogue, interner)
                for some in (said.series[: len(said.series) - late], said.series)
            ]
            group.append((instance, made))
        for row in range(LIFE_ROWS):
            now_ms += 15_000
            for (instance, made), values in zip(group, bodies.values, strict=True):
                layout = made[row >= LATE_ROWS]
                store.append(instance, layout, now_ms, np.ascontiguousarray(values[: len(layout.raw)]))
            tidy.turn(now_ms)
        for instance, _ in group:
            store.end(instance, now_ms + 1)
    for _ in range(3):
        now_ms += 20 * 60_000
        tidy.turn(now_ms)


def left_in_writer(folder: Path, targets: int, late: int) -> float:
    """Return the kilobytes that a target which is gone leaves in the process that writes."""
    store = SeriesStore.in_folder(folder, 60 * DAY_S, StoreLimits(max_series=100_000_000), 60 * DAY_S)
    interner = Interner()
    come_and_go(store, range(FIRST), late, interner)
    before = kilobytes()
    come_and_go(store, range(FIRST, FIRST + targets), late, interner)
    left = (kilobytes() - before) / targets
    closed(store)
    return left


def left_in_follower(folder: Path, targets: int, _late: int) -> float:
    """Return the kilobytes that a target which is gone leaves in a process that follows the files."""
    before = kilobytes()
    follower = Follower(folder)
    left = (kilobytes() - before) / (FIRST + targets)
    follower.close()
    return left


def print_gone(targets: int, late: int) -> None:
    """Print the memory of targets that are gone. Each process of the measurement is a new one."""
    targets = -(-targets // TOGETHER) * TOGETHER
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as name:
        left = []
        for measure in (left_in_writer, left_in_follower):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                left.append(pool.apply(measure, (Path(name), targets, late)))
    kinds = f"{targets} of them, {late} late lines"
    print(f"a target that is gone ({kinds}): {left[0]:.1f} kB in the process that writes, ", end="")
    print(f"{left[1]:.1f} kB in one that follows; in three processes {left[0] + 2 * left[1]:.0f} kB")


def main() -> None:
    """Print the bytes on disk and the time of a restart, or the memory of targets that are gone."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--targets", type=int, default=30)
    options.add_argument("--hours", type=float, default=24.0)
    options.add_argument("--interval", type=float, default=15.0)
    options.add_argument("--gone", type=int, default=0, help="targets that come and go")
    options.add_argument("--late", type=int, default=0, help="lines of theirs that come late")
    chosen = options.parse_args()
    if chosen.gone:
        print_gone(chosen.gone, chosen.late)
        return
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as name:
        folder = Path(name)
        store = opened(folder)
        samples = fill(store, chosen.targets, chosen.hours, chosen.interval)
        series, size = store.stats().series, closed(store)
        packed = sum(file.stat().st_size for file in (*folder.glob("*.raw"), *folder.glob("*.rec")))
        print(f"{chosen.targets} targets, {series:,} series with canonical ones, {samples:,} scraped samples")
        shares = f"{size / samples:.2f} B a sample, {packed / samples:.2f} of it packed"
        print(f"on disk: {size / 1e6:,.0f} MB, of these {packed / 1e6:,.0f} MB packed; {shares}")
        print(f"300 targets for as long: at most {size * 300 / chosen.targets / 1e9:.2f} GB (target for 24 h: <= 1.5)")
        for _ in range(RESTARTS):
            before = time.perf_counter()
            store = opened(folder)
            took_s = time.perf_counter() - before
            print(f"opened again after {took_s:.2f} s: {store.stats().series:,} series")
            closed(store)


if __name__ == "__main__":
    main()
