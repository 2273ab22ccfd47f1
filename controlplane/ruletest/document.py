"""Test files: the model, and a strict reader. Every error names file, line and field.

The format is promtool's (docs/configuration/unit_testing_rules.md of Prometheus): promtool's files work unchanged, and
unknown fields are errors. Times are seconds since the test's start.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from glob import glob
from pathlib import Path
from typing import NamedTuple, TypeVar

from alerts.errors import RuleError
from alerts.yaml_nodes import Place, read_yaml
from collectors.durations import parse_duration
from collectors.samples import Labels, Series, labels_of
from controlplane.metrics.promql.engine import MAX_TIME_S
from controlplane.ruletest.series_notation import NAME, Samples, parse_labels, parse_series, parse_values

MAX_BYTES = 8 * 1024 * 1024
"""Maximum size of a test file. Chosen."""

MAX_EVALUATIONS = 500_000
"""Maximum number of evaluations in one test. Chosen: nearly a year at one evaluation a minute."""

MAX_SERIES = 20_000
"""Maximum number of input series of one test. Chosen."""

MAX_SAMPLES = 20_000_000
"""Maximum number of input samples of a file. Chosen: all tests of a file are in memory at the same time."""

DEFAULT_INTERVAL_S = 60.0
"""promtool's default."""

# YAML's numbers. A quoted number is a text, and promtool refuses it.
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_SPECIAL = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

Read = TypeVar("Read")


@dataclass(frozen=True)
class InputSeries:
    """An input series of a test."""

    series: Series
    samples: Samples


class ExpectedAlert(NamedTuple):
    """An alert that must fire. `labels` include `alertname`."""

    labels: Labels
    """Empty values are kept: no alert has an empty label, so they never match (promtool's rule)."""
    annotations: Labels


@dataclass(frozen=True)
class AlertCase:
    """A check that exactly the expected alerts of one name fire at a time."""

    line: int
    at: float
    alertname: str
    expected: tuple[ExpectedAlert, ...]


class ExpectedSample(NamedTuple):
    """A sample that a query must yield. `labels` may hold `__name__`."""

    labels: Labels
    value: float


@dataclass(frozen=True)
class ExprCase:
    """A check that a query returns exactly the expected samples at a time, in any order."""

    line: int
    at: float
    expr: str
    expected: tuple[ExpectedSample, ...]


Case = AlertCase | ExprCase


