"""The groups of targets that a ServiceMonitor or PodMonitor is: one for each endpoint. Pure.

The operator's rules stand before the user's. An endpoint that cannot be scraped as it says is left out, and the others
are not. What has no effect is told.
"""

from __future__ import annotations

from collections.abc import Sequence

from collectors.discovery.group import DiscoveryGroup, SdConfig
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.monitors.rule_words import RuleWords
from collectors.errors import RelabelError
from controlplane.discovery.monitors import access
from controlplane.discovery.monitors.fields import FieldError, Fields
from controlplane.discovery.monitors.made import (
    MAX_ENDPOINTS,
    Defaults,
    Made,
    foreign,
    list_of,
    namespaces_in,
    part_of,
    tell_stamps,
    times_of,
    unread,
)
from controlplane.discovery.monitors.monitor import Kind, Monitor
from controlplane.discovery.monitors.relabelings import relabelings
from controlplane.discovery.monitors.rules import empty_labels, own_rules
from controlplane.discovery.monitors.scrape_class import class_of

_ENDPOINT = (
    "port", "portNumber", "targetPort", "path", "scheme", "params", "interval", "scrapeTimeout", "honorLabels",
    "honorTimestamps", "trackTimestampsStaleness", "relabelings", "metricRelabelings", "filterRunning", *access.FIELDS,
)  # fmt: skip
_SPEC = (
    "jobLabel", "targetLabels", "podTargetLabels", "endpoints", "podMetricsEndpoints", "selector", "selectorMechanism",
    "namespaceSelector", "sampleLimit", "attachMetadata", "serviceDiscoveryRole", "scrapeClass",
)  # fmt: skip
"""Fields that are read. Every other one that is given is told, because it has no effect."""
_ROLES = {"Endpoints": Role.ENDPOINTS, "EndpointSlice": Role.ENDPOINTSLICE}
"""Values of serviceDiscoveryRole."""


def read_endpoints(monitor: Monitor, defaults: Defaults, secret: access.Secret) -> Made:
    """Return the groups of a ServiceMonitor or PodMonitor, and what of it is left out or has no effect."""
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
        self._class = class_of(spec, defaults.classes)
        named = spec.text("serviceDiscoveryRole")
        if named and named not in _ROLES:
            raise spec.error("serviceDiscoveryRole", f"expected one of {', '.join(_ROLES)}, got {named!r}")
        self._role = Role.POD if monitor.kind is Kind.POD else _ROLES.get(named, defaults.role)
        self._sd = _source(monitor, spec, self._role, defaults)
        self._sample_limit = spec.number("sampleLimit")
        tuple(own_rules(monitor, spec, Fields(None), self._role))  # a wrong selector concerns the whole monitor
        names = spec.fields("namespaceSelector").texts("matchNames")
        self.remarks = [
            *unread(spec, _SPEC),
            *empty_labels(monitor.kind, spec),
            *foreign(names, "namespaceSelector", defaults),
        ]

    def group(self, number: int, endpoint: Fields, secret: access.Secret, tell: access.Tell) -> DiscoveryGroup:
        """Return the group of an endpoint. Raises FieldError and RelabelError."""
        for sentence in unread(endpoint, _ENDPOINT):
            tell(sentence)
        tell_stamps(endpoint, tell)
        params = endpoint.fields("params")
        interval_s, timeout_s = times_of(endpoint, "interval", "scrapeTimeout", self._defaults)
        asked = [*own_rules(self._monitor, self._spec, endpoint, self._role), *self._class.rules()]
        own_auth = access.auth_of(endpoint, secret, tell)
        return DiscoveryGroup(
            "custom",
            sd=(self._sd,),
            job=self._monitor.job(number),
            scheme=endpoint.text("scheme").lower() or "http",
            path=endpoint.text("path") or "/metrics",
            params=tuple(sorted((name, params.texts(name)) for name in params.names())),
            interval_s=interval_s,
            timeout_s=timeout_s,
            auth=self._class.auth_of(own_auth, endpoint.fields("tlsConfig")),
            relabel=(*(each.rule for each in asked), *relabelings(endpoint, "relabelings")),
            metric_relabel=(*self._class.metric_relabel, *relabelings(endpoint, "metricRelabelings")),
            of_prometheus=True,
            honor_labels=endpoint.flag("honorLabels", False),
            sample_limit=self._sample_limit,
            words=RuleWords(tuple(each.ask for each in asked), "relabelings", f"{self._monitor}: {endpoint.path}"),
        )


def namespaces_of(monitor: Monitor) -> Sequence[str] | None:
    """Return the namespaces in which a monitor selects; None: all of them. Raises FieldError."""
    return namespaces_in(Fields(monitor.found.get("spec")).fields("namespaceSelector"), monitor.namespace)


def _source(monitor: Monitor, spec: Fields, role: Role, defaults: Defaults) -> SdConfig:
    whole = list_of(role, defaults.at, with_nodes=spec.fields("attachMetadata").flag("node", False))
    return part_of(whole, namespaces_of(monitor))
