"""Which monitors of a cluster are read, and what is told of the others."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.monitors.list_part import ListPart
from collectors.discovery.monitors.selector_operator import Operator
from collectors.relabel import Action
from controlplane.discovery.monitors.label_selector import Requirement, selects
from controlplane.discovery.monitors.listing import OTHERS, Selected, listed
from controlplane.discovery.monitors.made import Defaults
from controlplane.discovery.monitors.monitor import Kind
from tests.fakes.monitors import pod_monitor, service_monitor

DEFAULTS = Defaults(KubernetesSd(Role.POD))
ALL = {Kind.SERVICE: Selected(), Kind.POD: Selected()}


def labelled(found: dict[str, Any], **labels: str) -> dict[str, Any]:
    return found | {"metadata": {**found["metadata"], "labels": labels}}


def jobs(objects: Any, selection: Any = ALL) -> list[str]:
    return [group.job for group in listed(objects, selection, DEFAULTS).groups]


def test_monitors_are_in_the_order_of_their_names() -> None:
    objects = {
        "servicemonitors": (service_monitor("b", endpoints=[{}, {}]), service_monitor("a", endpoints=[{}])),
        "podmonitors": (pod_monitor("c", podMetricsEndpoints=[{}]),),
    }
    of_services = ["serviceMonitor/llm/a/0", "serviceMonitor/llm/b/0", "serviceMonitor/llm/b/1"]
    assert jobs(objects) == [*of_services, "podMonitor/llm/c/0", OTHERS]
    assert jobs(objects, {Kind.SERVICE: Selected()}) == [*of_services, OTHERS]
    assert jobs({}) == []  # nothing has been read


def test_monitors_are_selected_by_their_labels_and_those_of_their_namespace() -> None:
    prom = (Requirement("release", Operator.IN, ("prom",)),)
    ml = (Requirement("team", Operator.EXISTS),)
    monitors = [labelled(pod_monitor(f"p{n}", n, podMetricsEndpoints=[{}]), release="prom") for n in "abc"]
    objects = {
        "podmonitors": (*monitors, pod_monitor("bare", "a", podMetricsEndpoints=[{}])),
        "namespaces": (
            {"metadata": {"name": "a", "labels": {"team": "ml"}}},
            {"metadata": {"name": "b", "labels": {"kind": "test"}}},
        ),
    }
    found = listed(objects, {Kind.POD: Selected(prom, ml)}, DEFAULTS)
    assert [group.job for group in found.groups] == ["podMonitor/a/pa/0", OTHERS]
    assert found.remarks == (
        "pod_monitor_selector: and pod_monitor_namespace_selector: do not select PodMonitor a/bare, b/pb, c/pc",
    )
    (sentence,) = listed(objects, {Kind.POD: Selected((Requirement("x", Operator.EXISTS),))}, DEFAULTS).remarks
    assert sentence.endswith("do not select PodMonitor a/bare, a/pa, b/pb and 1 more")


@pytest.mark.parametrize(
    ("operator", "values", "selected"),
    [
        (Operator.IN, ("x", "y"), ["x"]),
        (Operator.NOT_IN, ("x", "y"), ["z", "none"]),
        (Operator.EXISTS, (), ["x", "z"]),
        (Operator.DOES_NOT_EXIST, (), ["none"]),
    ],
)
def test_selectors_select_as_the_api_does(operator: Operator, values: tuple[str, ...], selected: list[str]) -> None:
    objects = {"x": {"a": "x"}, "z": {"a": "z"}, "none": None}
    selector = (Requirement("a", operator, values),)
    assert [name for name, labels in objects.items() if selects(selector, labels)] == selected


def test_pods_that_no_monitor_looks_at_have_a_group_that_drops_them() -> None:
    looking = {"namespaceSelector": {"matchNames": ["b", "c"]}, "podMetricsEndpoints": [{}]}
    objects = {"servicemonitors": (service_monitor(endpoints=[{}]),), "podmonitors": (pod_monitor(**looking),)}
    others = listed(objects, ALL, DEFAULTS).groups[-1]
    (part,) = others.sd
    assert isinstance(part, ListPart)
    assert (part.whole, part.values, part.others) == (KubernetesSd(Role.POD, with_waiting=True), ("b", "c"), True)
    assert [rule.regex for rule in others.relabel] == ["(llm)", "(.*)"]
    of_all = service_monitor(namespaceSelector={"any": True}, endpoints=[{}])
    (rule,) = listed({"servicemonitors": (of_all,)}, ALL, DEFAULTS).groups[-1].relabel
    assert rule.action is Action.DROP
    everywhere = pod_monitor("all", namespaceSelector={"any": True}, podMetricsEndpoints=[{}])
    assert jobs({"podmonitors": (everywhere,)}) == ["podMonitor/llm/all/0"]


def test_a_bad_monitor_leaves_only_itself_out() -> None:
    bad = pod_monitor("bad") | {"spec": "s3cret"}
    found = listed({"podmonitors": (bad, {}, pod_monitor("good", podMetricsEndpoints=[{}]))}, ALL, DEFAULTS)
    assert [group.job for group in found.groups] == ["podMonitor/llm/good/0", OTHERS]
    assert found.left_out == ("PodMonitor llm/bad: expected a mapping, got a text, so it is left out",)
