"""Running tests: input series in a series store, rules in the evaluator of alerting, queries in the embedded engine.

The results are promtool's (cmd/promtool/unittest.go of Prometheus). It goes from the test's start to its latest
`eval_time`: every `evaluation_interval`, the samples up to that time are loaded and every group is evaluated once.
Alerts are checked after the last evaluation that is not later than their `eval_time`. Queries run at the end, each at
its own time. Here a rule goes through the whole time before the next rule does, where that gives the same results
(parts.py). Its query is then asked for many times at once.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerts.errors import RuleError
from alerts.evaluate import GroupEvaluator, RuleHealth
from alerts.interfaces import AlertInstance, AlertState, Transition
from alerts.rules import AlertingRule, load_rule_files
from alerts.template import Surroundings
from collectors.durations import format_duration
from collectors.samples import FloatArray, Layout
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
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
from controlplane.ruletest.parts import Part, Parts
from controlplane.ruletest.querier import NeedsTurns, TestQuerier
from controlplane.ruletest.series_notation import Kind

SPARE_S = 86_400.0
"""Seconds of retention beyond the length of the test, for queries that look back before its start. Chosen."""

MAX_RULE_SAMPLES = 20_000_000
"""Maximum number of samples that the rules of one test may make. Chosen: they are in memory until the test ends."""

ASKED_AHEAD = 256
"""Number of times for which a rule's query is asked at once. Chosen: the memory for their results stays small."""

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
    plan = Parts(ordered)
    tests = tuple(_outcome(test, file, plan) for test in file.tests if wanted(test.name))
    return FileOutcome(path, file.fuzzy, tests, file.warnings)


def _outcome(test: Test, file: TestFile, plan: Parts) -> TestOutcome:
    try:
        return _Run(test, file, plan).outcome()
    except NeedsTurns:
        return _Run(test, file, plan.in_turn()).outcome()


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

    def __init__(self, test: Test, file: TestFile, plan: Parts) -> None:
        self._test, self._file, self._plan = test, file, plan
        store = SeriesStore(retention_s=test.ends_at + SPARE_S)
        self._input = _Input(test, store)
        self._querier = TestQuerier(
            PromqlEngine(store, EngineLimits(subquery_step_s=file.evaluation_s)),
            lambda expr: self._part is None or plan.suits(self._part, expr),
        )
        self._log, self._sink = _Log(), _BoundedSink(store)
        self._around = Surroundings(test.external_labels, test.external_url)
        interval_ms = _milliseconds(file.evaluation_s)
        self._times_ms = range(0, _milliseconds(test.ends_at) + 1, interval_ms)
        """Times of the evaluations, since the start."""
        self._checked: dict[int, list[AlertCase]] = defaultdict(list)
        """Cases of alerts by the evaluation after which they are checked."""
        for case in dict.fromkeys(test.alerts):
            self._checked[_milliseconds(case.at) // interval_ms * interval_ms].append(case)
        self._got: dict[AlertCase, list[ExpectedAlert]] = {}
        """Alerts that fired, of the cases that were checked."""
        self._part: Part | None = None
        """The part whose rules are evaluated now."""

    def outcome(self) -> TestOutcome:
        """Run the test. Raises NeedsTurns when its rules do not suit parts."""
        error = asyncio.run(self._through_time())
        done: dict[Case, Outcome] = {case: _alert_outcome(case, got) for case, got in self._got.items()}
        if not error:
            done |= {case: self._check_expr(case) for case in self._test.exprs}
        cases = tuple(done.get(case) or Outcome(case, error=NOT_RUN) for case in self._test.cases)
        return TestOutcome(self._test, cases, error)

    async def _through_time(self) -> str:
        """Evaluate all rules. Return why the test stopped early, or "".

        The result is only a text: asyncio formats a task's whole result when the task ends.
        """
        self._input.load_until(self._times_ms[0 if self._plan.in_time else -1])
        for part in self._plan.parts:
            self._part = part
            evaluators = [
                GroupEvaluator(group, self._querier, self._log, self._sink, _Clock(), around=self._around)
                for group in part.groups
            ]
            size = ASKED_AHEAD if part.ahead else 1
            for first in range(0, len(self._times_ms), size):
                some = self._times_ms[first : first + size]
                if part.ahead:
                    self._querier.ask_ahead(part.groups[0].rules[0].expr, [self._at_ms(one) for one in some])
                for elapsed_ms in some:
                    if error := await self._evaluate(evaluators, elapsed_ms):
                        return error
                await asyncio.sleep(0)  # yield to the event loop, so that Ctrl-C is handled
        return ""

    async def _evaluate(self, evaluators: Sequence[GroupEvaluator], elapsed_ms: int) -> str:
        self._input.load_until(elapsed_ms)
        at = self._at_ms(elapsed_ms) / 1000
        rules = [health for evaluator in evaluators for health in (await evaluator.evaluate(at)).rules]
        failed = [
            f"{health.rule.name}: {health.last_error.removeprefix(f'{health.rule.name}: ')}"
            for health in rules
            if health.last_error
        ]
        if failed:
            if not self._plan.in_time:
                raise NeedsTurns  # another rule may fail at an earlier time
            return f"{'; '.join(failed)} (at {format_duration(elapsed_ms / 1000)})"
        for case in self._checked.get(elapsed_ms, ()):
            self._got.setdefault(case, []).extend(_firing(case.alertname, rules))
        return ""

    def _at_ms(self, elapsed_ms: int) -> int:
        return _milliseconds(self._test.start) + elapsed_ms

    def _check_expr(self, case: ExprCase) -> Outcome:
        try:
            samples = self._querier.query(case.expr, self._at_ms(_milliseconds(case.at)) / 1000)
        except QueryError as error:
            return Outcome(case, error=str(error))
        got = tuple(sorted(ExpectedSample(sample.labels, sample.value) for sample in samples))
        return Outcome(case, got, passed=same_samples(case.expected, got, fuzzy=self._file.fuzzy))


def _firing(alertname: str, rules: Iterable[RuleHealth]) -> Iterator[ExpectedAlert]:
    for health in rules:
        if isinstance(health.rule, AlertingRule) and health.rule.name == alertname:
            for instance in health.instances:
                if instance.state is AlertState.FIRING:
                    yield ExpectedAlert(instance.labels, tuple(sorted(instance.annotations)))


def _alert_outcome(case: AlertCase, got: Iterable[ExpectedAlert]) -> Outcome:
    found = tuple(sorted(got))
    return Outcome(case, found, passed=list(found) == sorted(case.expected))


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
