"""The rule that drops an address, told with the values that it compares."""

from __future__ import annotations

import pytest

from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DiscoveryGroup
from collectors.relabel import MAX_SHOWN, Action, RelabelRule, dropping, relabelled

POD = {"__address__": "10.0.0.7:8000", "app": "web", "release": "web", "pod": "web-0", "empty": ""}
COPY = RelabelRule(source_labels=("app",), target_label="kind", replacement="is-$1")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            [COPY, RelabelRule(Action.KEEP, ("kind",), regex="is-(vllm|triton)")],
            'relabel_configs[1] (keep): kind must match "is-(vllm|triton)", and is "is-web"',
        ),
        (
            [RelabelRule(Action.KEEP, ("empty", "scrape"), regex="true;.*")],
            'relabel_configs[0] (keep): empty scrape must match "true;.*", and is ";"',
        ),
        (
            [RelabelRule(Action.DROP, ("pod",), regex="web-.*")],
            'relabel_configs[0] (drop): pod must not match "web-.*", and is "web-0"',
        ),
        (
            [RelabelRule(Action.KEEP_EQUAL, ("app",), target_label="pod")],
            'relabel_configs[0] (keepequal): app must be equal to pod, and "web" is not "web-0"',
        ),
        (
            [RelabelRule(Action.DROP_EQUAL, ("app",), target_label="release")],
            'relabel_configs[0] (dropequal): app must not be equal to release, and both are "web"',
        ),
        ([RelabelRule(Action.DROP)], 'relabel_configs[0] (drop): no label must not match "(.*)", and is ""'),
    ],
)
def test_the_rule_and_its_values_are_told(rules: list[RelabelRule], told: str) -> None:
    assert relabelled(POD, rules) is None
    assert str(dropping(POD, rules)) == told


def test_labels_that_stay_are_dropped_by_no_rule() -> None:
    rules = [COPY, RelabelRule(Action.KEEP, ("kind",), regex="is-.*"), RelabelRule(Action.LABELDROP, regex=".*")]
    assert (relabelled(POD, rules), dropping(POD, rules)) == ({}, None)


def test_a_long_value_is_shortened() -> None:
    found = dropping({"app": "x" * 10_000}, [RelabelRule(Action.DROP, ("app",))])
    assert str(found) == f'relabel_configs[0] (drop): app must not match "(.*)", and is "{"x" * MAX_SHOWN}…"'


def test_a_dropped_target_names_the_rule_of_its_group() -> None:
    rule = RelabelRule(Action.KEEP, ("__address__",), regex="a:.*")
    discovery = Discovery([DiscoveryGroup("vllm", ("a:1", "b:1"), relabel=(rule,))])
    assert [target.instance for target in discovery.refresh()] == ["a:1"]
    (gone,) = discovery.dropped
    assert gone.reason == 'relabel_configs[0] (keep): __address__ must match "a:.*", and is "b:1"'
