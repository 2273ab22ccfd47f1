"""Reading test files: what is meant, defaults, and refusals with file and line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.errors import RuleError
from collectors.samples import Series
from controlplane.ruletest.document import (
    MAX_BYTES,
    AlertCase,
    ExpectedAlert,
    ExpectedSample,
    ExprCase,
    load_test_file,
    parse_test_file,
)

Write = Callable[..., Path]


def test_a_whole_file_is_read(write: Write) -> None:
    file = load_test_file(
        write(
            """\
            rule_files: [rules.yml]
            evaluation_interval: 30s
            group_eval_order: [b, a]
            fuzzy_compare: true
            tests:
              - name: one
                interval: 15s
                start_timestamp: 2026-01-01T00:00:00Z
                external_labels: {cluster: eu}
                external_url: https://x/
                input_series:
                  - series: x{i="1"}
                    values: 1 2
                alert_rule_test:
                  - eval_time: 1m
                    alertname: A
                    exp_alerts:
                      - exp_labels: {i: 1, gone: ""}
                        exp_annotations: {b: "2", a: ""}
                promql_expr_test:
                  - expr: x
                    eval_time: 5m
                    exp_samples: [{labels: 'x{i="1"}', value: -.inf}, {value: 1_000.5}]
            """,
            rules="groups: []",
        )
    )
    assert (file.evaluation_s, file.group_order, file.fuzzy) == (30, {"b": 0, "a": 1}, True)
    assert [path.name for path in file.rule_files] == ["rules.yml"]
    (test,) = file.tests
    assert (test.line, test.name, test.interval_s, test.start) == (6, "one", 15, 1767225600)
    assert (test.external_labels, test.external_url, test.ends_at) == ((("cluster", "eu"),), "https://x/", 300)
    assert test.series[0].series == Series("x", (("i", "1"),))
    labels = (("alertname", "A"), ("gone", ""), ("i", "1"))
    assert test.alerts == (AlertCase(15, 60, "A", (ExpectedAlert(labels, (("a", ""), ("b", "2"))),)),)
    samples = (ExpectedSample((("__name__", "x"), ("i", "1")), -math.inf), ExpectedSample((), 1000.5))
    assert test.exprs == (ExprCase(21, 300, "x", samples),)


def test_what_is_left_out_has_promtools_defaults(write: Write) -> None:
    file = load_test_file(write("tests: [{}, {interval: 0}, {start_timestamp: 12.5}]"))
    assert (file.evaluation_s, file.fuzzy, file.rule_files, file.warnings) == (60, False, (), ())
    assert [test.interval_s for test in file.tests] == [60, 60, 60]
    assert [test.start for test in file.tests] == [0, 0, 12.5]
    other = load_test_file(write("evaluation_interval: 15s\ntests: [{}]"))
    assert other.tests[0].interval_s == 15, "a test's interval is the evaluation's unless it says otherwise"


def test_rule_files_are_found_by_pattern_beside_the_test(write: Write, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.rules.yml", "a.rules.yml", "sub/c.yml"):
        (tmp_path / name).write_text("groups: []")
    absolute = tmp_path / "a.rules.yml"
    file = load_test_file(write(f"rule_files: ['*.rules.yml', sub/*.yml, nothing.yml, {absolute}, a.rules.yml]"))
    assert [path.relative_to(tmp_path).as_posix() for path in file.rule_files] == [
        "a.rules.yml",
        "b.rules.yml",
        "sub/c.yml",
    ]
    assert file.warnings == (f"{tmp_path}/a.test.yml:1: warning: rule_files: no file matches nothing.yml",)


def test_a_series_that_is_given_twice_counts_once_with_a_warning(write: Write) -> None:
    file = load_test_file(
        write("tests:\n- input_series:\n  - {series: x, values: 1}\n  - {series: 'x{a=\"\"}', values: 2 3}")
    )
    assert [made.samples.values.tolist() for made in file.tests[0].series] == [[2, 3]]
    assert "a.test.yml:4: warning: input_series: this series was given before" in file.warnings[0]


def test_anchors_and_merges_are_read_as_yaml_has_them(write: Write) -> None:
    file = load_test_file(
        write(
            """\
            tests:
              - &base
                name: a
                interval: 10s
                input_series: &series [{series: x, values: 1}]
              - <<: *base
                name: b
              - {name: c, input_series: *series}
            """
        )
    )
    assert [(t.name, t.interval_s, len(t.series)) for t in file.tests] == [("a", 10, 1), ("b", 10, 1), ("c", 60, 1)]


REFUSALS = [
    ("testz: []", "1: unknown field testz; known fields are rule_files"),
    ("tests: []\ntests: []", "2: field tests is given twice"),
    ("tests: {}", "1: expected a list"),
    ("[]", "1: expected a mapping"),
    ("", "1: the file is empty"),
    ("tests: [", "1: not YAML"),
    ("evaluation_interval: 5 minutes", "1: evaluation_interval: expected a duration"),
    ("group_eval_order: [a, a]", "1: group_eval_order: a is named twice"),
    ("fuzzy_compare: 2", "1: fuzzy_compare: expected true or false"),
    ("tests:\n- name: n\n  input_series: [{values: 1}]", "3: test n: input_series: series: is missing"),
    ("tests:\n- input_series:\n  - {series: 'x{', values: 1}", "3: input_series: series: 'x{' is not a series"),
    ("tests:\n- input_series:\n  - series: x\n    values: 1 q", "4: input_series: values: 'q' is not a value"),
    ("tests:\n- start_timestamp: tomorrow", "2: start_timestamp: expected unix seconds or a time"),
    ("tests:\n- start_timestamp: 2026-01-01T00:00:00", "2: start_timestamp: .* lacks its time zone"),
    ("tests:\n- start_timestamp: 1e300", "2: start_timestamp: expected unix seconds"),
    ("tests:\n- start_timestamp: nan", "2: start_timestamp: expected unix seconds"),
    ("tests:\n- alert_rule_test:\n  - {eval_time: 1m}", "3: alert_rule_test: alertname: is missing"),
    (
        "tests:\n- alert_rule_test:\n  - {alertname: A, eval_time: x}",
        "3: alert_rule_test: eval_time: expected a duration",
    ),
    ("tests:\n- alert_rule_test: [{alertname: A, exp_alerts: [{labels: {}}]}]", "2: .*unknown field labels"),
    ("tests:\n- promql_expr_test: [{eval_time: 1m}]", "2: promql_expr_test: expr: is missing"),
    ("tests:\n- promql_expr_test: [{expr: x, exp_samples: [{value: Inf}]}]", "2: .*value: expected a number"),
    ("tests:\n- promql_expr_test: [{expr: x, exp_samples: [{value: '1'}]}]", "2: .*value: expected a number"),
    (
        "tests:\n- promql_expr_test: [{expr: x, exp_samples: [{labels: x, histogram: '{{}}'}]}]",
        "2: promql_expr_test: exp_samples: histogram: native histograms are not supported",
    ),
    ("tests:\n- promql_expr_test: [{expr: x, eval_time: 30y}]", "2: its last eval_time needs 15,768,000 evaluations"),
]


@pytest.mark.parametrize(("text", "message"), REFUSALS)
def test_refusals_name_file_line_and_field(text: str, message: str) -> None:
    with pytest.raises(RuleError, match=rf"^a\.yml:{message}"):
        parse_test_file(text, Path("a.yml"))


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"none\.yml: cannot be read: No such file"):
        load_test_file(tmp_path / "none.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(RuleError, match=r"binary\.yml: cannot be read: it is not UTF-8 text"):
        load_test_file(tmp_path / "binary.yml")
    (tmp_path / "large.yml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(RuleError, match=r"large\.yml: a test file may have 8,388,608 bytes"):
        load_test_file(tmp_path / "large.yml")


def test_series_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.ruletest.document.MAX_SAMPLES", 5)
    series = "[{series: a, values: 1x2}, {series: b, values: 1x2}]"
    refusal = r"^a\.yml:1: input_series: the tests of a file may have 5 samples; split the file$"
    with pytest.raises(RuleError, match=refusal):
        parse_test_file(f"tests: [{{input_series: {series}}}]", Path("a.yml"))
    one = "{input_series: [{series: a, values: 1x2}]}"
    with pytest.raises(RuleError, match=refusal):
        parse_test_file(f"tests: [{one}, {one}]", Path("a.yml"))
    assert len(parse_test_file(f"tests: [{one}]", Path("a.yml")).tests) == 1
    monkeypatch.setattr("controlplane.ruletest.document.MAX_SERIES", 1)
    with pytest.raises(RuleError, match="a test may have 1 series"):
        parse_test_file(f"tests: [{{input_series: {series}}}]", Path("a.yml"))


FIELDS = ("tests", "input_series", "series", "values", "promql_expr_test", "expr", "eval_time", "exp_samples", "labels")
MARKS = ("- ", ": ", "\n", "  ", "[", "]", "{", "}", "'", '"', "&a", "*a", "<<", "!!binary", "x", "1x3", "1m", ".nan")


@given(st.lists(st.sampled_from(FIELDS + MARKS), max_size=40).map("".join))
def test_no_file_does_anything_but_load_or_be_refused(text: str) -> None:
    try:
        parse_test_file(text, Path("a.yml"))
    except RuleError as error:
        assert str(error).startswith("a.yml")
