"""What the linter finds, where, and that it is quiet on what is good."""

from __future__ import annotations

from textwrap import dedent

import pytest

from alerts.errors import RuleError
from alerts.packs import BUILTIN, EXAMPLE, load_pack
from alerts.rules import parse_rules
from controlplane.ruletest.lint import LintFinding, known_metrics, lint

GOOD = "for: 1m, annotations: {runbook_url: 'https://r/'}"


def found(text: str) -> list[str]:
    faults: list[RuleError] = []
    groups = parse_rules(dedent(text), "a.yml", faults)
    return [str(finding) for finding in lint(groups, faults)]


def alert(expr: str, more: str = GOOD) -> list[str]:
    return found(f"groups:\n- name: g\n  rules:\n  - {{alert: A, expr: '{expr}', {more}}}\n")


def test_the_packs_are_without_a_finding() -> None:
    assert lint([group for name in BUILTIN for group in load_pack(name, options=EXAMPLE)]) == []


@pytest.mark.parametrize(
    "expr",
    [
        "up == 0",
        "scrape_duration_seconds > 1",
        'ALERTS{alertname="B"} and ALERTS_FOR_STATE',
        "controlplane_anything_at_all > 0",
        "llm_requests_running > 1",
        "rate(llm_request_duration_seconds_bucket[5m]) > 1",
        "vllm:num_requests_waiting > 1",
        "rate(vllm:e2e_request_latency_seconds_count[5m]) > 1",
        "nv_inference_pending_request_count > 1",
        "DCGM_FI_DEV_GPU_TEMP > 90",
        "model:llm_requests:rate5m > 1",
        '{__name__=~"whatever.*"} > 1',
        '{job="x"} > 1',
    ],
)
def test_known_metrics_are_known(expr: str) -> None:
    assert alert(expr) == []


@pytest.mark.parametrize(
    ("expr", "name", "nearest"),
    [
        ("llm_request_running > 1", "llm_request_running", "llm_requests_running"),
        ("vllm:num_request_waiting > 1", "vllm:num_request_waiting", "vllm:num_requests_waiting"),
        ("llm_queue_duration_seconds > 1", "llm_queue_duration_seconds", "llm_queue_duration_seconds_sum"),
    ],
)
def test_an_unknown_metric_is_named_with_its_nearest(expr: str, name: str, nearest: str) -> None:
    assert alert(expr) == [
        f"a.yml:4: warning: group g: A: metric {name} is not known; the nearest known name is {nearest}"
    ]


def test_a_metric_like_no_other_is_said_to_be_so_once() -> None:
    (line,) = alert("zzz + zzz > sum(zzz)")
    assert line.endswith("metric zzz is not known; no engine, rule or catalogue entry has it")


def test_what_the_files_record_is_known() -> None:
    assert found(
        f"""\
        groups:
        - name: g
          rules:
          - {{record: mine:up, expr: up}}
          - {{alert: A, expr: mine:up == 0, {GOOD}}}
        """
    ) == []  # fmt: skip


def test_for_and_runbook_are_missed_unless_no_wait_is_meant() -> None:
    assert alert("up == 0", "labels: {}") == [
        "a.yml:4: warning: group g: A: it has no annotation runbook_url: the person on call gets no instructions",
        "a.yml:4: warning: group g: A: it has no for: and fires on a single evaluation; "
        "if that is meant, write for: 0s",
    ]
    assert alert("up == 0", "for: 0s, annotations: {runbook_url: x}") == []


@pytest.mark.parametrize(
    ("expr", "doubts"),
    [
        ("rate(llm_requests_running[5m]) > 1", ["metric llm_requests_running is a gauge; rate()"]),
        (
            "irate(nv_inference_pending_request_count[5m]) > 1",
            ["metric nv_inference_pending_request_count is a gauge; irate()"],
        ),
        (
            "rate(model:llm_requests:rate5m[5m]) > 1",
            ["metric model:llm_requests:rate5m might not be a counter: its name"],
        ),
        (
            "sum(increase(DCGM_FI_DEV_GPU_TEMP[1h])) + sum(rate(DCGM_FI_DEV_GPU_TEMP[1h])) > 1",
            ["metric DCGM_FI_DEV_GPU_TEMP is a gauge; increase()", "metric DCGM_FI_DEV_GPU_TEMP is a gauge; rate()"],
        ),
        ("rate(nv_inference_request_success[5m]) > 1", []),
        ("rate(llm_request_duration_seconds_bucket[5m]) > 1", []),
        ("rate(llm_requests_total[5m]) > 1", []),
        ('rate({job="x"}[5m]) > 1', []),
        ("delta(llm_requests_running[5m]) > 1", []),
        ("rate(sum(llm_requests_running)[5m:1m]) > 1", []),
    ],
)
def test_rates_of_what_is_no_counter(expr: str, doubts: list[str]) -> None:
    found = alert(expr)
    assert len(found) == len(doubts)
    for finding, doubt in zip(found, doubts, strict=True):
        assert finding.startswith(f"a.yml:4: warning: group g: A: {doubt}")
        assert finding.endswith("() treats each decrease as a counter reset; use delta() for a gauge")


