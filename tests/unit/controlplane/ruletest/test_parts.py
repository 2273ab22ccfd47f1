"""Rules in parts: which rules are together, and that the results are those of taking turns at each time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.rules import load_rule_files
from controlplane.ruletest import run as runs
from controlplane.ruletest.parts import Parts
from controlplane.ruletest.run import FileOutcome, run_file

Run = Callable[..., FileOutcome]
Seen = Callable[[str], list[tuple[list[str], bool]]]


@pytest.fixture
def parts(tmp_path: Path) -> Seen:
    """Return the parts of rules: the names of each part's rules, and whether its query is asked ahead."""

    def seen(rules: str) -> list[tuple[list[str], bool]]:
        path = tmp_path / "rules.yml"
        path.write_text(f"groups: [{{name: g, rules: [{dedent(rules)}]}}]")
        found = Parts(load_rule_files([path]))
        return [([group.rules[0].name for group in part.groups], part.ahead) for part in found.parts]

    return seen


def test_a_rule_is_a_part_if_all_that_it_reads_is_made_before_it(parts: Seen) -> None:
    assert parts(
        """
        {record: a, expr: x}, {record: b, expr: "a offset 1m + x"}, {alert: C, expr: "max_over_time(b[5m:1m]) > 1"},
        {record: d, expr: 'ALERTS{alertname="C"}'}
        """
    ) == [(["a"], True), (["b"], True), (["C"], True), (["d"], True)]


@pytest.mark.parametrize(
    "reads",
    ["c", '{__name__="c"}', '{__name__=~"c|z"}', '{__name__=~"[^b]"}', '{job="j"}', "c offset 1m", "-c",
     "sum(rate(c[5m])) > 1", "quantile(scalar(c), x)", "max_over_time((x + c)[5m:1m])", "x unless c", 'c{job=""}'],
)  # fmt: skip
def test_rules_are_together_if_one_reads_what_a_later_one_makes(parts: Seen, reads: str) -> None:
    rules = f"{{record: a, expr: x}}, {{record: b, expr: '{reads}'}}, {{alert: M, expr: x}}, {{record: c, expr: x}}"
    assert parts(rules) == [(["a"], True), (["b", "M", "c"], False)]


def test_rules_together_grow_by_what_each_of_them_reads(parts: Seen) -> None:
    rules = "{record: a, expr: b}, {record: b, expr: c}, {record: c, expr: x}, {record: d, expr: a}"
    assert parts(rules) == [(["a", "b", "c"], False), (["d"], True)]


def test_a_rule_that_reads_itself_is_not_asked_ahead(parts: Seen) -> None:
    rules = """{record: a, expr: "a + 1 or x"}, {alert: B, expr: 'x unless ALERTS{alertname="B"}'}"""
    assert parts(rules) == [(["a"], False), (["B"], False)]


def test_labels_that_a_rule_sets_tell_its_series_from_others(parts: Seen) -> None:
    rule = "{record: r, expr: 'r{slo=\"%s\"}', labels: {slo: %s}}"
    assert parts(f"{rule % ('b', 'a')}, {rule % ('a', 'b')}") == [(["r", "r"], False)]
    assert parts(f"{rule % ('b', 'c')}, {rule % ('c', 'd')}") == [(["r"], True), (["r"], True)]
    # An empty label is one that the series do not have.
    without = rule % ("", '""')
    assert parts(f"{rule % ('x', 'c')}, {without}") == [(["r"], True), (["r"], False)]
    alert = "{alert: %s, expr: 'ALERTS{alertname=\"%s\"}'}"
    assert parts(f"{alert % ('A', 'Z')}, {alert % ('B', 'A')}") == [(["A"], True), (["B"], True)]
    assert parts(f"{alert % ('A', 'B')}, {alert % ('B', 'A')}") == [(["A", "B"], False)]


