"""promtool's unit tests of rules, run through our own evaluator and PromQL engine; and a clock to move by hand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import promql_parser
import pytest
from ruamel.yaml import YAML

from alerts.evaluate import GroupEvaluator
from alerts.interfaces import AlertInstance, Transition
from alerts.rules import RuleGroup
from collectors.durations import parse_duration
from collectors.samples import Layout, Series, labels_of
from controlplane.metrics.engine import PromqlEngine
from controlplane.metrics.querier import MetricsQuerier
from controlplane.metrics.series_store import SeriesStore
from controlplane.metrics.values import Vector

STALE = "stale"


@dataclass
class ManualClock:
    """Time that passes when it is told to."""

    at: float = 0.0

    def now(self) -> float:
        return self.at


@dataclass
class MemoryLog:
    """An AlertLog that forgets everything at the end of the test."""

    rules: dict[str, tuple[AlertInstance, ...]] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    fail: Exception | None = None

    def load(self, rule: str) -> Sequence[AlertInstance]:
        return self.rules.get(rule, ())

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        if self.fail is not None:
            raise self.fail
        self.rules[rule] = tuple(instances)
        self.transitions += transitions

    def sentences(self) -> list[str]:
        return [t.sentence for t in self.transitions]


@dataclass
class RuleTest:
    """One test of a promtool file: its series, and the queries with what they must yield."""

    name: str
    interval_s: float
    series: list[tuple[Series, list[float | str | None]]]
    queries: list[tuple[str, float, list[tuple[tuple[tuple[str, str], ...], float]]]]

    def run(self, groups: Iterable[RuleGroup], evaluation_s: float) -> list[tuple[str, float, Any, Any]]:
        """Return each query with its time, its result and the expected one."""
        return asyncio.run(self._run(tuple(groups), evaluation_s))

    async def _run(self, groups: tuple[RuleGroup, ...], evaluation_s: float) -> list[tuple[str, float, Any, Any]]:
        store = SeriesStore(retention_s=86400.0)
        querier = MetricsQuerier(PromqlEngine(store))
        evaluators = [GroupEvaluator(g, querier, MemoryLog(), store, ManualClock()) for g in groups]
        end = max(at for _, at, _ in self.queries)
        layouts = [Layout(raw=(series,)) for series, _ in self.series]
        scraped = 0
        for step in range(int(end / evaluation_s) + 1):
            at = step * evaluation_s
            while scraped * self.interval_s <= at:
                self._append(store, layouts, scraped)
                scraped += 1
            for evaluator in evaluators:
                report = await evaluator.evaluate(at)
                assert not [r.last_error for r in report.rules if r.last_error], report
        outcome = []
        for expr, at, expected in self.queries:
            value = querier.engine.instant(expr, at)
            assert isinstance(value, Vector)
            got = sorted((sample.labels, round(sample.value, 9)) for sample in value.samples)
            outcome.append((expr, at, got, sorted(expected)))
        querier.close()
        return outcome

    def _append(self, store: SeriesStore, layouts: list[Layout], number: int) -> None:
        moment = round(number * self.interval_s * 1000)
        for index, (_, values) in enumerate(self.series):
            value = values[number] if number < len(values) else None
            if value == STALE:
                store.end(f"input {index}", moment)
            elif value is not None:
                store.append(f"input {index}", layouts[index], moment, np.array([float(value)]))


def load_rule_tests(path: Path) -> tuple[list[RuleTest], float]:
    content = YAML(typ="safe", pure=True).load(path.read_text())
    tests = []
    for test in content["tests"]:
        series = [(_series(s["series"]), _values(str(s["values"]))) for s in test["input_series"]]
        queries = [
            (q["expr"], parse_duration(q["eval_time"]), [(_labels(s["labels"]), s["value"]) for s in q["exp_samples"]])
            for q in test["promql_expr_test"]
        ]
        tests.append(RuleTest(test["name"], parse_duration(test["interval"]), series, queries))
    return tests, parse_duration(content["evaluation_interval"])


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    series = _series(text) if not text.startswith("{") else _series("x" + text)._replace(name="")
    return labels_of({"__name__": series.name} | dict(series.labels))


def _series(text: str) -> Series:
    selector = promql_parser.parse(text)
    labels = {m.name: m.value for m in selector.matchers.matchers}
    return Series(selector.name or labels.pop("__name__", ""), labels_of(labels))


def _values(text: str) -> list[float | str | None]:
    values: list[float | str | None] = []
    for part in text.split():
        if part == STALE:
            values.append(STALE)
        elif match := re.fullmatch(r"_(?:x(\d+))?", part):
            values += [None] * int(match[1] or 1)  # promtool: `_x20` is twenty, while `1x20` is twenty-one
        elif match := re.fullmatch(r"(-?[\d.]+)([+-][\d.]+)?x(\d+)", part):
            start, step, count = float(match[1]), float(match[2] or 0), int(match[3])
            values += [start + step * n for n in range(count + 1)]
        else:
            values.append(float(part))
    return values


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def memory_log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def rule_tests() -> Callable[[Path], tuple[list[RuleTest], float]]:
    """Reads a promtool test file: its tests, and how often its rules are evaluated."""
    return load_rule_tests
