"""The group of targets that a Probe is: addresses that a prober such as blackbox_exporter is asked about. Pure.

The prober is scraped as Prometheus does it, with the target as a parameter. Nothing is probed by this process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from collectors.discovery.group import DiscoveryGroup
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.monitors.rule_words import RuleWords
from collectors.errors import RelabelError
from collectors.relabel import RelabelRule
from collectors.samples import labels_of
from collectors.target import Auth
from controlplane.discovery.kubernetes.labels import NAMESPACE, PREFIX
from controlplane.discovery.monitors import access
from controlplane.discovery.monitors.fields import FieldError, Fields
from controlplane.discovery.monitors.made import (
    Defaults,
    Made,
    foreign,
    list_of,
    namespaces_in,
    part_of,
    times_of,
    unread,
)
from controlplane.discovery.monitors.monitor import Kind, Monitor
from controlplane.discovery.monitors.relabelings import relabelings
from controlplane.discovery.monitors.rules import AskedRule, first_rules, selected
from controlplane.discovery.monitors.scrape_class import class_of

_SPEC = (
    "jobName", "prober", "module", "params", "targets", "interval", "scrapeTimeout", "metricRelabelings", "sampleLimit",
    "scrapeClass", *access.FIELDS,
)  # fmt: skip
_PROBER = ("url", "scheme", "path", "proxyUrl", "noProxy", "proxyFromEnvironment", "proxyConnectHeader")


def read_probe(monitor: Monitor, defaults: Defaults, secret: access.Secret) -> Made:
    """Return the group of a Probe, and what of it is left out or has no effect."""
    remarks: list[str] = []
    try:
        spec = Fields(monitor.found.get("spec"))
        group = _group(monitor, spec, defaults, secret, remarks.append)
    except (FieldError, RelabelError) as error:
        return Made((), (f"{monitor}: {error}, so it is left out",))
    groups = () if group is None else (group,)
    return Made(groups, (), tuple(f"{monitor}: {remark}" for remark in remarks))


def _group(
    monitor: Monitor, spec: Fields, defaults: Defaults, secret: access.Secret, tell: access.Tell
) -> DiscoveryGroup | None:
    by_class = class_of(spec, defaults.classes)
    prober, targets = spec.fields("prober"), spec.fields("targets")
    for sentence in (*unread(spec, _SPEC), *unread(prober, _PROBER)):
        tell(sentence)
    address = prober.text("url")
    if not address or "/" in address:
        raise prober.error("url", f"expected the host:port of the prober, got {address!r}; scheme and path are fields")
    auth = access.auth_of(spec, secret, tell)
    through = access.auth_of(prober, secret, tell)  # of these fields it has the proxy alone
    if through and through.proxy:
        auth = replace(auth or Auth(), proxy=through.proxy)
    interval_s, timeout_s = times_of(spec, "interval", "scrapeTimeout", defaults)
    base = DiscoveryGroup(
        "custom",
        job=monitor.job(),
        scheme=prober.text("scheme").lower() or "http",
        path=prober.text("path") or "/probe",
        params=tuple(_params(spec)),
        interval_s=interval_s,
        timeout_s=timeout_s,
        auth=by_class.auth_of(auth, spec.fields("tlsConfig")),
        metric_relabel=(*by_class.metric_relabel, *relabelings(spec, "metricRelabelings")),
        of_prometheus=True,
        sample_limit=spec.number("sampleLimit"),
    )
    # As in the operator, staticConfig takes precedence.
    if targets.get("staticConfig") is not None:
        return _static(monitor, spec, targets.fields("staticConfig"), base, defaults, tell)
    if targets.get("ingress") is not None:
        return _ingress(monitor, spec, targets.fields("ingress"), base, defaults, tell)
    raise targets.error("" if targets.path else "targets", "needs staticConfig or ingress")


def _params(spec: Fields) -> Iterator[tuple[str, tuple[str, ...]]]:
    found = {each.text("name"): each.texts("values") for each in spec.items("params")}
    if module := spec.text("module"):
        found["module"] = (module,)
    yield from sorted(found.items())


def _static(
    monitor: Monitor, spec: Fields, static: Fields, base: DiscoveryGroup, defaults: Defaults, tell: access.Tell
) -> DiscoveryGroup | None:
    for sentence in unread(static, ("static", "labels", "relabelingConfigs")):
        tell(sentence)
    given, labels = static.texts("static"), static.fields("labels")
    for number, each in enumerate(given):
        if not each:
            tell(f"{static.at('static')}[{number}] is empty and has no effect")
    addresses = tuple(filter(None, given))
    if not addresses:
        tell(f"{static.at('static')} is empty, so nothing is probed")
        return None
    values = {"namespace": monitor.namespace, **{name: labels.text(name) for name in labels.names()}}
    asked = [
        *first_rules(spec),
        AskedRule(RelabelRule(source_labels=("__address__",), target_label="__param_target")),
        *_prober(spec, defaults),
    ]
    return _ruled(replace(base, addresses=addresses, labels=labels_of(values)), asked, static, owner="")


def _ingress(
    monitor: Monitor, spec: Fields, ingress: Fields, base: DiscoveryGroup, defaults: Defaults, tell: access.Tell
) -> DiscoveryGroup:
    for sentence in unread(ingress, ("selector", "namespaceSelector", "relabelingConfigs")):
        tell(sentence)
    selector = ingress.fields("namespaceSelector")
    for sentence in foreign(selector.texts("matchNames"), ingress.at("namespaceSelector"), defaults):
        tell(sentence)
    sd = part_of(list_of(Role.INGRESS, defaults.at), namespaces_in(selector, monitor.namespace))
    scheme, path = f"{PREFIX}ingress_scheme", f"{PREFIX}ingress_path"
    target = RelabelRule(
        source_labels=(scheme, "__address__", path),
        regex="(.+);(.+);(.+)",
        target_label="__param_target",
        replacement="${1}://${2}${3}",
    )
    asked = [
        *first_rules(spec),
        *selected(Kind.PROBE, ingress.fields("selector")),
        AskedRule(target),
        AskedRule(RelabelRule(source_labels=(NAMESPACE,), target_label="namespace")),
        AskedRule(RelabelRule(source_labels=(f"{PREFIX}ingress_name",), target_label="ingress")),
        AskedRule(RelabelRule(source_labels=("__address__",), target_label="__tmp_ingress_address")),
        *_prober(spec, defaults),
    ]
    return _ruled(replace(base, sd=(sd,)), asked, ingress, owner=f"{monitor}: {ingress.path}")


def _prober(spec: Fields, defaults: Defaults) -> Iterator[AskedRule]:
    yield AskedRule(RelabelRule(source_labels=("__param_target",), target_label="instance"))
    yield AskedRule(RelabelRule(target_label="__address__", replacement=spec.fields("prober").text("url")))
    yield from class_of(spec, defaults.classes).rules()


def _ruled(group: DiscoveryGroup, asked: list[AskedRule], of: Fields, owner: str) -> DiscoveryGroup:
    """Return a group with its rules, and after them those of a person."""
    return replace(
        group,
        relabel=(*(each.rule for each in asked), *relabelings(of, "relabelingConfigs")),
        words=RuleWords(tuple(each.ask for each in asked), of.at("relabelingConfigs"), owner),
    )
