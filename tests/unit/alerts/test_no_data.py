"""The annotation `controlplane_no_data`: its forms, its faults, and what it leaves in alerts and in written rules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from alerts.errors import RuleError
from alerts.interfaces import VectorSample
from alerts.no_data import Action, NoData, read_no_data
from alerts.rules import AlertingRule, RuleGroup, as_prometheus, parse_rules
from alerts.state import activate
from alerts.template import Surroundings


def group(policy: str, more: str = "") -> RuleGroup:
    annotations = f"{{summary: hot, controlplane_no_data: {policy}}}"
    text = f"groups: [{{name: g, rules: [{{alert: Hot, expr: temp > 85, annotations: {annotations}{more}}}]}}]"
    return parse_rules(text, "f.yml")[0]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("keep", NoData()),
        ("fire", NoData(Action.FIRE)),
        ("resolve", NoData(Action.RESOLVE)),
        ("fire after 10m", NoData(Action.FIRE, 600.0)),
        (" resolve  after 1h30m ", NoData(Action.RESOLVE, 5400.0)),
    ],
)
def test_forms(text: str, policy: NoData) -> None:
    assert read_no_data(text) == policy
    assert read_no_data(str(policy)) == policy


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("page", "expected keep, fire, resolve"),
        ("'fire after'", "expected keep, fire, resolve"),
        ("'{{ $value }}'", "expected keep, fire, resolve"),
        ("keep after 5m", "keep has no time"),
        ("fire after soon", "soon"),
    ],
)
def test_a_fault_names_its_place(text: str, fault: str) -> None:
    with pytest.raises(RuleError, match=rf"f\.yml:1: group g: Hot: annotations: controlplane_no_data: .*{fault}"):
        group(text)


def test_the_label_belongs_to_reports() -> None:
    with pytest.raises(RuleError, match="the label controlplane_no_data is set by the control plane"):
        group("fire", ", labels: {controlplane_no_data: x}")


def test_alerts_do_not_carry_it_and_written_rules_do() -> None:
    made = group("fire after 10m")
    (rule,) = made.rules
    assert isinstance(rule, AlertingRule)
    (active,) = activate(rule, [VectorSample((), 90.0)], Surroundings())
    assert dict(active.annotations) == {"summary": "hot"}
    assert parse_rules(yaml.safe_dump(as_prometheus([made])), "f.yml") == (made,)


@pytest.mark.needs("prometheus")
def test_promtool_accepts_it(tmp_path: Path) -> None:
    (tmp_path / "r.yml").write_text(yaml.safe_dump(as_prometheus([group("resolve after 1h")])))
    checked = subprocess.run(["promtool", "check", "rules", tmp_path / "r.yml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
