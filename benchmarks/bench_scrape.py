"""CPU time and memory of scraping: the control plane and a real Prometheus scrape the same fleet at the same time.

    python benchmarks/bench_scrape.py [--minutes 1.5] [--targets 300] [--interval 5] [--growth] [--no-rules]

Prints CPU time per sample and resident memory per raw series, as ratios. The control plane runs as users run it: with
canonical series, the shipped rules and its data folder on disk. Prometheus runs no rules. The same query counts the
stored samples of both. Memory is that of a young process; `--minutes 65` shows it with an hour of samples.

`--growth` scrapes 30, 300 and 3,000 targets instead, and prints the cost of a sample by the size of the fleet.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from common.contenders import (
    VICTORIA_METRICS,
    Contender,
    control_plane,
    prometheus,
    prometheus_version,
    victoria_metrics,
)
from common.fleet_of_files import fleet_of_files

PORT = 9931
SETTLE_INTERVALS = 3
"""Intervals before the measurement: by then every target was scraped, and all layouts are known."""
UP = 'count(up{job="vllm"} == 1)'
RAW = 'sum(scrape_samples_scraped{job="vllm"})'
GROWTH = (30, 300, 3000)


@dataclass(frozen=True)
class Cost:
    """The cost of one program in a window."""

    cpu_s: float
    scrapes: float
    samples: float
    series: float
    """Raw series that it holds."""
    memory: dict[str, int]

    @property
    def us_per_sample(self) -> float:
        """CPU microseconds for each sample stored."""
        return self.cpu_s * 1e6 / self.samples


def settle(contender: Contender, targets: int, interval_s: float) -> None:
    """Wait until every target is up. Raises SystemExit when they are not up in time."""
    deadline = time.monotonic() + 6 * interval_s + 30 + targets / 20
    while (up := _up(contender)) < targets:
        if time.monotonic() > deadline:
            raise SystemExit(f"{contender.name}: {up:g} of {targets} targets are up")
        time.sleep(1)


def _up(contender: Contender) -> float:
    try:
        return contender.number(UP)
    except OSError:  # a query may time out while thousands of layouts are new
        return 0.0


def measured(contenders: list[Contender], seconds: float, interval_s: float) -> list[Cost]:
    """Return the cost of each program over the same window of `seconds`."""
    time.sleep(SETTLE_INTERVALS * interval_s)
    for contender in contenders:
        contender.await_children(interval_s)
    cpu, started = [c.cpu_s() for c in contenders], time.time()
    time.sleep(seconds)
    spent = [c.cpu_s() - before for c, before in zip(contenders, cpu, strict=True)]
    window = f"[{round((time.time() - started) * 1000)}ms]"
    memory = [c.memory() for c in contenders]
    costs = []
    for contender, cpu_s, held in zip(contenders, spent, memory, strict=True):
        samples = contender.number(f'sum(sum_over_time(scrape_samples_scraped{{job="vllm"}}{window}))')
        scrapes = contender.number(f'sum(count_over_time(up{{job="vllm"}}{window}))')
        stored = contender.number('count({job="vllm",__name__!~"up|scrape_.+"})')
        if not samples or not stored:
            raise SystemExit(f"{contender.name}: holds {stored:g} series")
        if stored < 0.99 * (scraped := contender.number(RAW)):
            print(f"{contender.name} holds {stored:,.0f} of the {scraped:,.0f} series that it scraped", flush=True)
        costs.append(Cost(cpu_s, scrapes, samples, stored, held))
    return costs


def compare(targets: int, seconds: float, interval_s: float, rules: tuple[str, ...], folder: Path) -> list[Cost]:
    """Return the costs of the control plane and of Prometheus for the same fleet."""
    with ExitStack() as stack:
        addresses = stack.enter_context(fleet_of_files(targets, interval_s, PORT))
        ours = stack.enter_context(control_plane(folder / "ours", addresses, interval_s, rules=rules))
        contenders = [ours, stack.enter_context(prometheus(folder / "theirs", addresses, interval_s))]
        if shutil.which(VICTORIA_METRICS):
            contenders.append(stack.enter_context(victoria_metrics(folder / "third", addresses, interval_s)))
        for contender in contenders:
            settle(contender, targets, interval_s)
        return measured(contenders, seconds, interval_s)


def show(costs: list[Cost], seconds: float) -> None:
    """Print all, and the ratios."""
    heads = [("µs/sample", 10), ("samples/s", 11), ("scrapes/s", 11), ("series", 9)]
    heads += [("RSS MB", 9), ("PSS MB", 9), ("RSS B/series", 14), ("PSS", 9)]
    names = ("control plane", f"Prometheus {prometheus_version()}", "VictoriaMetrics")[: len(costs)]
    print(" " * 18 + "".join(f"{head:>{width}}" for head, width in heads))
    for name, cost in zip(names, costs, strict=True):
        rss, pss = cost.memory["Rss"], cost.memory["Pss"]
        rates = f"{cost.samples / seconds:11,.0f}{cost.scrapes / seconds:11.1f}{cost.series:9,.0f}"
        memory = f"{rss / 1e6:9,.0f}{pss / 1e6:9,.0f}{rss / cost.series:14,.0f}{pss / cost.series:9,.0f}"
        print(f"{name:18}{cost.us_per_sample:10.2f}{rates}{memory}")
    ours, *others = costs
    for name, theirs in zip(names[1:], others, strict=True):
        cpu, series = ours.us_per_sample / theirs.us_per_sample, theirs.series / ours.series
        resident, shared = (ours.memory[kind] / theirs.memory[kind] for kind in ("Rss", "Pss"))
        print(f"against {name}: CPU per sample {cpu:.2f} x (target <= 0.5 x Prometheus)")
        print(f"  memory: RSS {resident:.2f} x, PSS {shared:.2f} x", end="")
        print(f"; by raw series {resident * series:.2f} x, {shared * series:.2f} x")
    print("target: memory <= 1.0 x Prometheus with an hour kept")


def grow(seconds: float, interval_s: float, rules: tuple[str, ...]) -> None:
    """Print the cost of a sample for each size of the fleet, as a ratio to the middle size.

    The standing cost (loops, database) does not depend on scrapes. It is measured with one target, and the cost of a
    sample is printed with it and without it.
    """
    whole: dict[int, float] = {}
    growing: dict[int, float] = {}
    standing = 0.0
    for targets in (1, *GROWTH):
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs, *_ = compare(targets, seconds, interval_s, rules, Path(folder))
        if targets == 1:
            standing = ours.cpu_s
            cpu = f"{ours.cpu_s / seconds * 1e3:.1f} ms a second, Prometheus {theirs.cpu_s / seconds * 1e3:.1f}"
            print(f"standing cost: {cpu}", flush=True)
            continue
        whole[targets], growing[targets] = ours.us_per_sample, (ours.cpu_s - standing) * 1e6 / ours.samples
        cpu = f"{whole[targets]:.2f} µs a sample ({growing[targets]:.2f} without the standing cost)"
        share = ours.scrapes / (targets * seconds / interval_s)
        rest = f"{ours.series:,.0f} series; {share:.0%} of the scrapes done"
        print(f"{targets:5} targets: {cpu}, Prometheus {theirs.us_per_sample:.2f}; {rest}", flush=True)
    for name, found in (("whole", whole), ("without the standing cost", growing)):
        ratios = ", ".join(f"{targets}: {cost / found[GROWTH[1]]:.2f}" for targets, cost in found.items())
        print(f"against {GROWTH[1]} targets, {name}: {ratios} (target 0.8 to 1.2)")


def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--targets", type=int, default=300)
    parser.add_argument("--interval", type=float, default=5.0)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--no-rules", action="store_true", help="run none of the shipped rules")
    given = parser.parse_args()
    rules = () if given.no_rules else ("builtin:llm", "builtin:gpu")
    seconds = given.minutes * 60
    if given.growth:
        grow(seconds, given.interval, rules)
        return
    with tempfile.TemporaryDirectory() as folder:
        show(compare(given.targets, seconds, given.interval, rules, Path(folder)), seconds)


if __name__ == "__main__":
    main()
