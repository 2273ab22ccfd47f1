"""The relabelling rules that Prometheus Operator makes of a monitor, each with words for what it asks. Pure.

The operator's last two rules, which share out the targets among the shards of a Prometheus, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.monitors.rule_words import Ask, listed, quoted
from collectors.discovery.monitors.selector_operator import Operator
from collectors.errors import RelabelError
from collectors.relabel import Action, RelabelRule
from controlplane.discovery.kubernetes.labels import NAMESPACE, PREFIX, sanitized
from controlplane.discovery.monitors.fields import Fields
from controlplane.discovery.monitors.label_selector import Requirement, read_selector
from controlplane.discovery.monitors.monitor import Kind, Monitor

_NOTHING = Ask("")
_CONTAINER_PORT = f"{PREFIX}pod_container_port_"


class AskedRule(NamedTuple):
    """A rule, and what it asks for."""

    rule: RelabelRule
    ask: Ask = _NOTHING


def own_rules(monitor: Monitor, spec: Fields, endpoint: Fields, role: Role) -> Iterator[AskedRule]:
    """Yield the rules of an endpoint in the operator's order. `role` is that of the addresses.

    Raises FieldError for a wrong field, and RelabelError for a text that is no regular expression.
    """
    yield from first_rules(Fields(None))
    if monitor.kind is Kind.POD:
        yield from _running(endpoint)
        yield from _selected(monitor.kind, spec)
        yield from _port(endpoint, f"{_CONTAINER_PORT}name", "the name of the container's port")
        yield from map(AskedRule, _names_of_pod())
    else:
        kind = "endpointslice" if role is Role.ENDPOINTSLICE else "endpoint"
        yield from _selected(monitor.kind, spec)
        yield from _port(endpoint, f"{PREFIX}{kind}_port_name", "the name of the Service's port")
        yield from map(AskedRule, _names_of_service(kind))
        yield from _running(endpoint)
        yield from _labels("service", spec, "targetLabels")
    yield from _labels("pod", spec, "podTargetLabels")
    yield from map(AskedRule, _job(monitor, spec, endpoint))


def first_rules(spec: Fields) -> Iterator[AskedRule]:
    """Yield the rules with which every job begins. Raises FieldError."""
    yield AskedRule(RelabelRule(source_labels=("job",), target_label="__tmp_prometheus_job_name"))
    if name := spec.text("jobName"):
        yield AskedRule(RelabelRule(target_label="job", replacement=name))


def empty_labels(kind: Kind, spec: Fields) -> Iterator[str]:
    """Yield a sentence about each empty entry of the lists of labels."""
    for field in ("targetLabels", "podTargetLabels") if kind is Kind.SERVICE else ("podTargetLabels",):
        for number, name in enumerate(spec.texts(field)):
            if not name:
                yield f"{spec.at(field)}[{number}] is empty and has no effect"


def _labels(kind: str, spec: Fields, field: str) -> Iterator[AskedRule]:
    return (AskedRule(_taken(kind, name, name)) for name in spec.texts(field) if name)


def _running(endpoint: Fields) -> Iterator[AskedRule]:
    if endpoint.flag("filterRunning", True):
        rule = RelabelRule(Action.DROP, (f"{PREFIX}pod_phase",), regex="(Failed|Succeeded)")
        yield AskedRule(rule, Ask("the phase of the pod must not be Failed or Succeeded"))


def _selected(kind: Kind, spec: Fields) -> Iterator[AskedRule]:
    return selected(kind, spec.fields("selector"))


def selected(kind: Kind, selector: Fields) -> Iterator[AskedRule]:
    """Yield the rules of a selector of the objects that a kind of monitors selects. Raises FieldError."""
    for each in read_selector(selector):
        yield _requirement(kind, each)


def _requirement(kind: Kind, each: Requirement) -> AskedRule:
    name = sanitized(each.key)
    value, present = (f"{PREFIX}{kind.value.selected}_{part}_{name}" for part in ("label", "labelpresent"))
    its = f"selector: label {each.key} of the {kind.value.one}"
    keeps = each.operator in (Operator.IN, Operator.EXISTS)
    action = Action.KEEP if keeps else Action.DROP
    match each.operator:
        case Operator.EXISTS:
            return AskedRule(RelabelRule(action, (present,), regex="true"), Ask(f"{its} must be there"))
        case Operator.DOES_NOT_EXIST:
            return AskedRule(RelabelRule(action, (present,), regex="true"), Ask(f"{its} must not be there", False))
    rule = RelabelRule(action, (value, present), regex=f"({'|'.join(each.values)});true")
    values = quoted(each.values[0]) if len(each.values) == 1 else f"one of {listed(each.values)}"
    return AskedRule(rule, Ask(f"{its} must {'be' if keeps else 'not be'} {values}"))


def _port(endpoint: Fields, name_label: str, words: str) -> Iterator[AskedRule]:
    name, port = endpoint.text("port"), port_of(endpoint)
    if name:
        rule = _keep(endpoint, "port", name_label, name)
        yield AskedRule(rule, Ask(f"port: {words} must be {quoted(name)}"))
    elif port:
        part = "name" if isinstance(port, str) else "number"
        rule = _keep(endpoint, "targetPort", f"{_CONTAINER_PORT}{part}", str(port))
        yield AskedRule(rule, Ask(f"targetPort: the {part} of the container's port must be {quoted(str(port))}"))


def _keep(endpoint: Fields, field: str, label: str, pattern: str) -> RelabelRule:
    try:
        return RelabelRule(Action.KEEP, (label,), regex=pattern)
    except RelabelError as error:
        raise endpoint.error(field, error.sentence) from error


def port_of(endpoint: Fields) -> str | int:
    """Return the container's port that an endpoint without `port` names; "" and 0: none. Raises FieldError."""
    if number := endpoint.number("portNumber"):
        return number
    given = endpoint.get("targetPort")
    return endpoint.text("targetPort") if isinstance(given, str) else endpoint.number("targetPort")


