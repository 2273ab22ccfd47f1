from __future__ import annotations

from pathlib import Path

import pytest

from alerts.errors import RuleError
from alerts.rules import AlertingRule, RecordingRule, as_prometheus, duplicates, load_rule_files, parse_rules

WHOLE = """\
groups:
  - name: service
    interval: 30s
    limit: 10
    query_offset: 1m
    labels: {team: llm, gone: x}
    rules:
      - record: job:up:count
        expr: count by (job) (up)
        labels: {team: "", level: 1}
      - alert: Down
        expr: up == 0
        for: 1m30s
        keep_firing_for: 5m
        labels: {severity: critical, team: ops}
        annotations:
          summary: "{{ $labels.instance }} is down"
  - name: empty
"""


def test_a_whole_file_is_read() -> None:
    service, empty = parse_rules(WHOLE, "r.yml")
    assert (service.key, service.interval_s, service.limit, service.query_offset_s) == ("r.yml;service", 30, 10, 60)
    record, alert = service.rules
    assert isinstance(record, RecordingRule)
    assert (record.id, record.labels, record.removed) == (
        "r.yml;service;job:up:count",
        (("gone", "x"), ("level", "1")),
        ("team",),
    )
    assert isinstance(alert, AlertingRule)
    assert (alert.id, alert.for_s, alert.keep_firing_for_s) == ("r.yml;service;Down", 90, 300)
    assert {name: template.text for name, template in alert.labels} == {
        "gone": "x",
        "severity": "critical",
        "team": "ops",
    }
    assert (empty.name, empty.rules, empty.interval_s) == ("empty", (), None)


def test_what_is_written_out_reads_the_same() -> None:
    import json

    groups = parse_rules(WHOLE, "r.yml")
    again = parse_rules(json.dumps(as_prometheus(groups)), "r.yml")
    assert as_prometheus(again) == as_prometheus(groups)
    assert [rule.id for g in again for rule in g.rules] == [rule.id for g in groups for rule in g.rules]


