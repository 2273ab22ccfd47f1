"""CPU time to read a scraped body, against prometheus-client's parser, and memory of a target's series.

    python benchmarks/bench_layouts.py [--targets 300]

The bodies are those of benchmarks/common/fleet_of_files.py: the vLLM capture with changing values. Memory is the
memory that Python holds (tracemalloc) for each raw series, with targets of 20 models.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

from common.fleet_of_files import Bodies
from prometheus_client.parser import text_string_to_metric_families

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.interner import Interner
from collectors.exposition.layout_cache import LayoutCache, Shapes
from collectors.exposition.parser import Parsed, parse
from collectors.samples import Layout
from collectors.target import Target

GENERATIONS = 4


def us_per_sample(samples: int, read: Callable[[], object]) -> float:
    """Return the CPU microseconds of `read` for each of its `samples` samples."""
    started = time.process_time()
    read()
    return (time.process_time() - started) * 1e6 / samples


def caches_of(targets: int) -> list[LayoutCache]:
    """Return a cache for each target. The caches share shapes and labels, as in the control plane."""
    catalogue, interner, shapes = load_catalogue(), Interner(), Shapes()

    def builder(target: Target) -> Callable[[Parsed], Layout]:
        return lambda said: canonical_layout(said.series, said.metadata, target, catalogue, interner)

    instances = [f"10.0.{n // 250}.{n % 250}:8000" for n in range(targets)]
    return [LayoutCache(builder(Target("vllm", f"http://{i}/metrics", "vllm", i)), shapes=shapes) for i in instances]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--targets", type=int, default=300)
    targets = parser.parse_args().targets
    bodies = Bodies(targets, 5.0)
    generations: list[list[bytes]] = []
    for _ in range(GENERATIONS):
        bodies.advance()
        generations.append([bodies.text(n).encode() for n in range(targets)])
    text = generations[0][0].decode()
    peer = us_per_sample(10 * bodies.samples, lambda: [list(text_string_to_metric_families(text)) for _ in range(10)])
    full = us_per_sample(10 * bodies.samples, lambda: [parse(generations[0][0]) for _ in range(10)])

    tracemalloc.start()
    caches = caches_of(targets)
    layouts = [cache.read(body)[0] for cache, body in zip(caches, generations[0], strict=True)]
    series = sum(len(layout.raw) for layout in layouts)
    both = tracemalloc.get_traced_memory()[0]
    for cache in caches:
        cache._layout = cache._shape = None
    caches_only = both - tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    caches = caches_of(targets)
    first = us_per_sample(series, lambda: [c.read(b) for c, b in zip(caches, generations[0], strict=True)])
    rest = [(c, body) for bodies_now in generations[1:] for c, body in zip(caches, bodies_now, strict=True)]
    again = us_per_sample(series * (GENERATIONS - 1), lambda: [c.read(b) for c, b in rest])
    print(f"prometheus-client's parser: {peer:.2f} µs a sample; ratios are against it")
    print(f"a full parse: {full:.2f} µs, ratio {full / peer:.2f}; with the canonical layout built: {first:.2f} µs")
    print(f"a known body with new values: {again:.2f} µs, ratio {again / peer:.3f}")
    print(f"memory: layouts {(both - caches_only) / series:.0f} B, caches {caches_only / series:.0f} B a raw series")


if __name__ == "__main__":
    main()
