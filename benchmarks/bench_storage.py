"""Bytes of samples on disk, and seconds to open them after a restart.

    python benchmarks/bench_storage.py [--targets 30] [--hours 24] [--interval 15]

Stores the vLLM capture with changing values and its canonical series, with the timestamps of real scrapes, as fast as
one core can. Prints the bytes of the files, and the seconds to open them. `--targets 300 --hours 1` is the restart of a
fleet with 110,000 series. bench_scrape.py measures memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from common.fleet_of_files import Bodies, addresses

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.parser import parse
from collectors.samples import Layout
from collectors.target import Target
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.folder import Folder

START_MS = 1_700_000_000_000
TIDY_EVERY_MS = 60_000
DAY_S = 86_400.0
RESTARTS = 3


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


def main() -> None:
    """Print the bytes on disk and the time of a restart."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--targets", type=int, default=30)
    options.add_argument("--hours", type=float, default=24.0)
    options.add_argument("--interval", type=float, default=15.0)
    chosen = options.parse_args()
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