def test_rules_are_together_if_they_may_make_the_same_series(parts: Seen) -> None:
    rule = "{record: r, expr: %s, labels: {%s}}"
    assert parts(f"{rule % ('x', 'a: b')}, {rule % ('y', 'c: d')}") == [(["r", "r"], False)]
    assert parts(f"{rule % ('x', 'a: b')}, {rule % ('y', 'a: c')}") == [(["r"], True), (["r"], True)]
    alert = "{alert: A, expr: %s, labels: {severity: '%s'}}"
    assert parts(f"{alert % ('x', 'page')}, {alert % ('y', 'ticket')}") == [(["A"], True), (["A"], True)]
    assert parts(f"{alert % ('x', 'page')}, {alert % ('y', '{{ $value }}')}") == [(["A", "A"], False)]


@pytest.mark.parametrize("reads", ["x offset -1m", "x @ 60", "x @ end()", "sum_over_time(x[5m:1m] offset -1m)",
                                   "sum_over_time(x[5m:1m] @ 60)", "rate(x[5m] offset -1m)"])  # fmt: skip
def test_rules_are_one_part_if_one_reads_at_other_times(parts: Seen, reads: str) -> None:
    assert parts(f"{{record: a, expr: x}}, {{record: b, expr: '{reads}'}}") == [(["a", "b"], False)]