def test_a_rule_twice_is_said_of_the_second() -> None:
    assert found(
        """\
        groups:
        - name: g
          rules:
          - {record: 'a:b', expr: up, labels: {x: "1"}}
          - {record: 'a:b', expr: up, labels: {x: "2"}}
        - name: h
          rules:
          - {record: 'a:b', expr: 1 - up, labels: {x: "1"}}
        """
    ) == ["a.yml:8: warning: a:b with labels {'x': '1'} is defined 2 times; the first is at a.yml:4"]


def test_a_label_that_the_result_cannot_have_is_named() -> None:
    summary = "{{ $labels.instance }} {{ index $labels `job` }} {{ .Labels.model }}"
    never = "which the result of its query never has; it can have model"
    more = f'for: 1m, annotations: {{summary: "{summary}", runbook_url: x}}'
    assert alert("sum by (model) (up) == 0", more) == [
        f"a.yml:4: warning: group g: A: summary uses $labels.instance, {never}",
        f"a.yml:4: warning: group g: A: summary uses $labels.job, {never}",
    ]
    assert alert("up == 0", 'for: 1m, annotations: {summary: "{{ $labels.any }}", runbook_url: x}') == []
    (line,) = alert("vector(1)", 'for: 1m, labels: {a: "{{ $labels.b }}"}, annotations: {runbook_url: x}')
    assert line.endswith("a uses $labels.b, which the result of its query never has; it has no labels")


def test_labels_are_followed_through_recorded_series() -> None:
    assert found(
        """\
        groups:
        - name: g
          rules:
          - {record: a:up, expr: "sum by (job, gone) (up)", labels: {gone: "", added: x}}
          - {record: b:up, expr: "max without (other) (a:up)"}
          - {alert: A, expr: b:up == 0, for: 1m, annotations: {runbook_url: "{{ $labels.job }}{{ $labels.added }}"}}
          - {alert: B, expr: b:up == 0, for: 1m, annotations: {runbook_url: "{{ $labels.gone }}"}}
          - {record: c:up, expr: c:up or up}
          - {alert: C, expr: c:up == 0, for: 1m, annotations: {runbook_url: "{{ $labels.x }}"}}
        """
    ) == [
        "a.yml:7: warning: group g: B: runbook_url uses $labels.gone, which the result of its query never has; "
        "it can have added, job"
    ]  # fmt: skip


def test_what_the_engine_cannot_evaluate_is_a_warning() -> None:
    (line,) = alert("mad_over_time(up[5m]) > 1")
    assert line.startswith("a.yml:4: warning: group g: A: the embedded engine cannot evaluate it: ")


def test_errors_of_every_rule_come_with_their_lines_beside_the_warnings() -> None:
    assert [line.partition(" expr:")[0] for line in found(
        """\
        groups:
        - name: g
          rules:
          - {record: a:b, expr: sum(}
          - {record: a:c, expr: nothing_known}
          - {record: a:d, expr: ')'}
        - name: g
          rules: []
        - name: h
          bad: 1
        """
    )] == [
        "a.yml:4: error: group g: a:b:",
        "a.yml:5: warning: group g: a:c: metric nothing_known is not known; no engine, rule or catalogue entry has it",
        "a.yml:6: error: group g: a:d:",
        "a.yml:7: error: group g is repeated in the same file",
        "a.yml:10: error: unknown field bad; known fields are name, interval, rules, limit, query_offset, labels",
    ]  # fmt: skip


def test_a_finding_without_a_place_is_still_a_sentence() -> None:
    assert str(LintFinding("", 0, "error", "no")) == "error: no"
    assert str(LintFinding("builtin:x", 0, "error", "no such pack")) == "builtin:x: error: no such pack"


def test_a_histogram_of_the_catalogue_has_its_three_series_and_no_other() -> None:
    from collectors.catalogue.model import load_catalogue

    names = known_metrics(load_catalogue(), ())
    assert {"vllm:time_to_first_token_seconds_bucket", "llm_request_duration_seconds_count"} <= names
    assert not {"vllm:time_to_first_token_seconds", "llm_request_duration_seconds"} & names
