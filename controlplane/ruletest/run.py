"""Running tests: input series in a series store, rules in the evaluator of alerting, queries in the embedded engine.

The order is promtool's (cmd/promtool/unittest.go of Prometheus). From the test's start to its latest `eval_time`, every
`evaluation_interval`, the samples up to that time are loaded and every group is evaluated once. Alerts are checked
after the last evaluation that is not later than their `eval_time`. Queries run at the end, each at its own time.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerts.errors import QueryFailed, RuleError
from alerts.evaluate import GroupEvaluator
from alerts.interfaces import AlertInstance, AlertState, Transition, VectorSample
from alerts.rules import AlertingRule, RuleGroup, load_rule_files
from alerts.template import Surroundings
from collectors.durations import format_duration
from collectors.samples import FloatArray, Layout
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Scalar, Vector
from controlplane.metrics.series.budget import EngineLimits
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.ruletest.document import (
    AlertCase,
    Case,
    ExpectedAlert,
    ExpectedSample,
    ExprCase,
    InputSeries,
    Test,
    TestFile,
    load_test_file,
)
from controlplane.ruletest.series_notation import Kind

SPARE_S = 86_400.0
"""Seconds of retention beyond the length of the test, for queries that look back before its start. Chosen."""

MAX_RULE_SAMPLES = 20_000_000
"""Maximum number of samples that the rules of one test may make. Chosen: they are in memory until the test ends."""

NOT_RUN = "not run"
"""Error of a case that was not run because its test stopped before it."""


@dataclass(frozen=True)
class Outcome:
    """The result of a case."""

    case: Case
    got: tuple[ExpectedAlert, ...] | tuple[ExpectedSample, ...] = ()
    error: str = ""
    """Why there is no result."""
    passed: bool = False


@dataclass(frozen=True)
class TestOutcome:
    """The results of a test's cases, in the file's order. With `error` a rule failed, and later cases were not run."""

    __test__ = False

    test: Test
    cases: tuple[Outcome, ...]
    error: str = ""

    @property
    def failed(self) -> int:
        """Number of cases that failed or were not run. It is at least 1 for a test with an error."""
        return max(sum(not case.passed for case in self.cases), 1 if self.error else 0)


@dataclass(frozen=True)
class FileOutcome:
    """The results of a file's tests. With `error` the file or one of its rule files cannot be read, and no test ran."""

    path: Path
    fuzzy: bool = False
    tests: tuple[TestOutcome, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""

    @property
    def failed(self) -> int:
        """Number of cases that failed."""
        return sum(test.failed for test in self.tests)

    @property
    def passed(self) -> int:
        """Number of cases that passed."""
        return sum(case.passed for test in self.tests for case in test.cases)


def run_file(path: Path, wanted: Callable[[str], bool] = lambda _name: True) -> FileOutcome:
    """Run the tests of a file for whose names `wanted` returns True."""
    try:
        file = load_test_file(path)
        groups = load_rule_files(file.rule_files)
    except RuleError as error:
        return FileOutcome(path, error=str(error))
    # A group that is not in the order has rank 0, like the first one, as in promtool. Equal ranks keep their order.
    ordered = sorted(groups, key=lambda group: file.group_order.get(group.name, 0))
    tests = tuple(_Run(test, file, ordered).outcome() for test in file.tests if wanted(test.name))
    return FileOutcome(path, file.fuzzy, tests, file.warnings)


class _Querier:
    """The querier of alerting without threads: nothing else runs at the same time."""

    def __init__(self, engine: PromqlEngine) -> None:
        self._engine = engine

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        try:
            return self.query(expr, at)
        except QueryError as error:
            raise QueryFailed(f"{error.kind}: {error}") from error

    def query(self, expr: str, at: float) -> Sequence[VectorSample]:
        value = self._engine.instant(expr, at)
        if isinstance(value, Vector):
            return value.samples
        if isinstance(value, Scalar):
            return [VectorSample((), value.value)]
        raise QueryError("bad_data", "the result is neither an instant vector nor a scalar")


class _Log:
    """An AlertLog in memory, for one test."""

    def __init__(self) -> None:
        self._instances: dict[str, tuple[AlertInstance, ...]] = {}

    def load(self, rule: str) -> Sequence[AlertInstance]:
        return self._instances.get(rule, ())

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        self._instances[rule] = tuple(instances)


class _BoundedSink:
    """Appends the samples of rules to the store, up to a limit."""

    def __init__(self, store: SeriesStore) -> None:
        self._store, self._left = store, MAX_RULE_SAMPLES

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        self._left -= len(values)
        if self._left < 0:
            raise RuleError(f"the rules of a test may make {MAX_RULE_SAMPLES:,} samples, these make more")
        self._store.append(source, layout, timestamp_ms, values)

    def end(self, source: str, timestamp_ms: int) -> None:
        self._store.end(source, timestamp_ms)


class _Clock:
    def now(self) -> float:
        raise AssertionError("a test passes its times")


class _Run:
    """One run of a test."""

    def __init__(self, test: Test, file: TestFile, groups: Sequence[RuleGroup]) -> None:
        self._test, self._file = test, file
        store = SeriesStore(retention_s=test.ends_at + SPARE_S)
        self._input = _Input(test, store)
        self._querier = _Querier(PromqlEngine(store, EngineLimits(subquery_step_s=file.evaluation_s)))
        around = Surroundings(test.external_labels, test.external_url)
        log, sink = _Log(), _BoundedSink(store)
        self._evaluators = [GroupEvaluator(g, self._querier, log, sink, _Clock(), around=around) for g in groups]

    def outcome(self) -> TestOutcome:
        done: dict[Case, Outcome] = {}
        error = asyncio.run(self._through_time(done))
        if not error:
            done |= {case: self._check_expr(case) for case in self._test.exprs}
        cases = tuple(done.get(case) or Outcome(case, error=NOT_RUN) for case in self._test.cases)
        return TestOutcome(self._test, cases, error)

    async def _through_time(self, done: dict[Case, Outcome]) -> str:
        """Evaluate step by step and check the alerts of each step. Return why the test stopped early, or "".

        The result is only a text: asyncio formats a task's whole result when the task ends.
        """
        waiting = sorted(self._test.alerts, key=lambda case: case.at, reverse=True)
        interval_ms = _milliseconds(self._file.evaluation_s)
        for elapsed_ms in range(0, _milliseconds(self._test.ends_at) + 1, interval_ms):
            self._input.load_until(elapsed_ms)
            if error := await self._evaluate(elapsed_ms):
                return error
            while waiting and _milliseconds(waiting[-1].at) < elapsed_ms + interval_ms:
                case = waiting.pop()
                done[case] = self._check_alerts(case)
            await asyncio.sleep(0)  # yield to the event loop, so that Ctrl-C is handled
        return ""

    async def _evaluate(self, elapsed_ms: int) -> str:
        at = self._at(elapsed_ms)
        reports = [await evaluator.evaluate(at) for evaluator in self._evaluators]
        failed = [
            f"{health.rule.name}: {health.last_error.removeprefix(f'{health.rule.name}: ')}"
            for report in reports
            for health in report.rules
            if health.last_error
        ]
        return f"{'; '.join(failed)} (at {format_duration(elapsed_ms / 1000)})" if failed else ""

    def _at(self, elapsed_ms: int) -> float:
        return (_milliseconds(self._test.start) + elapsed_ms) / 1000

    def _check_alerts(self, case: AlertCase) -> Outcome:
        got = tuple(
            ExpectedAlert(instance.labels, tuple(sorted(instance.annotations)))
            for evaluator in self._evaluators
            for health in evaluator.report().rules
            if isinstance(health.rule, AlertingRule) and health.rule.name == case.alertname
            for instance in health.instances
            if instance.state is AlertState.FIRING
        )
        return Outcome(case, tuple(sorted(got)), passed=sorted(got) == sorted(case.expected))

    def _check_expr(self, case: ExprCase) -> Outcome:
        try:
            samples = self._querier.query(case.expr, self._at(_milliseconds(case.at)))
        except QueryError as error:
            return Outcome(case, error=str(error))
        got = tuple(sorted(ExpectedSample(sample.labels, sample.value) for sample in samples))
        return Outcome(case, got, passed=same_samples(case.expected, got, fuzzy=self._file.fuzzy))


def same_samples(expected: Sequence[ExpectedSample], got: Sequence[ExpectedSample], *, fuzzy: bool) -> bool:
    """Return whether both are the same series with the same values. `fuzzy` ignores the last bit. NaN never equals NaN.

    The comparison is promtool's: a case that passes here passes there.
    """
    ours, theirs = sorted(got), sorted(expected)
    return [sample.labels for sample in ours] == [sample.labels for sample in theirs] and all(
        same_value(a.value, b.value, fuzzy=fuzzy) for a, b in zip(ours, theirs, strict=True)
    )


def same_value(a: float, b: float, *, fuzzy: bool) -> bool:
    """Return whether two values are the same, as in same_samples."""
    return a == b or (fuzzy and b in (math.nextafter(a, -math.inf), math.nextafter(a, math.inf)))


class _Input:
    """The input series of a test. Series with samples at the same times are appended as one source."""

    def __init__(self, test: Test, store: SeriesStore) -> None:
        self._store, self._next = store, 0
        self._start_ms, self._interval_ms = _milliseconds(test.start), _milliseconds(test.interval_s)
        rows = _milliseconds(test.ends_at) // self._interval_ms + 1
        alike: dict[bytes, list[InputSeries]] = defaultdict(list)
        for made in test.series:
            alike[made.samples.kinds[:rows].tobytes()].append(made)
        self._sources = [
            (f"input:{number}", Layout(raw=tuple(made.series for made in group)), _Rows.of(group, rows))
            for number, group in enumerate(alike.values())
        ]

    def load_until(self, elapsed_ms: int) -> None:
        """Append all samples up to and including `elapsed_ms` after the start."""
        while self._next * self._interval_ms <= elapsed_ms:
            moment = self._start_ms + self._next * self._interval_ms
            for source, layout, rows in self._sources:
                kind = rows.kinds[self._next] if self._next < len(rows.kinds) else Kind.MISSING
                if kind == Kind.VALUE:
                    self._store.append(source, layout, moment, rows.values[self._next])
                elif kind == Kind.STALE:
                    self._store.end(source, moment)
            self._next += 1


class _Rows(NamedTuple):
    """The samples of series with the same times: `kinds` is uint8 `[samples]`, `values` float64 `[samples, series]`."""

    kinds: NDArray[np.uint8]
    values: FloatArray

    @classmethod
    def of(cls, group: Sequence[InputSeries], rows: int) -> _Rows:
        return cls(group[0].samples.kinds[:rows], np.stack([made.samples.values[:rows] for made in group], axis=1))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
