"""Reports of tests: lines for a person, and JSON content for a program."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from collectors.durations import format_duration
from controlplane.metrics.promql.values import format_value
from controlplane.ruletest.document import AlertCase, Case, ExpectedAlert, ExpectedSample, ExprCase
from controlplane.ruletest.run import NOT_RUN, FileOutcome, Outcome, TestOutcome, same_value
from controlplane.ruletest.series_notation import format_labels

NEARLY = 1e-9
"""Relative difference of two values below which a hint about rounding is shown. Chosen."""


def file_lines(outcome: FileOutcome) -> Iterator[str]:
    """Yield warnings, then each failed case with expected (-) and actual (+) results, then counts."""
    yield from outcome.warnings
    if outcome.error:
        yield outcome.error
        return
    for test in outcome.tests:
        yield from _test_lines(outcome, test)
    yield f"{outcome.path}: {_counts(outcome.passed, outcome.failed)}"


def summary(outcomes: Sequence[FileOutcome]) -> str:
    """Return the last line: the numbers of passed and failed cases, and of unreadable files."""
    files = len(outcomes)
    text = _counts(sum(o.passed for o in outcomes), sum(o.failed for o in outcomes))
    unread = sum(bool(o.error) for o in outcomes)
    return f"{text} in {files} file{'s' * (files != 1)}" + (f"; {unread} could not be read" if unread else "")


def content(outcomes: Sequence[FileOutcome]) -> dict[str, Any]:
    """Return all results as JSON content. Values are texts as in Prometheus's API: JSON has no NaN and Inf."""
    return {
        "passed": sum(o.passed for o in outcomes),
        "failed": sum(o.failed for o in outcomes),
        "files": [
            {
                "file": str(o.path),
                "error": o.error,
                "warnings": list(o.warnings),
                "tests": [
                    {
                        "name": test.test.name,
                        "line": test.test.line,
                        "error": test.error,
                        "cases": [_case_content(case) for case in test.cases],
                    }
                    for test in o.tests
                ],
            }
            for o in outcomes
        ],
    }


def _counts(passed: int, failed: int) -> str:
    return f"{passed} passed, {failed} failed"


def _test_lines(file: FileOutcome, test: TestOutcome) -> Iterator[str]:
    name = f"{test.test.name}: " if test.test.name else ""
    if test.error:
        yield f"{file.path}:{test.test.line}: {name}stopped, because a rule cannot be evaluated: {test.error}"
        not_run = sum(case.error == NOT_RUN for case in test.cases)
        if not_run:
            yield f"    {not_run} case{'s' * (not_run != 1)} not run"
    for case in test.cases:
        if case.passed or (test.error and case.error == NOT_RUN):
            continue
        yield f"{file.path}:{case.case.line}: {name}{_what(case.case)}" + (f": {case.error}" if case.error else "")
        if not case.error:
            for line in _difference(case, file.fuzzy):
                yield f"    {line}"


def _what(case: Case) -> str:
    at = format_duration(case.at)
    return (
        f"alert {case.alertname} at {at}" if isinstance(case, AlertCase) else f"{' '.join(case.expr.split())} at {at}"
    )


def _difference(outcome: Outcome, fuzzy: bool) -> Iterator[str]:
    if isinstance(outcome.case, AlertCase):
        yield from _alert_difference(outcome.case.expected, [a for a in outcome.got if isinstance(a, ExpectedAlert)])
    else:
        got = [s for s in outcome.got if isinstance(s, ExpectedSample)]
        yield from _sample_difference(outcome.case, got, fuzzy)


def _alert_difference(expected: Sequence[ExpectedAlert], got: Sequence[ExpectedAlert]) -> Iterator[str]:
    missing = list((Counter(expected) - Counter(got)).elements())
    surplus = list((Counter(got) - Counter(expected)).elements())
    for alert in sorted(missing):
        twin = next((other for other in surplus if other.labels == alert.labels), None)
        if twin is None:
            yield f"- {format_labels(alert.labels)}"
            yield from (f"-   {name}: {text}" for name, text in alert.annotations)
            continue
        surplus.remove(twin)
        yield f"  {format_labels(alert.labels)}"
        yield from (f"-   {name}: {text}" for name, text in alert.annotations if (name, text) not in twin.annotations)
        yield from (f"+   {name}: {text}" for name, text in twin.annotations if (name, text) not in alert.annotations)
    for alert in sorted(surplus):
        yield f"+ {format_labels(alert.labels)}"
        yield from (f"+   {name}: {text}" for name, text in alert.annotations)
    if not got:
        yield "  (nothing fires)"


def _sample_difference(case: ExprCase, got: Sequence[ExpectedSample], fuzzy: bool) -> Iterator[str]:
    left = list(got)
    hints: set[str] = set()
    for sample in sorted(case.expected):
        same = [other for other in left if other.labels == sample.labels]
        twin = next((other for other in same if same_value(other.value, sample.value, fuzzy=fuzzy)), None)
        if twin is not None:
            left.remove(twin)
            continue
        yield f"- {_shown(sample)}"
        if same:
            yield f"+ {_shown(same[0])}"
            left = [other for other in left if other is not same[0]]
            hints |= _hints(sample.value, same[0].value, fuzzy)
    yield from (f"+ {_shown(sample)}" for sample in left)
    if not got:
        yield "  (no samples)"
    yield from (f"  {hint}" for hint in sorted(hints))


def _hints(expected: float, got: float, fuzzy: bool) -> set[str]:
    if math.isnan(expected) and math.isnan(got):
        return {"NaN equals nothing, itself included: test `(…) != bool (…)`, which is 1 for NaN"}
    if math.isclose(expected, got, rel_tol=NEARLY):
        last_bit = "" if fuzzy else "fuzzy_compare: true forgives the last bit, "
        return {f"the values differ by rounding: {last_bit}round(…, 1e-6) {'forgives it' if fuzzy else 'more'}"}
    return set()


def _shown(sample: ExpectedSample) -> str:
    return f"{format_labels(sample.labels)} {format_value(sample.value)}"


def _case_content(outcome: Outcome) -> dict[str, Any]:
    case = outcome.case
    what = {"alertname": case.alertname} if isinstance(case, AlertCase) else {"expr": case.expr}
    return {
        "line": case.line,
        **what,
        "eval_time": format_duration(case.at),
        "passed": outcome.passed,
        "error": outcome.error,
        "expected": [_result_content(result) for result in case.expected],
        "got": [_result_content(result) for result in outcome.got],
    }


def _result_content(result: ExpectedAlert | ExpectedSample) -> dict[str, Any]:
    if isinstance(result, ExpectedAlert):
        return {"labels": dict(result.labels), "annotations": dict(result.annotations)}
    return {"labels": dict(result.labels), "value": format_value(result.value)}
