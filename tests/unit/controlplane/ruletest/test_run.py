"""Running tests on a virtual clock. What promtool also knows is compared with it in tests/contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controlplane.ruletest.document import ExpectedAlert, ExpectedSample
from controlplane.ruletest.run import NOT_RUN, FileOutcome, same_samples, same_value

Run = Callable[..., FileOutcome]

DOWN = """\
    groups:
      - name: g
        rules:
          - alert: Down
            expr: up == 0
            for: 2m
            annotations: {url: "{{ $externalURL }}", cluster: "{{ $externalLabels.cluster }}"}
    """


def verdicts(outcome: FileOutcome) -> list[bool]:
    assert outcome.error == ""
    return [case.passed for test in outcome.tests for case in test.cases]


def test_an_alert_is_checked_after_the_last_evaluation_before_its_time(run: Run) -> None:
    outcome = run(
        """\
        rule_files: [rules.yml]
        tests:
          - input_series: [{series: 'up{i="a"}', values: 1 0x9}]
            external_url: https://x/
            external_labels: {cluster: eu}
            alert_rule_test:
              - {eval_time: 2m59s, alertname: Down}
              - &fires
                eval_time: 3m
                alertname: Down
                exp_alerts: [{exp_labels: {i: a}, exp_annotations: {url: https://x/, cluster: eu}}]
              - {<<: *fires, eval_time: 3m59s}
              - {<<: *fires, eval_time: 2m}
        """,
        rules=DOWN,
    )
    assert verdicts(outcome) == [True, True, True, False]
    assert (outcome.passed, outcome.failed) == (3, 1)
    got = outcome.tests[0].cases[1].got
    assert got == (ExpectedAlert((("alertname", "Down"), ("i", "a")), (("cluster", "eu"), ("url", "https://x/"))),)


def test_a_test_may_begin_at_any_time(run: Run) -> None:
    outcome = run(
        """\
        rule_files: [rules.yml]
        tests:
          - start_timestamp: 2024-01-01T00:00:00Z
            input_series: [{series: up, values: 0x9}]
            promql_expr_test:
              - {expr: time(), eval_time: 5m, exp_samples: [{value: 1704067500}]}
              - {expr: timestamp(up), eval_time: 90s, exp_samples: [{value: 1704067260}]}
              - {expr: up @ 1704067200, eval_time: 9m, exp_samples: [{labels: up, value: 0}]}
              - expr: ALERTS_FOR_STATE
                eval_time: 1m
                exp_samples: [{labels: 'ALERTS_FOR_STATE{alertname="Down"}', value: 1704067200}]
              - expr: ALERTS
                eval_time: 2m
                exp_samples: [{labels: 'ALERTS{alertname="Down",alertstate="firing"}', value: 1}]
          - start_timestamp: -86400
            input_series: [{series: up, values: 0x9}]
            promql_expr_test:
              - {expr: time(), exp_samples: [{value: -86400}]}
            alert_rule_test:
              - {eval_time: 2m, alertname: Down, exp_alerts: [{exp_annotations: {url: "", cluster: ""}}]}
        """,
        rules=DOWN,
    )
    assert verdicts(outcome) == [True] * 7


def test_times_are_exact_where_floats_are_not(run: Run) -> None:
    """0.1 s is no binary fraction: sample 3 is at 300 ms, not a hair behind it."""
    outcome = run(
        """\
        rule_files: [rules.yml]
        evaluation_interval: 100ms
        tests:
          - input_series: [{series: x, values: 0+1x50}]
            promql_expr_test:
              - {expr: x, eval_time: 300ms, exp_samples: [{labels: x, value: 3}]}
              - {expr: r, eval_time: 700ms, exp_samples: [{labels: r, value: 7}]}
              - {expr: timestamp(r), eval_time: 4s300ms, exp_samples: [{value: 4.3}]}
        """,
        rules="groups: [{name: g, rules: [{record: r, expr: x}]}]",
    )
    assert verdicts(outcome) == [True] * 3


GROUPS = """\
    groups:
      - {name: reader, rules: [{record: read, expr: written}]}
      - {name: writer, rules: [{record: written, expr: x}]}
    """


@pytest.mark.parametrize(("order", "value"), [("[writer, reader]", 5), ("[reader, writer]", 4), ("[]", 4)])
def test_groups_run_in_the_order_that_the_test_names_else_the_files(run: Run, order: str, value: int) -> None:
    outcome = run(
        f"""\
        rule_files: [rules.yml]
        group_eval_order: {order}
        tests:
          - input_series: [{{series: x, values: 0+1x9}}]
            promql_expr_test: [{{expr: read, eval_time: 5m, exp_samples: [{{labels: read, value: {value}}}]}}]
        """,
        rules=GROUPS,
    )
    assert verdicts(outcome) == [True]


def test_a_rule_that_fails_stops_its_test_and_no_other(run: Run) -> None:
    outcome = run(
        """\
        rule_files: [rules.yml]
        tests:
          - input_series: [{series: 'x{i="a"}', values: 1x9}, {series: 'x{i="b"}', values: _ _ 1x9}]
            alert_rule_test:
              - {eval_time: 1m, alertname: A, exp_alerts: [{exp_labels: {i: one}}]}
              - {eval_time: 2m, alertname: A}
            promql_expr_test: [{expr: 'x{i="a"}', exp_samples: [{labels: 'x{i="a"}', value: 1}]}]
          - promql_expr_test: [{expr: '1', exp_samples: [{value: 1}]}]
        """,
        rules="groups: [{name: g, rules: [{alert: A, expr: x, labels: {i: one}}]}]",
    )
    first, second = outcome.tests
    assert first.error.startswith("A: two results have the same labels {'alertname': 'A', 'i': 'one'}")
    assert first.error.endswith("(at 2m)")
    assert [(case.passed, case.error) for case in first.cases] == [(True, ""), (False, NOT_RUN), (False, NOT_RUN)]
    assert (second.error, verdicts(outcome)[-1]) == ("", True)
    assert (outcome.passed, outcome.failed) == (2, 2)


def test_a_test_without_cases_fails_when_its_rules_do(run: Run) -> None:
    rules = "groups: [{name: g, limit: 1, rules: [{record: r, expr: 'vector(1) or x'}]}]"
    outcome = run("rule_files: [rules.yml]\ntests: [{input_series: [{series: x, values: 1}]}, {}]", rules=rules)
    assert [(test.failed, bool(test.error)) for test in outcome.tests] == [(0, False), (0, False)]
    rules = rules.replace("limit: 1", "limit: 1, query_offset: 0s").replace(
        "or x", 'or label_replace(x, "a", "b", "", "")'
    )
    outcome = run("rule_files: [rules.yml]\ntests: [{input_series: [{series: x, values: 1}]}, {}]", rules=rules)
    assert [(test.failed, bool(test.error)) for test in outcome.tests] == [(1, True), (0, False)]


def test_a_query_that_fails_is_one_failed_case(run: Run) -> None:
    outcome = run(
        """\
        tests:
          - input_series: [{series: 'x{i="a"}', values: 1}, {series: 'x{i="b"}', values: 2}]
            promql_expr_test:
              - {expr: x + on () x, exp_samples: []}
              - {expr: 'x[5m]', exp_samples: []}
              - {expr: scalar(sum(x)), exp_samples: [{value: 3}]}
        """
    )
    cases = outcome.tests[0].cases
    assert [case.passed for case in cases] == [False, False, True]
    assert "many-to-many matching not allowed" in cases[0].error
    assert cases[1].error == "the result is neither an instant vector nor a scalar"


def test_fuzzy_forgives_the_last_bit_and_no_more(run: Run) -> None:
    text = """\
        fuzzy_compare: %s
        tests:
          - input_series: [{series: low, values: 2.9999999999999996}, {series: lower, values: 2.9999999999999987}]
            promql_expr_test:
              - {expr: low, exp_samples: [{labels: low, value: 3}]}
              - {expr: lower, exp_samples: [{labels: lower, value: 3}]}
        """
    assert verdicts(run(text % "false")) == [False, False]
    assert verdicts(run(text % "true")) == [True, False]


def test_only_the_wanted_tests_run_and_the_rest_is_not_counted(run: Run, write: Callable[..., object]) -> None:
    from controlplane.ruletest.run import run_file

    path = write("tests: [{name: a, promql_expr_test: [{expr: '1', exp_samples: []}]}, {name: b}]")
    outcome = run_file(path, lambda name: name == "b")  # type: ignore[arg-type]  # a path
    assert [test.test.name for test in outcome.tests] == ["b"]
    assert (outcome.passed, outcome.failed) == (0, 0)


def test_a_bad_file_or_rule_file_is_an_error_and_no_outcome(run: Run) -> None:
    assert "unknown field x" in run("x: 1").error
    broken = run(
        "rule_files: [rules.yml]\ntests: [{}]", rules="groups: [{name: g, rules: [{record: a, expr: 'sum('}]}]"
    )
    assert "rules.yml:1: group g: a: expr: " in broken.error
    assert broken.tests == ()


def test_samples_are_the_same_in_any_order_and_nan_never() -> None:
    a, b = ExpectedSample((("i", "a"),), 1.0), ExpectedSample((("i", "b"),), 2.0)
    assert same_samples([a, b], [b, a], fuzzy=False)
    assert not same_samples([a], [a, b], fuzzy=False)
    assert not same_samples([a, a], [a], fuzzy=False)
    assert not same_samples([a._replace(value=float("nan"))], [a._replace(value=float("nan"))], fuzzy=True)
    assert same_value(0.0, -0.0, fuzzy=False)
    assert same_value(float("inf"), float("inf"), fuzzy=False)
    assert not same_value(float("inf"), -float("inf"), fuzzy=True)


def test_an_expression_that_does_not_parse_fails_its_case_and_no_other(run: Run) -> None:
    outcome = run(
        """\
        tests:
          - input_series: [{series: x, values: 1x5}]
            promql_expr_test:
              - {expr: "sum(", eval_time: 1m}
              - {expr: x, eval_time: 1m, exp_samples: [{labels: x, value: 1}]}
          - promql_expr_test: [{expr: "nope(x)", eval_time: 1m}, {expr: none, eval_time: 1m}]
        """,
        rules="",
    )
    assert verdicts(outcome) == [False, True, False, True]
    assert [case.error.partition("parse error: ")[2] for case in outcome.tests[0].cases] == [
        "unclosed left parenthesis",
        "",
    ]


def test_what_the_rules_of_a_test_make_is_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.ruletest.run.MAX_RULE_SAMPLES", 5)
    rules = "groups: [{name: g, rules: [{record: y, expr: x}]}]"
    test = "rule_files: [rules.yml]\ntests: [{input_series: [{series: x, values: 1x9}], promql_expr_test: [%s]}]"
    case = "{expr: y, eval_time: %s, exp_samples: [{labels: y, value: 1}]}"
    assert verdicts(run(test % case % "4m", rules=rules)) == [True]
    (broken,) = run(test % case % "5m", rules=rules).tests
    assert broken.error == "y: the rules of a test may make 5 samples, these make more (at 5m)"
    assert broken.failed == 1


def test_templates_ask_queries_at_the_time_of_the_evaluation(run: Run) -> None:
    outcome = run(
        """\
        rule_files: [rules.yml]
        tests:
          - input_series:
              - {series: 'up{i="a"}', values: 1 0x9}
              - {series: 'load{i="a"}', values: 0+10x9}
            alert_rule_test:
              - eval_time: 4m
                alertname: Down
                exp_alerts: [{exp_labels: {i: a}, exp_annotations: {text: "up was 40, none, 240"}}]
        """,
        rules="""\
    groups:
      - name: g
        rules:
          - alert: Down
            expr: up == 0
            annotations:
              text: >-
                {{ $labels.__name__ }} was {{ query "load" | first | value }},
                {{- with query (printf "nope{i=%q}" $labels.i) }} some{{ else }} none{{ end }}, {{ now }}
    """,
    )
    assert verdicts(outcome) == [True]
