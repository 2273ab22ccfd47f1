"""The groups of targets that one monitor is: one for each endpoint, with the operator's rules before the user's. Pure.

An endpoint that cannot be scraped as it says is left out, and the others are not. What has no effect is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from collectors.discovery.group import DiscoveryGroup, SdConfig
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.monitors.list_part import ListPart
from collectors.discovery.monitors.rule_words import RuleWords
from collectors.errors import RelabelError
from controlplane.discovery.kubernetes.labels import NAMESPACE
from controlplane.discovery.monitors import access
from controlplane.discovery.monitors.fields import FieldError, Fields
from controlplane.discovery.monitors.monitor import Kind, Monitor
from controlplane.discovery.monitors.relabelings import relabelings
from controlplane.discovery.monitors.rules import own_rules

_ENDPOINT = (
    "port", "portNumber", "targetPort", "path", "scheme", "params", "interval", "scrapeTimeout", "honorLabels",
    "honorTimestamps", "trackTimestampsStaleness", "relabelings", "metricRelabelings", "filterRunning", *access.FIELDS,
)  # fmt: skip
_SPEC = (
    "jobLabel", "targetLabels", "podTargetLabels", "endpoints", "podMetricsEndpoints", "selector", "selectorMechanism",
    "namespaceSelector", "sampleLimit", "attachMetadata", "serviceDiscoveryRole", "scrapeClass",
)  # fmt: skip
"""Fields that are read. Every other one that is given is told, because it has no effect."""
MAX_ENDPOINTS = 100
"""Most endpoints of a monitor (chosen): each is a group of targets with rules of its own."""
_UNSTAMPED = ("honorTimestamps", "trackTimestampsStaleness")
_ROLES = {"Endpoints": Role.ENDPOINTS, "EndpointSlice": Role.ENDPOINTSLICE}
"""Values of serviceDiscoveryRole."""


@dataclass(frozen=True)
class Defaults:
    """Settings of monitors that have none of their own."""

    at: KubernetesSd
    """The cluster, the account and the namespaces that are read. Its role has no meaning."""
    role: Role = Role.ENDPOINTS
    """Role of the addresses behind Services."""
    interval_s: float = 30.0
    timeout_s: float = 10.0


class Made(NamedTuple):
    """Groups of a monitor, and sentences about the rest of it."""

    groups: tuple[DiscoveryGroup, ...] = ()
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def read_monitor(monitor: Monitor, defaults: Defaults, secret: access.Secret) -> Made:
    """Return the groups of a monitor, and what of it is left out or has no effect."""
    remarks: list[str] = []
    groups: list[DiscoveryGroup] = []
    left_out: list[str] = []
    try:
        spec = Fields(monitor.found.get("spec"))
        endpoints = spec.items(monitor.kind.value.endpoints)
        if len(endpoints) > MAX_ENDPOINTS:
            sentence = f"has {len(endpoints)} entries; at most {MAX_ENDPOINTS} are taken"
            raise spec.error(monitor.kind.value.endpoints, sentence)
        whole = _Whole(monitor, spec, defaults)
        remarks += whole.remarks
        if not endpoints:
            remarks.append(f"{monitor.kind.value.endpoints} is empty, so nothing is scraped")
    except (FieldError, RelabelError) as error:
        return Made((), (f"{monitor}: {error}, so it is left out",))
    for number, endpoint in enumerate(endpoints):
        told: list[str] = []
        try:
            groups.append(whole.group(number, endpoint, secret, told.append))
            remarks += told
        except (FieldError, RelabelError) as error:
            left_out.append(f"{monitor}: {error}, so this endpoint is left out")
    return Made(tuple(groups), tuple(left_out), tuple(f"{monitor}: {remark}" for remark in remarks))


class _Whole:
    """Settings that the endpoints of a monitor share. Raises FieldError for a field that cannot be used."""

    def __init__(self, monitor: Monitor, spec: Fields, defaults: Defaults) -> None:
        self._monitor, self._spec, self._defaults = monitor, spec, defaults
        if spec.text("scrapeClass"):
            raise spec.error("scrapeClass", "is defined in a Prometheus object, which is not read")
        named = spec.text("serviceDiscoveryRole")
        if named and named not in _ROLES:
            raise spec.error("serviceDiscoveryRole", f"expected one of {', '.join(_ROLES)}, got {named!r}")
        self._role = Role.POD if monitor.kind is Kind.POD else _ROLES.get(named, defaults.role)
        self._sd = _source(monitor, spec, self._role, defaults)
        self._sample_limit = spec.number("sampleLimit")
        tuple(own_rules(monitor, spec, Fields(None), self._role))  # a wrong selector concerns the whole monitor
        self.remarks = [*_unread(spec, _SPEC), *_foreign(spec, defaults)]

    def group(self, number: int, endpoint: Fields, secret: access.Secret, tell: access.Tell) -> DiscoveryGroup:
        """Return the group of an endpoint. Raises FieldError and RelabelError."""
        for sentence in _unread(endpoint, _ENDPOINT):
            tell(sentence)
        for name in _UNSTAMPED:
            if endpoint.flag(name, False):
                tell(f"{endpoint.at(name)} has no effect: samples have the time of their scrape")
        defaults, params = self._defaults, endpoint.fields("params")
        interval_s = endpoint.seconds("interval", defaults.interval_s)
        timeout_s = endpoint.seconds("scrapeTimeout", min(defaults.timeout_s, interval_s))
        if timeout_s > interval_s:
            raise endpoint.error("scrapeTimeout", f"is longer than the interval of {interval_s:g} s")
        asked = list(own_rules(self._monitor, self._spec, endpoint, self._role))
        return DiscoveryGroup(
            "custom",
            sd=(self._sd,),
            job=self._monitor.job(number),
            scheme=endpoint.text("scheme").lower() or "http",
            path=endpoint.text("path") or "/metrics",
            params=tuple(sorted((name, params.texts(name)) for name in params.names())),
            interval_s=interval_s,
            timeout_s=timeout_s,
            auth=access.auth_of(endpoint, secret, tell),
            relabel=(*(each.rule for each in asked), *relabelings(endpoint, "relabelings")),
            metric_relabel=tuple(relabelings(endpoint, "metricRelabelings")),
            of_prometheus=True,
            honor_labels=endpoint.flag("honorLabels", False),
            sample_limit=self._sample_limit,
            words=RuleWords(tuple(each.ask for each in asked), "relabelings", f"{self._monitor}: {endpoint.path}"),
        )


def namespaces_of(monitor: Monitor) -> Sequence[str] | None:
    """Return the namespaces in which a monitor selects; None: all of them. Raises FieldError."""
    selector = Fields(monitor.found.get("spec")).fields("namespaceSelector")
    if selector.flag("any", False):
        return None
    return tuple(dict.fromkeys(selector.texts("matchNames"))) or (monitor.namespace,)


def list_of(role: Role, at: KubernetesSd, *, with_nodes: bool = False) -> KubernetesSd:
    """Return the list of addresses that all monitors of a role share."""
    return KubernetesSd(
        role, at.api_server, at.kubeconfig, at.auth, at.namespaces, at.own_namespace, with_nodes=with_nodes
    )


def _source(monitor: Monitor, spec: Fields, role: Role, defaults: Defaults) -> SdConfig:
    whole = list_of(role, defaults.at, with_nodes=spec.fields("attachMetadata").flag("node", False))
    namespaces = namespaces_of(monitor)
    return whole if namespaces is None else ListPart(whole, NAMESPACE, tuple(namespaces))


def _unread(fields: Fields, known: Iterable[str]) -> Iterator[str]:
    """Yield a sentence about each field that has no effect. Values that limit and change nothing are not told."""
    for name in fields.names():
        if name not in known and fields.get(name) not in (0, "", False, [], {}):
            cure = "; scrape: in fleet.yaml has limits" if name.lower().endswith("limit") else ""
            yield f"{fields.at(name)} has no effect{cure}"


def _foreign(spec: Fields, defaults: Defaults) -> Iterator[str]:
    """Yield a sentence about namespaces that the monitor selects and nobody reads."""
    read = defaults.at.namespaces
    if not read or defaults.at.own_namespace:
        return
    for name in spec.fields("namespaceSelector").texts("matchNames"):
        if name not in read:
            yield f"namespaceSelector names {name}, which is not one of namespaces: of prometheus_operator"
