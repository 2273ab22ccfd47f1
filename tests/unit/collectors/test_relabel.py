"""Relabelling: each action, the defaults, and the rules that Prometheus refuses."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.errors import RelabelError
from collectors.relabel import Action, RelabelRule, relabelled

LABELS = {"a": "Foo", "b": "bar-7", "c": "Foo", "__meta_zone": "eu"}


def rule(action: str = "replace", *sources: str, **fields: Any) -> RelabelRule:
    return RelabelRule(Action(action), sources, **fields)


@pytest.mark.parametrize(
    ("applied", "changed"),
    [
        (rule("replace", "a", target_label="d"), {"d": "Foo"}),
        (rule("replace", "a", "b", target_label="d"), {"d": "Foo;bar-7"}),
        (rule("replace", "a", "none", "b", separator="", target_label="d"), {"d": "Foobar-7"}),
        (rule("replace", target_label="d", replacement="fixed"), {"d": "fixed"}),
        (rule("replace", "b", regex="(ba)", target_label="d"), {}),  # must match the whole value
        (rule("replace", "b", regex="(.*)-(.*)", target_label="d", replacement="${2}x$1$$"), {"d": "7xbar$"}),
        (rule("replace", "b", regex="(.*)-(.*)", target_label="d", replacement="$1x"), {"d": ""}),
        (rule("replace", "b", regex="(?P<n>.*)-.", target_label="x_${n}", replacement="$n"), {"x_bar": "bar"}),
        (rule("replace", "b", regex="(.*)", target_label="$1", replacement="v"), {"bar-7": "v"}),
        (rule("replace", "a", regex="(.*)", target_label="b", replacement=""), {"b": ""}),
        (rule("replace", "none", target_label="a"), {"a": ""}),
        (rule("replace", "a", regex="foo|Foo", target_label="d", replacement="y"), {"d": "y"}),
        (rule("keep", "a", regex="F.*"), {}),
        (rule("keep", "a", regex="F"), None),
        (rule("keep", "none"), {}),
        (rule("drop", "a", regex="Foo"), None),
        (rule("drop", "a", "b", regex="Foo"), {}),
        (rule("keepequal", "a", target_label="c"), {}),
        (rule("keepequal", "a", target_label="b"), None),
        (rule("dropequal", "a", target_label="c"), None),
        (rule("dropequal", "a", target_label="b"), {}),
        (rule("hashmod", "b", modulus=1000, target_label="d"), {"d": "132"}),
        (rule("hashmod", modulus=2**64 - 1, target_label="d"), {"d": "16825458760271544958"}),
        (rule("labelmap", regex="__meta_(.+)"), {"zone": "eu"}),
        (rule("labelmap", regex="[ac]", replacement="x_${0}"), {"x_a": "Foo", "x_c": "Foo"}),
        (rule("labelmap", regex="[ab]", replacement="d"), {"d": "bar-7"}),
        (rule("labeldrop", regex="[ab]"), {"a": "", "b": ""}),
        (rule("labelkeep", regex="[ab]"), {"c": "", "__meta_zone": ""}),
        (rule("lowercase", "a", target_label="a"), {"a": "foo"}),
        (rule("uppercase", "a", "b", target_label="d"), {"d": "FOO;BAR-7"}),
    ],
)
def test_each_action(applied: RelabelRule, changed: dict[str, str] | None) -> None:
    expected = None if changed is None else {n: v for n, v in {**LABELS, **changed}.items() if v}
    assert relabelled(LABELS, [applied]) == expected


def test_rules_apply_in_their_order_and_the_first_drop_ends_them() -> None:
    rules = [
        rule("replace", "__meta_zone", target_label="zone"),
        rule("labeldrop", regex="__meta_.*"),
        rule("keep", "zone", regex="eu"),
        rule("drop", "__meta_zone", regex="eu"),
    ]
    assert relabelled(LABELS, rules) == {"a": "Foo", "b": "bar-7", "c": "Foo", "zone": "eu"}
    assert relabelled({**LABELS, "__meta_zone": "us"}, rules) is None


@pytest.mark.parametrize(
    ("action", "fields", "message"),
    [
        ("replace", {}, "target_label: action replace needs it"),
        ("lowercase", {"target_label": "a", "replacement": "b"}, "replacement: action lowercase does not use it"),
        ("hashmod", {"target_label": "a"}, "modulus: action hashmod needs"),
        ("labelmap", {"replacement": ""}, "replacement: action labelmap needs it"),
        ("labeldrop", {"source_labels": ("a",)}, "source_labels: action labeldrop uses only regex; remove it"),
        (
            "keepequal",
            {"target_label": "a", "regex": "b"},
            "regex: action keepequal uses only source_labels and target_",
        ),
        ("keep", {"regex": "("}, r"regex: error parsing regexp: missing closing \)"),
        ("keep", {"regex": "(?=a)"}, "regex: error parsing regexp: invalid or unsupported Perl syntax"),
    ],
)
def test_rules_that_prometheus_refuses_are_refused(action: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RelabelError, match=f"^{message}"):
        RelabelRule(Action(action), **fields)
