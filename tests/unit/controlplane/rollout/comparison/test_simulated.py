"""A small version of benchmarks/bench_verdicts.py with a fixed seed: exact counts of rolled back rollouts."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[5] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("bench_verdicts")


def counts(tried: Any) -> tuple[int, ...]:
    return tuple(tried.count(rule) for rule in ("ours", "once", "each", "plain"))


@pytest.mark.parametrize(
    ("world", "requests", "rolled_back"),
    [
        (0, 100, (0, 0, 1, 21)),
        (0, 10_000, (0, 0, 2, 17)),
        (1, 1000, (0, 0, 1, 23)),
        (2, 1000, (0, 0, 0, 30)),
    ],
)
def test_of_thirty_equal_candidates(bench: Any, world: int, requests: int, rolled_back: tuple[int, ...]) -> None:
    """Ours, Kayenta once, Kayenta at each look, uncorrected tests at each look."""
    tried = bench.equal(np.random.default_rng(7), bench.WORLDS[world], requests, 30)
    assert counts(tried) == rolled_back


@pytest.mark.parametrize(
    ("case", "requests", "found"),
    [
        ("errors 1% to 3%", 100, (0, 0, 0, 28)),
        ("errors 1% to 3%", 1000, (26, 15, 21, 40)),
        ("errors 1% to 3%", 10_000, (40, 40, 40, 40)),
        ("TTFT +30%", 100, (23, 26, 28, 40)),
        ("TTFT +30%", 1000, (40, 40, 40, 40)),
    ],
)
def test_of_forty_bad_candidates(bench: Any, case: str, requests: int, found: tuple[int, ...]) -> None:
    tried = bench.bad(np.random.default_rng(7), bench.STEADY, requests, 40, bench.BAD[case])
    assert counts(tried) == found


@pytest.mark.parametrize(("world", "requests", "rolled_back"), [(4, 1000, 0), (7, 10_000, 2)])
def test_of_thirty_equal_candidates_with_dependent_requests(
    bench: Any, world: int, requests: int, rolled_back: int
) -> None:
    """Failures by sessions of five requests, and an incident of both versions."""
    tried = bench.equal(np.random.default_rng(7), bench.WORLDS[world], requests, 30)
    assert tried.count("ours") == rolled_back


def test_of_forty_candidates_at_the_edge_of_the_tolerance(bench: Any) -> None:
    assert bench.edge(np.random.default_rng(7), 10_000, 40).count("ours") == 0


def test_of_two_hundred_equal_candidates_with_coarse_buckets(bench: Any) -> None:
    """The reason for bets on ranks: the normal approximation has its bound of 1 in 600 only for fine buckets."""
    tried = bench.coarse(np.random.default_rng(7), 200)
    assert (tried.count("ours"), tried.count("normal")) == (0, 4)


def test_the_benchmark_prints_all_tables(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(["--rollouts", "1"])
    printed = capsys.readouterr().out
    for title in ("is rolled back (A/A)", "is found: weight 5%", "in other worlds", "just the tolerance", "Other"):
        assert title in printed
