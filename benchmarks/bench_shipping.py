"""CPU time of remote write for each scraped sample, against the general encoder on the same rows, in the same run.

Run: `python benchmarks/bench_shipping.py [targets]`. The peer is `remote_write_codec.encode`. It writes any request, so
it reads every label of every sample, and it does not queue on disk. Both send raw and canonical series.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.parser import parse
from collectors.samples import FloatArray, Layout, labels_of
from collectors.target import Target
from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, encode
from controlplane.metrics.write.shipping.queue import ShipQueue
from controlplane.metrics.write.shipping.selection import Selection

CAPTURE = Path(__file__).parents[1] / "tests" / "fixtures" / "vllm-0.32-llm.prom"
ROUNDS, INTERVAL_MS, PER_SEND, SHARDS = 12, 5000, 2000, 4
NOW_MS = 1_700_000_000_000


def fleet(targets: int) -> tuple[list[Layout], FloatArray]:
    """Return a layout for each target, and the capture's values: float64 of shape (samples,)."""
    catalogue, parsed = load_catalogue(), parse(CAPTURE.read_bytes())
    made = []
    for number in range(targets):
        target = Target("vllm", "http://x/metrics", "vllm", f"h{number}:8000", labels_of({"model": "m"}))
        made.append(canonical_layout(parsed.series, parsed.metadata, target, catalogue))
    return made, parsed.values


def moved(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the values, float64 of shape (samples,), with about a third of them changed."""
    return values + rng.random(len(values)) * (rng.random(len(values)) < 0.3)


def shipping(layouts: list[Layout], values: FloatArray, folder: Path) -> dict[str, float]:
    """Return CPU seconds by step and counts of samples and bytes, without the first round, which has new layouts.

    `values`: float64 of shape (samples,).
    """
    queue = ShipQueue(folder, Selection(("canonical", "raw"), load_catalogue().family), 2**30)
    queue.open()
    rng, spent = np.random.default_rng(1), {"append": 0.0, "flush": 0.0, "read": 0.0}
    samples = sent_bytes = 0
    for turn in range(ROUNDS + 1):
        if turn == 1:
            spent, samples, sent_bytes = dict.fromkeys(spent, 0.0), 0, 0
        rows = [moved(values, rng) for _ in layouts]
        at = NOW_MS + turn * INTERVAL_MS
        started = time.process_time()
        for number, (layout, row) in enumerate(zip(layouts, rows, strict=True)):
            queue.append(f"target {number}", layout, at, row)
        appended = time.process_time()
        queue.flush()
        flushed = time.process_time()
        while window := queue.read(at, SHARDS, PER_SEND, INTERVAL_MS * ROUNDS * 2):
            samples += window.samples
            sent_bytes += sum(len(request.body) for requests in window.shards for request in requests)
            queue.acknowledge(window)
        spent["append"] += appended - started
        spent["flush"] += flushed - appended
        spent["read"] += time.process_time() - flushed
    queue.close()
    return {**spent, "samples": samples, "bytes": sent_bytes}


def encoding(layouts: list[Layout], values: FloatArray) -> float:
    """Return the peer's CPU seconds for one round of the same rows. `values`: float64 of shape (samples,)."""
    rng, spent = np.random.default_rng(1), 0.0
    for layout in layouts:
        row = moved(values, rng).tolist()
        series = [
            *((s, row[i]) for i, s in enumerate(layout.raw)),
            *((v.series, v.factor * sum(row[c] for c in v.columns)) for v in layout.views),
        ]
        named = [(tuple(sorted((("__name__", s.name), *s.labels))), value) for s, value in series]
        started = time.process_time()
        for first in range(0, len(named), PER_SEND):
            some = named[first : first + PER_SEND]
            encode(WriteRequest(tuple(TimeSeries(labels, ((NOW_MS, value),)) for labels, value in some)))
        spent += time.process_time() - started
    return spent


def main() -> None:
    """Measure and print."""
    targets = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    layouts, values = fleet(targets)
    with tempfile.TemporaryDirectory() as folder:
        found = shipping(layouts, values, Path(folder))
    scraped = targets * len(values) * ROUNDS
    each = {step: found[step] / scraped * 1e6 for step in ("append", "flush", "read")}
    peer = encoding(layouts, values) / (targets * len(values)) * 1e6
    print(f"{targets} targets, {targets * len(values)} samples a round, {found['samples'] / scraped:.2f} sent for each")
    print("µs of CPU for each scraped sample: " + ", ".join(f"{step} {cost:.3f}" for step, cost in each.items()))
    print(f"{found['bytes'] / found['samples']:.1f} bytes a sample on the wire")
    ours = sum(each.values())
    print(f"queue and requests {ours:.2f} µs, encode alone {peer:.2f} µs: ratio {ours / peer:.2f}")


if __name__ == "__main__":
    main()