EXPRS = st.sampled_from([
    "x", "y", "a", "b", "c", "sum(x)", "rate(x[3m])", "a + on (i) x", "x > 3", "b offset 1m or x", "count(a) by (i)",
    "max_over_time(a[3m])", "avg_over_time((a + 1)[4m:2m])", 'ALERTS{alertname="A"}', 'x unless on (i) ALERTS',
    "a or y", "c + 1 or x", "vector(time()) > 120", "absent(y)", "1", "{i='1'}", "x + on () y", "x offset -2m",
    "y @ 120", "-x", "topk(1, x)", "label_replace(a, 'i', '', 'i', '1')", "{__name__=~'a|y'}", "info(x)",
    "sort_desc(x)", "resets(x[4m])", "changes(y[4m])", "stddev_over_time(x[4m])", "deriv(x[4m])",
    "quantile_over_time(0.5, x[4m])",
])  # fmt: skip
TEXTS = st.sampled_from([
    "", "{{ $value }}", '{{ query "a" | len }}', '{{ query "x offset 1m" | first | value }}',
    '{{ with query "ALERTS" }}{{ . | len }}{{ end }}', '{{ query "x offset -1m" | len }}',
])  # fmt: skip
RECORDING = st.fixed_dictionaries(
    {"record": st.sampled_from("abc"), "expr": EXPRS},
    optional={"labels": st.sampled_from([{"i": "1"}, {"i": ""}, {"j": "2"}])},
)
ALERTING = st.fixed_dictionaries(
    {"alert": st.sampled_from("AB"), "expr": EXPRS},
    optional={
        "for": st.sampled_from(["1m", "2m"]),
        "keep_firing_for": st.just("2m"),
        "labels": st.just({"severity": "s"}),
        "annotations": TEXTS.map(lambda text: {"t": text}),
    },
)
GROUPS = st.lists(
    st.fixed_dictionaries(
        {"rules": st.lists(RECORDING | ALERTING, min_size=1, max_size=3)},
        optional={"limit": st.just(2), "query_offset": st.just("30s")},
    ),
    min_size=1,
    max_size=3,
)
VALUES = st.sampled_from(["0+1x9", "5-1x9", "1x3 stale 2x5", "_x2 3x4", "0 10 3 _ 4 stale _ 9", "-0 -0 NaN Inf 1x5"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=GROUPS, values=st.lists(VALUES, min_size=3, max_size=3), step=st.sampled_from(["1m", "90s", "30s"]))
def test_parts_give_the_results_of_taking_turns(
    tmp_path: Path, groups: list[dict[str, object]], values: list[str], step: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ASKED_AHEAD", 3)
        path = tmp_path / "a.test.yml"
        named = [group | {"name": f"g{number}"} for number, group in enumerate(groups)]
        (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": named}))
        series = dict(zip(('x{i="1"}', 'x{i="2"}', "y"), values, strict=True))
        minutes = [f"{minute}m" for minute in range(10)]
        test = {
            "input_series": [{"series": name, "values": text} for name, text in series.items()],
            "alert_rule_test": [{"eval_time": at, "alertname": name} for at, name in product(minutes, "AB")],
            "promql_expr_test": [
                {"expr": expr, "eval_time": at, "exp_samples": []}
                for at, expr in product(minutes, ["{__name__=~'[abc]|ALERTS.*'}"])
            ],
        }
        path.write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": step, "tests": [test]}))
        in_parts = run_file(path)
        patch.setattr(runs, "Parts", lambda rules: Parts(rules).in_turn())
        assert repr(in_parts) == repr(run_file(path))  # NaN is no equal of itself, and -0 is one of 0
        assert in_parts.error == ""


def test_of_two_rules_the_one_that_fails_first_in_time_stops_the_test(run: Run) -> None:
    outcome = run(
        """\
        rule_files: [rules.yml]
        tests:
          - input_series:
              - {series: 'x{i="a"}', values: 1x9}
              - {series: 'x{i="b"}', values: _ _ 1x9}
              - {series: 'y{i="a"}', values: 1x9}
              - {series: 'y{i="b"}', values: _ 1x9}
            alert_rule_test:
              - {eval_time: 0m, alertname: Late, exp_alerts: [{exp_labels: {i: one}}]}
              - {eval_time: 1m, alertname: Late, exp_alerts: [{exp_labels: {i: one}}]}
        """,
        rules="""\
        groups:
          - {name: first, rules: [{alert: Late, expr: x, labels: {i: one}}]}
          - {name: second, rules: [{alert: Early, expr: y, labels: {i: one}}]}
        """,
    )
    assert outcome.tests[0].error.startswith("Early: two results have the same labels")
    assert outcome.tests[0].error.endswith("(at 1m)")
    assert [case.passed for case in outcome.tests[0].cases] == [True, False]


LATER = """\
    rule_files: [rules.yml]
    tests:
      - input_series: [{series: x, values: 0+1x9}]
        promql_expr_test:
          - {expr: r, eval_time: 5m, exp_samples: [{labels: r, value: %d}]}
          - {expr: time(), eval_time: 9m, exp_samples: [{value: 540}]}
        alert_rule_test: [{eval_time: 5m, alertname: A, exp_alerts: [{exp_annotations: {t: "%s"}}]}]
    """


@pytest.mark.parametrize(
    ("query", "value"), [("x", 5), ("a", 5), ("b", 4), ("ALERTS_FOR_STATE", 60), ("x offset -2m", 5), ("r", 4)]
)
def test_a_query_of_a_template_sees_what_there_is_at_its_turn(run: Run, query: str, value: object) -> None:
    text = f'{{{{ with query "{query}" }}}}{{{{ . | first | value }}}}{{{{ else }}}}none{{{{ end }}}}'
    outcome = run(
        LATER % (5, value),
        rules=f"""\
        groups:
          - name: g
            rules:
              - {{record: a, expr: x}}
              - {{alert: A, expr: x > 0, annotations: {{t: '{text}'}}}}
              - {{record: b, expr: x}}
              - {{record: r, expr: x}}
        """,
    )
    assert [case.passed for case in outcome.tests[0].cases] == [True] * 3, outcome


def test_a_group_that_asks_for_an_earlier_time_writes_at_that_time(run: Run) -> None:
    outcome = run(
        LATER % (3, "3"),
        rules="""\
        groups:
          - {name: late, query_offset: 2m, rules: [{record: a, expr: x}]}
          - name: g
            rules: [{record: r, expr: a}, {alert: A, expr: a, annotations: {t: "{{ $value }}"}}]
        """,
    )
    assert [case.passed for case in outcome.tests[0].cases] == [True] * 3, outcome


def test_the_rule_that_exceeds_the_limit_first_in_time_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_RULE_SAMPLES", 5)
    rules = "groups: [{name: g, rules: [{record: y, expr: x}, {record: z, expr: x}]}]"
    case = "promql_expr_test: [{expr: x, eval_time: 4m, exp_samples: []}]"
    text = f"rule_files: [rules.yml]\ntests: [{{input_series: [{{series: x, values: 1x9}}], {case}}}]"
    (test,) = run(text, rules=rules).tests
    assert test.error == "z: the rules of a test may make 5 samples, these make more (at 2m)"