def _names_of_pod() -> Iterator[RelabelRule]:
    yield RelabelRule(source_labels=(NAMESPACE,), target_label="namespace")
    yield RelabelRule(source_labels=(f"{PREFIX}pod_container_name",), target_label="container")
    yield RelabelRule(source_labels=(f"{PREFIX}pod_name",), target_label="pod")


def _names_of_service(kind: str) -> Iterator[RelabelRule]:
    target = (f"{PREFIX}{kind}_address_target_kind", f"{PREFIX}{kind}_address_target_name")
    for of, label in (("Node", "node"), ("Pod", "pod")):
        yield RelabelRule(source_labels=target, regex=f"{of};(.*)", replacement="${1}", target_label=label)
    yield RelabelRule(source_labels=(NAMESPACE,), target_label="namespace")
    yield RelabelRule(source_labels=(f"{PREFIX}service_name",), target_label="service")
    yield RelabelRule(source_labels=(f"{PREFIX}pod_name",), target_label="pod")
    yield RelabelRule(source_labels=(f"{PREFIX}pod_container_name",), target_label="container")


def _taken(kind: str, label: str, target: str) -> RelabelRule:
    """Return the rule that takes a label of an object over, where it has a value."""
    source = f"{PREFIX}{kind}_label_{sanitized(label)}"
    return RelabelRule(source_labels=(source,), target_label=sanitized(target), regex="(.+)", replacement="${1}")


def _job(monitor: Monitor, spec: Fields, endpoint: Fields) -> Iterator[RelabelRule]:
    if monitor.kind is Kind.POD:
        yield RelabelRule(target_label="job", replacement=f"{monitor.namespace}/{monitor.name}")
    else:
        yield RelabelRule(source_labels=(f"{PREFIX}service_name",), target_label="job", replacement="${1}")
    if label := spec.text("jobLabel"):
        yield _taken(monitor.kind.value.selected, label, "job")
    if port := endpoint.text("port") or port_of(endpoint):
        yield RelabelRule(target_label="endpoint", replacement=str(port))
