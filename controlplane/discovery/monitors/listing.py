"""All groups of a cluster's monitors: those that are selected, and one of the pods that no monitor sees. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from collectors.discovery.group import DiscoveryGroup, ListedGroups, Objects
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.monitors.list_part import ListPart
from collectors.discovery.monitors.rule_words import Ask, RuleWords
from collectors.relabel import Action, RelabelRule
from controlplane.discovery.kubernetes.labels import NAMESPACE, PREFIX
from controlplane.discovery.monitors import secrets
from controlplane.discovery.monitors.fields import FieldError
from controlplane.discovery.monitors.jobs import namespaces_of
from controlplane.discovery.monitors.label_selector import Requirements, selects
from controlplane.discovery.monitors.made import Defaults, Made, list_of
from controlplane.discovery.monitors.monitor import Kind, Monitor
from controlplane.discovery.monitors.reading import read_monitor
from controlplane.discovery.monitors.rules import AskedRule
from controlplane.traffic.kubernetes.resource import Json, text_at, value_at

OTHERS = "prometheus_operator"
"""Job of the pods that no monitor sees."""
NAMESPACES = "namespaces"
"""A kind of objects besides the monitors, and what these name."""
MAX_GROUPS = 20_000
"""Most groups of all monitors. Chosen: ten times those of a large cluster; each has rules of its own."""
_NAME = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")
"""A name that a namespace can have."""
_NAMESPACE = Ask("the namespace of the pod must be one in which a monitor selects")
_SERVICE = Ask(
    "a Service must select the pod: only ServiceMonitors look at its namespace, and it is behind none", False
)
_OF_PODS = (Kind.SERVICE, Kind.POD)
"""Kinds whose monitors look at pods."""
MAX_NAMED = 3
"""Number of monitors that a sentence names."""


@dataclass(frozen=True)
class Selected:
    """Selection of the monitors of a kind."""

    monitors: Requirements = ()
    """By their labels."""
    namespaces: Requirements = ()
    """By the labels of their namespace."""


Selection = Mapping[Kind, Selected]
"""The kinds that are read."""


def listed(objects: Objects, selection: Selection, defaults: Defaults) -> ListedGroups:
    """Return the groups of a cluster's monitors. `objects` are by the plurals of the API."""
    found = secrets.by_name(objects)
    spaces = {text_at(dict(each), "metadata", "name"): dict(each) for each in objects.get(NAMESPACES, ())}
    groups: list[DiscoveryGroup] = []
    left_out: list[str] = []
    remarks: list[str] = []
    covered: dict[Kind, set[str] | None] = {kind: set() for kind in _OF_PODS}
    for kind, selected in selection.items():
        monitors = [Monitor(kind, dict(each)) for each in objects.get(kind.value.plural, ())]
        remarks += _unselected(kind, [each for each in monitors if not _is_selected(each, selected, spaces)])
        for monitor in sorted((each for each in monitors if _is_selected(each, selected, spaces)), key=str):
            made = read_monitor(monitor, defaults, secrets.reader(monitor, found))
            if len(groups) + len(made.groups) > MAX_GROUPS:
                left_out.append(f"{monitor}: the monitors before it have {MAX_GROUPS} endpoints, so it is left out")
                continue
            groups += made.groups
            left_out += made.left_out
            remarks += made.remarks
            if kind in covered:
                covered[kind] = _with(covered[kind], monitor, made)
    if any(kind in selection and kind.value.plural in objects for kind in _OF_PODS):
        groups += _others(defaults, covered[Kind.SERVICE], covered[Kind.POD])
    return ListedGroups(tuple(groups), tuple(remarks), left_out=tuple(left_out))


def _is_selected(monitor: Monitor, selected: Selected, spaces: Mapping[str, Json]) -> bool:
    if not selects(selected.monitors, value_at(monitor.found, "metadata", "labels")):
        return False
    if not selected.namespaces:
        return True
    space = spaces.get(monitor.namespace)
    return space is not None and selects(selected.namespaces, value_at(space, "metadata", "labels"))


def _unselected(kind: Kind, monitors: list[Monitor]) -> Iterator[str]:
    if monitors:
        names = sorted(f"{each.namespace}/{each.name}" for each in monitors)
        rest = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        field = kind.value.field
        yield (
            f"{field}_selector: and {field}_namespace_selector: do not select {kind.value.title} "
            f"{', '.join(names[:MAX_NAMED])}{rest}"
        )


def _with(covered: set[str] | None, monitor: Monitor, made: Made) -> set[str] | None:
    """Return the namespaces that are looked at, together with those of a monitor. None: all."""
    try:
        namespaces = namespaces_of(monitor) if made.groups else ()
    except FieldError:
        return covered
    return None if covered is None or namespaces is None else covered | set(namespaces)


def _others(defaults: Defaults, of_services: set[str] | None, of_pods: set[str] | None) -> Iterator[DiscoveryGroup]:
    """Yield a group of the pods that no monitor sees. It drops them, and says why.

    The sets are the namespaces in which ServiceMonitors and PodMonitors select; None: all of them.
    """
    if of_pods is None:
        return
    asked: list[AskedRule] = []
    if of_services is not None:
        looked_at = f"({'|'.join(sorted(name for name in of_services if _NAME.fullmatch(name)))})"
        asked.append(AskedRule(RelabelRule(Action.KEEP, (NAMESPACE,), regex=looked_at), _NAMESPACE))
    asked.append(AskedRule(RelabelRule(Action.DROP, (NAMESPACE,)), _SERVICE))
    yield DiscoveryGroup(
        "custom",
        job=OTHERS,
        sd=(ListPart(list_of(Role.POD, defaults.at), NAMESPACE, tuple(sorted(of_pods)), others=True),),
        relabel=tuple(each.rule for each in asked),
        of_prometheus=True,
        words=RuleWords(tuple(each.ask for each in asked)),
        last_resort=(NAMESPACE, f"{PREFIX}pod_name"),
    )