def group(rules: str) -> str:
    return f"groups:\n  - name: g\n    rules:\n{rules}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^r\.yml:1: the file is empty"),
        ("a: [", r"^r\.yml:\d+: not YAML"),
        ("- a", r"^r\.yml:1: expected a mapping"),
        ("groops: []", r"^r\.yml:1: unknown field groops; known fields are groups"),
        ("groups: {}", r"^r\.yml:1: expected a list"),
        ("groups: [{rules: []}]", r"^r\.yml:1: a group needs a name"),
        ("groups:\n- name: a\n- name: b\n- name: a", r"^r\.yml:4: group a is repeated in the same file"),
        ("groups:\n- name: a\n  name: b", r"^r\.yml:3: field name is given twice"),
        ("groups:\n- name: a\n  partial_response_strategy: x", r"^r\.yml:3: unknown field partial_response_strategy"),
        ("groups:\n- name: a\n  interval: often", r"^r\.yml:3: group a: interval: expected a duration"),
        ("groups:\n- name: a\n  limit: many", r"^r\.yml:3: group a: limit: expected a whole number, got 'many'"),
        (group("    - {alert: A, expr: up, fro: 5m}"), r"^r\.yml:4: group g: rule 1: unknown field fro; known fields"),
        (group("    - {expr: up}"), r"^r\.yml:4: group g: rule 1: a rule needs exactly one of record: and alert:"),
        (group("    - {alert: A, record: b, expr: up}"), r"exactly one of record: and alert:"),
        (group("    - {alert: A}"), r"^r\.yml:4: group g: A: expr: expr is empty"),
        (group("    - alert: A\n      expr: 'rate(up)'"), r"^r\.yml:5: group g: A: expr: 1:6: parse error: expected"),
        (group("    - {alert: A, expr: 'up[5m]'}"), r"group g: A: expr: expr is a MatrixSelector; a rule needs"),
        (group("    - {alert: A, expr: '\"text\"'}"), r"expr is a StringLiteral"),
        (group("    - {alert: A, expr: up, for: 1.5h}"), r"group g: A: for: expected a duration"),
        (group("    - {record: r, expr: up, for: 1m}"), r"group g: r: for: belongs to alerting rules only"),
        (group("    - {record: r, expr: up, annotations: {}}"), r"annotations: belongs to alerting rules only"),
        (group("    - {record: 'a b', expr: up}"), r"'a b' is not a metric name"),
        (group("    - {alert: A, expr: up, labels: {1a: x}}"), r"group g: A: labels: '1a' is not a label name"),
        (group("    - {alert: A, expr: up, labels: {__name__: x}}"), r"'__name__' is not a label name"),
        (group("    - {alert: A, expr: up, labels: {a: [x]}}"), r"group g: A: labels: a: expected a text"),
        (group("    - alert: A\n      expr: up\n      annotations:\n        s: '{{ nope }}'"),
         r"^r\.yml:7: group g: A: annotations: s: {{ nope }}: nope is not a function of templates"),
    ],
)  # fmt: skip
def test_faults_are_refused_with_their_place(text: str, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        parse_rules(text, "r.yml")


def test_rules_of_one_name_are_told_apart_by_their_labels() -> None:
    burn = "    - {alert: Burn, expr: 'up > %d', labels: {severity: %s}}\n"
    text = group(burn % (1, "critical") + burn % (2, "warning") + burn % (3, "warning"))
    (first,) = parse_rules(text, "r.yml")
    ids = [rule.id for rule in first.rules]
    assert len(set(ids)) == 3
    assert all(rule_id.startswith("r.yml;g;Burn#") for rule_id in ids)
    (swapped,) = parse_rules(group(burn % (2, "warning") + burn % (1, "critical")), "r.yml")
    assert {swapped.rules[1].id, swapped.rules[0].id} == set(ids[:2]), "an id does not depend on the order"
    assert duplicates([first]) == ["Burn with labels {'severity': 'warning'} is defined 2 times"]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    good = tmp_path / "good.yml"
    good.write_text(WHOLE)
    assert [g.name for g in load_rule_files([good])] == ["service", "empty"]
    with pytest.raises(RuleError, match=r"none\.yml: cannot be read"):
        load_rule_files([good, tmp_path / "none.yml"])
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RuleError, match=r"binary\.yml: cannot be read"):
        load_rule_files([tmp_path / "binary.yml"])
    with pytest.raises(RuleError, match=r"/dev/zero: a rule file may have 16,777,216 bytes, this one has more"):
        load_rule_files([Path("/dev/zero")])


def test_an_empty_list_of_groups_is_fine() -> None:
    assert parse_rules("groups:", "r.yml") == ()
    assert parse_rules("groups: []", "r.yml") == ()


def test_one_reading_finds_every_fault_and_keeps_what_is_good(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text(
        "groups:\n- name: g\n  rules:\n  - {record: a, expr: sum(}\n  - {record: b, expr: up}\n"
        "  - {alert: c}\n- {name: }\n"
    )
    faults: list[RuleError] = []
    (group,) = load_rule_files([tmp_path / "none.yml", path], faults)
    assert [(rule.name, rule.line) for rule in group.rules] == [("b", 5)]
    assert [(fault.file, fault.line) for fault in faults] == [
        (f"{tmp_path}/none.yml", None),
        (str(path), 4),
        (str(path), 6),
        (str(path), 7),
    ]
    assert faults[2].reason == "group g: c: expr: expr is empty"


def test_a_rule_that_only_moved_is_the_same_rule() -> None:
    text = "groups:\n- {name: g, rules: [{alert: A, expr: up}, {record: r, expr: up}]}"
    assert parse_rules(text, "f") == parse_rules("\n\n" + text, "f")
    assert [rule.line for rule in parse_rules("\n\n" + text, "f")[0].rules] == [4, 4]


def test_that_a_rule_says_it_waits_for_nothing_is_kept() -> None:
    groups = parse_rules("groups: [{name: g, rules: [{alert: A, expr: up, for: 0s}, {alert: B, expr: up}]}]", "f")
    assert [rule.says_for for rule in groups[0].rules] == [True, False]  # type: ignore[union-attr]  # alerting rules
    first, second = as_prometheus(groups)["groups"][0]["rules"]  # type: ignore[index]  # as it is written
    assert (first["for"], "for" in second) == ("0s", False)
