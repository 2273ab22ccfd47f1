"""What a person reads of a failed test, and what a program gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

from controlplane.ruletest.report import content, file_lines, summary
from controlplane.ruletest.run import FileOutcome, run_file

Run = Callable[..., FileOutcome]

RULES = """\
    groups:
      - name: g
        rules:
          - alert: Hot
            expr: temp > 80
            labels: {severity: page}
            annotations: {summary: "{{ $value }} °C", help: look}
    """


def lines(outcome: FileOutcome) -> str:
    folder = str(outcome.path.parent)
    return "".join(f"{line}\n" for line in file_lines(outcome)).replace(f"{folder}/", "")


def test_an_alert_that_differs_shows_what_differs(run: Run) -> None:
    outcome = run(
        """\
        rule_files: [rules.yml]
        tests:
          - name: heat
            input_series: [{series: 'temp{gpu="0"}', values: 81}, {series: 'temp{gpu="1"}', values: 90}]
            alert_rule_test:
              - alertname: Hot
                exp_alerts:
                  - exp_labels: {gpu: 0, severity: page}
                    exp_annotations: {summary: "80 °C", help: look}
                  - exp_labels: {gpu: 1, severity: page}
                    exp_annotations: {summary: "90 °C", help: look}
                  - exp_labels: {gpu: 2, severity: page}
              - {alertname: Hot, eval_time: 1m, exp_alerts: []}
              - {alertname: Cold, exp_alerts: [{exp_labels: {gpu: 0}}]}
        """,
        rules=RULES,
    )
    assert lines(outcome) == dedent(
        """\
        a.test.yml:6: heat: alert Hot at 0s
              {alertname="Hot", gpu="0", severity="page"}
            -   summary: 80 °C
            +   summary: 81 °C
            - {alertname="Hot", gpu="2", severity="page"}
        a.test.yml:13: heat: alert Hot at 1m
            + {alertname="Hot", gpu="0", severity="page"}
            +   help: look
            +   summary: 81 °C
            + {alertname="Hot", gpu="1", severity="page"}
            +   help: look
            +   summary: 90 °C
        a.test.yml:14: heat: alert Cold at 0s
            - {alertname="Cold", gpu="0"}
              (nothing fires)
        a.test.yml: 0 passed, 3 failed
        """
    )


def test_samples_that_differ_are_paired_and_explained(run: Run) -> None:
    outcome = run(
        """\
        tests:
          - input_series:
              - {series: 'x{i="a"}', values: 1}
              - {series: 'x{i="b"}', values: 2}
              - {series: tenths, values: 0+0.1x3}
              - {series: odd, values: NaN}
            promql_expr_test:
              - expr: |
                  x
                    * 2
                exp_samples:
                  [{labels: '{i="a"}', value: 2}, {labels: '{i="b"}', value: 5}, {labels: '{i="c"}', value: 6}]
              - {expr: x, exp_samples: [{labels: 'x{i="a"}', value: 1}]}
              - {expr: nothing, exp_samples: [{labels: nothing, value: .inf}]}
              - {expr: tenths, eval_time: 3m, exp_samples: [{labels: tenths, value: 0.3}]}
              - {expr: odd, exp_samples: [{labels: odd, value: .nan}]}
              - {expr: 'x[1m]', exp_samples: []}
              - {expr: count(x), exp_samples: [{value: 2}]}
        """
    )
    assert lines(outcome) == dedent(
        """\
        a.test.yml:8: x * 2 at 0s
            - {i="b"} 5
            + {i="b"} 4
            - {i="c"} 6
        a.test.yml:13: x at 0s
            + x{i="b"} 2
        a.test.yml:14: nothing at 0s
            - nothing +Inf
              (no samples)
        a.test.yml:15: tenths at 3m
            - tenths 0.3
            + tenths 0.30000000000000004
              the values differ by rounding: fuzzy_compare: true forgives the last bit, round(…, 1e-6) more
        a.test.yml:16: odd at 0s
            - odd NaN
            + odd NaN
              NaN equals nothing, itself included: test `(…) != bool (…)`, which is 1 for NaN
        a.test.yml:17: x[1m] at 0s: the result is neither an instant vector nor a scalar
        a.test.yml: 1 passed, 6 failed
        """
    )


def test_a_rule_that_fails_is_said_once(run: Run) -> None:
    outcome = run(
        """\
        rule_files: [rules.yml]
        tests:
          - input_series: [{series: 'temp{gpu="0"}', values: 81}, {series: 'temp{gpu="1"}', values: 90}]
            alert_rule_test: [{alertname: Hot}]
            promql_expr_test: [{expr: '1', exp_samples: [{value: 1}]}]
        """,
        rules=RULES.replace("severity: page", 'gpu: ""'),
    )
    assert lines(outcome).replace("once the rule's", "…").splitlines()[1:] == [
        "    2 cases not run",
        "a.test.yml: 0 passed, 2 failed",
    ]
    assert lines(outcome).startswith("a.test.yml:3: stopped, because a rule cannot be evaluated: Hot: two results have")


def test_the_summary_counts_files_and_those_that_could_not_be_read(run: Run, tmp_path: Path) -> None:
    good = run("tests: [{promql_expr_test: [{expr: '1', exp_samples: [{value: 1}]}]}]")
    bad = run_file(tmp_path / "none.yml")
    assert lines(bad) == "none.yml: cannot be read: No such file or directory\n"
    assert summary([good]) == "1 passed, 0 failed in 1 file"
    assert summary([good, bad]) == "1 passed, 0 failed in 2 files; 1 could not be read"


def test_a_program_gets_everything_as_plain_json(run: Run) -> None:
    outcome = run(
        """\
        rule_files: [rules.yml, none.yml]
        tests:
          - name: heat
            input_series: [{series: temp, values: Inf}]
            alert_rule_test: [{alertname: Hot}]
            promql_expr_test: [{expr: temp, eval_time: 1m, exp_samples: [{labels: temp, value: .nan}]}]
        """,
        rules=RULES,
    )
    data = json.loads(json.dumps(content([outcome]), allow_nan=False))
    (file,) = data.pop("files")
    assert data == {"passed": 0, "failed": 2}
    assert (file["error"], len(file["warnings"])) == ("", 1)
    (test,) = file["tests"]
    alert, expr = test["cases"]
    assert alert["got"] == [
        {"labels": {"alertname": "Hot", "severity": "page"}, "annotations": {"help": "look", "summary": "+Inf °C"}}
    ]
    assert expr == {
        "line": 6,
        "expr": "temp",
        "eval_time": "1m",
        "passed": False,
        "error": "",
        "expected": [{"labels": {"__name__": "temp"}, "value": "NaN"}],
        "got": [{"labels": {"__name__": "temp"}, "value": "+Inf"}],
    }