@dataclass(frozen=True)
class Test:
    """Input series, and the expected results of rules and queries."""

    # Without this, pytest would collect the class because of its name.
    __test__ = False

    line: int
    name: str
    interval_s: float
    series: tuple[InputSeries, ...]
    alerts: tuple[AlertCase, ...]
    exprs: tuple[ExprCase, ...]
    external_labels: Labels = ()
    external_url: str = ""
    start: float = 0.0
    """Unix seconds."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """All checks of the test."""
        return (*self.alerts, *self.exprs)

    @property
    def ends_at(self) -> float:
        """The latest time of a case; 0.0 without cases."""
        return max((case.at for case in self.cases), default=0.0)


@dataclass(frozen=True)
class TestFile:
    """One test file. Its rule files are found but not read."""

    __test__ = False

    path: Path
    rule_files: tuple[Path, ...]
    evaluation_s: float
    group_order: Mapping[str, int]
    fuzzy: bool
    tests: tuple[Test, ...]
    warnings: tuple[str, ...]


def load_test_file(path: Path) -> TestFile:
    """Read a test file. Raises RuleError for the first fault, with its place."""
    try:
        with path.open("rb") as file:
            body = file.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise RuleError(f"a test file may have {MAX_BYTES:,} bytes, this one has more", file=str(path))
        text = body.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RuleError(f"cannot be read: {why}", file=str(path)) from error
    return parse_test_file(text, path)


def parse_test_file(text: str, path: Path) -> TestFile:
    """Parse the text of a test file. Paths of rule files are relative to the folder of `path`. Raises RuleError."""
    fields = read_yaml(text, str(path)).fields(
        "rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests"
    )
    warnings: list[str] = []
    evaluation_s = _duration(fields, "evaluation_interval", DEFAULT_INTERVAL_S)
    order: dict[str, int] = {}
    for place in fields["group_eval_order"].items() if "group_eval_order" in fields else ():
        if place.text() in order:
            raise place.error(f"group_eval_order: {place.text()} is named twice")
        order[place.text()] = len(order)
    found: list[Test] = []
    for place in fields["tests"].items() if "tests" in fields else ():
        used = sum(len(made.samples.kinds) for test in found for made in test.series)
        found.append(_test(place, evaluation_s, warnings, MAX_SAMPLES - used))
    return TestFile(
        path=path,
        rule_files=_rule_files(fields.get("rule_files"), path.parent, warnings),
        evaluation_s=evaluation_s,
        group_order=order,
        fuzzy=_boolean(fields["fuzzy_compare"]) if "fuzzy_compare" in fields else False,
        tests=tuple(found),
        warnings=tuple(warnings),
    )


def _rule_files(place: Place | None, folder: Path, warnings: list[str]) -> tuple[Path, ...]:
    files: dict[Path, None] = {}
    for item in place.items() if place else ():
        pattern = item.text()
        matches = sorted(glob(str(folder / pattern))) if pattern else []  # noqa: PTH207 - Path.glob takes no absolute one
        if not matches:
            warnings.append(_warning(item.error(f"rule_files: no file matches {pattern}")))
        files.update(dict.fromkeys(Path(match) for match in matches))
    return tuple(files)


def _test(place: Place, evaluation_s: float, warnings: list[str], samples_left: int) -> Test:
    fields = place.fields(
        "name",
        "interval",
        "start_timestamp",
        "input_series",
        "alert_rule_test",
        "promql_expr_test",
        "external_labels",
        "external_url",
    )
    name = fields["name"].text() if "name" in fields else ""
    within = {key: item.within(f"test {name}: {key}" if name else key) for key, item in fields.items()}
    test = Test(
        line=place.line,
        name=name,
        interval_s=_duration(fields, "interval", evaluation_s),
        series=_input_series(within.get("input_series"), warnings, samples_left),
        alerts=tuple(_alert_case(item) for item in _items(within, "alert_rule_test")),
        exprs=tuple(_expr_case(item) for item in _items(within, "promql_expr_test")),
        external_labels=labels_of(_texts(within["external_labels"])) if "external_labels" in within else (),
        external_url=fields["external_url"].text() if "external_url" in fields else "",
        start=_checked(within["start_timestamp"], _timestamp) if "start_timestamp" in within else 0.0,
    )
    evaluations = test.ends_at / evaluation_s
    if evaluations > MAX_EVALUATIONS:
        raise place.error(
            f"its last eval_time needs {evaluations:,.0f} evaluations, {MAX_EVALUATIONS:,} are allowed; "
            "use an earlier eval_time or a longer evaluation_interval"
        )
    return test


def _input_series(place: Place | None, warnings: list[str], samples_left: int) -> tuple[InputSeries, ...]:
    found: dict[Series, InputSeries] = {}
    total = 0
    for item in place.items() if place else ():
        fields = item.fields("series", "values")
        if "series" not in fields:
            raise item.error("series: is missing")
        labels = dict(_checked(fields["series"].within(f"{item.path}: series"), parse_series))
        series = Series(labels.pop(NAME), labels_of(labels))
        if series in found:
            again = "this series was given before; only these values count (promtool's rule)"
            warnings.append(_warning(item.error(again)))
        if len(found) >= MAX_SERIES:
            raise item.error(f"a test may have {MAX_SERIES:,} series")
        values = fields.get("values")
        samples = _checked(values.within(f"{item.path}: values"), parse_values) if values else parse_values("")
        found[series] = InputSeries(series, samples)
        total += len(samples.kinds)
        if total > samples_left:
            raise item.error(f"the tests of a file may have {MAX_SAMPLES:,} samples; split the file")
    return tuple(found.values())


def _alert_case(place: Place) -> AlertCase:
    fields = place.fields("eval_time", "alertname", "exp_alerts")
    alertname = fields["alertname"].text() if "alertname" in fields else ""
    if not alertname:
        raise place.error("alertname: is missing")
    expected = []
    for item in _items(fields, "exp_alerts"):
        alert = item.within(f"{place.path}: exp_alerts").fields("exp_labels", "exp_annotations")
        labels = _texts(alert["exp_labels"]) if "exp_labels" in alert else {}
        annotations = _texts(alert["exp_annotations"]) if "exp_annotations" in alert else {}
        # labels_of would drop empty values. Here they must stay: no alert matches them.
        pairs = tuple(sorted((labels | {"alertname": alertname}).items()))
        expected.append(ExpectedAlert(pairs, tuple(sorted(annotations.items()))))
    return AlertCase(place.line, _duration(fields, "eval_time", 0.0), alertname, tuple(expected))


def _expr_case(place: Place) -> ExprCase:
    fields = place.fields("expr", "eval_time", "exp_samples")
    expr = fields["expr"].text() if "expr" in fields else ""
    if not expr.strip():
        raise place.error("expr: is missing")
    expected = []
    for item in _items(fields, "exp_samples"):
        sample = item.within(f"{place.path}: exp_samples").fields("labels", "value", "histogram")
        if "histogram" in sample:
            raise sample["histogram"].error("histogram: native histograms are not supported; expect the float series")
        labels = _checked(sample["labels"].within(f"{place.path}: labels"), parse_labels) if "labels" in sample else ()
        expected.append(ExpectedSample(labels, _number(sample["value"]) if "value" in sample else 0.0))
    return ExprCase(place.line, _duration(fields, "eval_time", 0.0), expr, tuple(expected))


def _warning(place: RuleError) -> str:
    return f"{place.file}:{place.line}: warning: {place.reason}"


def _items(fields: Mapping[str, Place], name: str) -> list[Place]:
    return list(fields[name].items()) if name in fields else []


def _texts(place: Place) -> dict[str, str]:
    return {name: value.text() for name, value in place.fields().items()}


def _checked(place: Place, read: Callable[[str], Read]) -> Read:
    try:
        return read(place.text())
    except ValueError as error:
        raise place.error(str(error)) from error


def _duration(fields: Mapping[str, Place], name: str, default: float) -> float:
    """Return the seconds of a duration field. Zero counts as not set, as in promtool."""
    if name not in fields:
        return default
    try:
        return parse_duration(fields[name].text()) or default
    except ValueError as error:
        raise fields[name].error(f"{name}: {error}") from error


def _boolean(place: Place) -> bool:
    word = place.text().lower()
    if word not in _BOOLEANS:
        raise place.error(f"fuzzy_compare: expected true or false, got {place.text()!r}")
    return _BOOLEANS[word]


def _number(place: Place) -> float:
    text = place.text()
    if _NUMBER.fullmatch(text) and not place.is_quoted:
        return float(text)
    special = _SPECIAL.fullmatch(text)
    if not special or place.is_quoted:
        raise place.error(f"value: expected a number (.inf, -.inf and .nan among them), got {text!r}")
    return math.nan if special[1] is None else math.copysign(math.inf, -1.0 if special[1] == "-" else 1.0)


def _timestamp(text: str) -> float:
    """Read unix seconds or RFC 3339. Raises ValueError."""
    wrong = f"expected unix seconds or a time such as 2026-01-01T00:00:00Z, got {text!r}"
    try:
        when = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(wrong) from None
        if moment.tzinfo is None:
            raise ValueError(f"{wrong}, which lacks its time zone") from None
        when = moment.timestamp()
    if not abs(when) <= MAX_TIME_S:
        raise ValueError(wrong)
    return when
