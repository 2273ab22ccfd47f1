"""Relabelling rules in fleet.yaml: Prometheus's form, and every fault with its place and cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collectors.relabel import Action, RelabelRule
from controlplane.config.loader import fleet_content, load_fleet, validated
from controlplane.config.model import Fleet
from controlplane.config.scraping.relabel import rules_of
from controlplane.errors import ConfigErrors

GROUP = """\
fleet: {name: x}
targets:
  - engine: vllm
    addresses: ["a:1"]
    relabel_configs:
"""


def written(folder: Path, *rules: str) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(GROUP + "".join(f"      - {rule}\n" for rule in rules))
    return path


def rules(fleet: Fleet) -> tuple[RelabelRule, ...]:
    return rules_of(fleet.targets[0].relabel_configs)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{target_label: a}", {"target_label": "a"}),
        ("{action: KeepEqual, source_labels: [a, b], target_label: c}",
         {"action": Action.KEEP_EQUAL, "source_labels": ("a", "b"), "target_label": "c"}),
        ("{target_label: a, regex: 1.10}", {"target_label": "a", "regex": "1.10"}),
        ("{target_label: a, regex: 0x1F, replacement: 007}",
         {"target_label": "a", "regex": "0x1F", "replacement": "007"}),
        ("{target_label: a, regex: True, separator: 1e3}", {"target_label": "a", "regex": "True", "separator": "1e3"}),
        ("{target_label: a, regex: 2026-01-02}", {"target_label": "a", "regex": "2026-01-02"}),
        ("{target_label: 5, source_labels: [1.0, x.y]}", {"target_label": "5", "source_labels": ("1.0", "x.y")}),
        ("{target_label: a, replacement: , regex: , source_labels: }",
         {"target_label": "a", "replacement": "", "regex": ""}),
        ("{action: hashmod, target_label: a, modulus: 18446744073709551615}",
         {"action": Action.HASHMOD, "target_label": "a", "modulus": 2**64 - 1}),
    ],
)  # fmt: skip
def test_a_rule_is_read_as_prometheus_reads_it(tmp_path: Path, rule: str, expected: dict[str, Any]) -> None:
    path = written(tmp_path, rule)
    assert rules(load_fleet(path).fleet) == (RelabelRule(**expected),)
    # Another process gets the content as data, and reads the same texts.
    assert rules(validated(fleet_content(path))) == (RelabelRule(**expected),)


def test_an_anchor_and_a_merged_map_are_read_as_written(tmp_path: Path) -> None:
    path = written(tmp_path, "&one {target_label: a, regex: 1.10}", "*one", "{<<: *one, replacement: 2.50}")
    one = RelabelRule(target_label="a", regex="1.10")
    assert rules(load_fleet(path).fleet) == (one, one, RelabelRule(target_label="a", regex="1.10", replacement="2.50"))


def test_each_fault_has_its_place_and_cure(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "{action: keeep}",
        "{action: hashmod, target_label: x, modulus: '8'}",
        "{action: hashmod, target_label: x}",
        "{action: labeldrop, regex: '(', source_labels: [x]}",
        "{target_label: x, regex: '('}",
        "{action: labeldrop, regexp: a}",
        "{action: dropequal, regex: (.*), source_labels: [a], target_label: y}",
        "{target_label: x, source_labels: ['', \"a\\0\"]}",
        "nope",
        "{target_label: x, regex: [a]}",
        "{}",
        "{action: hashmod, target_label: x, modulus: 18446744073709551616}",
    )
    with pytest.raises(ConfigErrors) as caught:
        load_fleet(path)
    told = [str(error).removeprefix(f"{path}:") for error in caught.value.errors]
    fields = "source_labels, separator, target_label, regex, modulus, replacement, action"
    assert [line.replace("targets[0].relabel_configs", "") for line in told] == [
        f"6: [0].action: expected one of: {', '.join(Action)}; got 'keeep'; did you mean 'keep'?",
        "7: [1].modulus: expected a whole number, got '8'",
        "8: [2].modulus: action hashmod needs a whole number from 1 to 18446744073709551615",
        "9: [3].source_labels: action labeldrop uses only regex; remove it",
        "10: [4].regex: error parsing regexp: missing closing ): `(`",
        f"11: [5].regexp: unknown field; did you mean 'regex'? known here: {fields}",
        "12: [6].regex: action dropequal does not use it; remove it",
        "13: [7].source_labels[0]: expected a label's name, got an empty text",
        "13: [7].source_labels[1]: holds a NUL (U+0000) as character 2; remove it",
        "14: [8]: expected a map of fields, got 'nope'",
        "15: [9].regex: expected a text, got a list",
        "16: [10].target_label: action replace needs it",
        "17: [11].modulus: expected 18446744073709551615 or less, got the number 18446744073709551616",
    ]


def test_rules_for_targets_need_addresses_and_make_any_address_possible(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    rule = "[{target_label: a, replacement: b}]"
    path.write_text(f"fleet: {{name: x}}\ntargets:\n  - {{engine: nvml, relabel_configs: {rule}}}\n")
    with pytest.raises(ConfigErrors, match="relabel_configs: has no effect on urls: and on this host's GPUs"):
        load_fleet(path)
    path.write_text(f"fleet: {{name: x}}\ntargets:\n  - {{engine: nvml, metric_relabel_configs: {rule}}}\n")
    assert rules_of(load_fleet(path).fleet.targets[0].metric_relabel_configs)[0].replacement == "b"
    group = "engine: custom, addresses: ['http://x/y']"
    path.write_text(f"fleet: {{name: x}}\ntargets:\n  - {{{group}, relabel_configs: {rule}}}\n")
    assert load_fleet(path).fleet.targets[0].addresses == ("http://x/y",)
    path.write_text(f"fleet: {{name: x}}\ntargets:\n  - {{{group}}}\n")
    with pytest.raises(ConfigErrors, match=r"targets\[0\].addresses\[0\]: expected host:port .*, got 'http://x/y'"):
        load_fleet(path)
