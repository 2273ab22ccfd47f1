"""Rules in PrometheusRule objects, as kubectl, Helm and Kustomize write their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alerts.errors import RuleError
from alerts.rules import RuleGroup, load_rule_files, parse_rules

OBJECT = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {name}
  namespace: monitoring
  labels: {{release: prometheus}}
spec:
  groups:
    - name: vllm
      interval: 30s
      partial_response_strategy: warn
      rules:
        - alert: TooMany
          expr: sum(vllm:num_requests_running) > 100
          for: 5m
          labels: {{severity: warning}}
          annotations: {{summary: "{{{{ $value }}}} run"}}
        - {{record: one, expr: 1}}
"""
DEPLOYMENT = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: vllm}\nspec: {groups: not of rules}\n"


def keys(groups: tuple[RuleGroup, ...]) -> list[str]:
    return [group.key for group in groups]


def test_an_object_has_the_rules_of_a_rule_file() -> None:
    (group,) = parse_rules(OBJECT.format(name="llm"), "r.yml")
    (plain,) = parse_rules(
        "groups:\n- name: vllm\n  interval: 30s\n  rules:\n"
        "  - {alert: TooMany, expr: 'sum(vllm:num_requests_running) > 100', for: 5m, labels: {severity: warning}, "
        "annotations: {summary: '{{ $value }} run'}}\n"
        "  - {record: one, expr: 1}\n",
        "r.yml#monitoring/llm",
    )
    assert group == plain
    assert [rule.line for rule in group.rules] == [13, 18]
    assert group.rules[0].id == "r.yml#monitoring/llm;vllm;TooMany"


def test_a_file_may_have_several_objects_of_many_kinds() -> None:
    first, second = OBJECT.format(name="a"), OBJECT.format(name="b").replace("  namespace: monitoring\n", "")
    found = parse_rules("---\n".join(["# of Helm\n", DEPLOYMENT, first, second, ""]), "r.yml")
    assert keys(found) == ["r.yml#monitoring/a;vllm", "r.yml#b;vllm"]


@pytest.mark.parametrize("kind", ["List", "PrometheusRuleList"])
def test_a_list_of_objects_is_read(kind: str) -> None:
    objects = "".join("- " + OBJECT.format(name=name).replace("\n", "\n  ").rstrip(" ") for name in ("a", "b"))
    found = parse_rules(f"apiVersion: v1\nkind: {kind}\nitems:\n{objects}", "r.yml")
    assert keys(found) == ["r.yml#monitoring/a;vllm", "r.yml#monitoring/b;vllm"]


def test_json_of_kubectl_is_read() -> None:
    rule = {"alert": "Down", "expr": "up == 0"}
    one = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "llm", "managedFields": [{"manager": "kubectl"}]},
        "spec": {"groups": [{"name": "g", "rules": [rule]}]},
    }
    assert keys(parse_rules(json.dumps(one, indent=2), "r.json")) == ["r.json#llm;g"]


def test_an_object_without_groups_has_no_rules_beside_others() -> None:
    without = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: none}\n"
    found = parse_rules(f"{without}---\n{OBJECT.format(name='a')}", "r.yml")
    assert keys(found) == ["r.yml#monitoring/a;vllm"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DEPLOYMENT, r"r\.yml:1: no object in the file is a PrometheusRule with spec\.groups"),
        ("apiVersion: v1\nkind: List\n", r"r\.yml:1: no object in the file is a PrometheusRule"),
        (OBJECT.format(name='""'), r"r\.yml:1: a PrometheusRule needs metadata\.name"),
        (
            OBJECT.format(name="a") + "---\n" + OBJECT.format(name="a"),
            r"r\.yml:20: PrometheusRule monitoring/a is in the file twice",
        ),
        (
            OBJECT.format(name="a") + "---\ngroups: []\n",
            r"r\.yml:20: this document has no kind:; put rules of Prometheus into a file of their own",
        ),
        (
            OBJECT.format(name="a").replace("groups:", "group:"),
            r"r\.yml:8: PrometheusRule a: spec: unknown field group; known fields are groups",
        ),
        (OBJECT.format(name="a").replace("> 100", "> ("), r"r\.yml:14: group vllm: TooMany: expr: "),
        ("groups: []\n---\ngroups: []\n", r"r\.yml:3: a second document begins here; write everything into one"),
        (
            OBJECT.format(name="a") + "---\na: *none\n",
            r"r\.yml:20: not YAML: an alias \*none without an anchor &none before it",
        ),
    ],
)
def test_faults_are_refused_with_their_place(text: str, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        parse_rules(text, "r.yml")


def test_an_anchor_ends_with_its_document() -> None:
    text = "groups: &g []\n---\ngroups: *g\n"
    with pytest.raises(RuleError, match=r"r\.yml:3: not YAML: an alias \*g without an anchor &g before it"):
        parse_rules(text, "r.yml")


def test_one_reading_finds_the_faults_of_every_object(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    bad = OBJECT.format(name="a").replace("for: 5m", "for: soon")
    path.write_text(f"{bad}---\n{bad.replace('name: a', 'name: b')}")
    faults: list[RuleError] = []
    first, second = load_rule_files([path], faults)
    assert [rule.name for rule in (*first.rules, *second.rules)] == ["one", "one"]
    assert [(fault.file, fault.line) for fault in faults] == [(str(path), 15), (str(path), 34)]
