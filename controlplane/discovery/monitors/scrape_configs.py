"""The groups of targets that a ScrapeConfig is: one for each of its sources of addresses. Pure.

A source that is not supported is left out, and the others are not. Files of this process are no source: a person who
may write an object of the cluster must not read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from collectors.discovery.consul_sd import ConsulSd
from collectors.discovery.group import DiscoveryGroup, SdConfig
from collectors.discovery.http_sd import HttpSd
from collectors.discovery.monitors.rule_words import RuleWords
from collectors.errors import RelabelError
from collectors.samples import labels_of
from controlplane.discovery.monitors import access, sources
from controlplane.discovery.monitors.fields import FieldError, Fields
from controlplane.discovery.monitors.made import (
    MAX_ENDPOINTS,
    Defaults,
    Made,
    tell_stamps,
    times_of,
    unread,
)
from controlplane.discovery.monitors.monitor import Monitor
from controlplane.discovery.monitors.relabelings import relabelings
from controlplane.discovery.monitors.rules import first_rules
from controlplane.discovery.monitors.scrape_class import class_of

_OWN = (
    "jobName", "staticConfigs", "relabelings", "metricsPath", "scrapeInterval", "scrapeTimeout", "honorLabels",
    "honorTimestamps", "trackTimestampsStaleness", "params", "scheme", "enableCompression", "sampleLimit",
    "metricRelabelings", "scrapeClass", *access.FIELDS,
)  # fmt: skip
_SD = "SDConfigs"
"""End of the names of fields that list sources."""
_KINDS: dict[str, Callable[[Fields, Defaults, access.Secret, access.Tell], SdConfig]] = {
    "httpSDConfigs": sources.http,
    "kubernetesSDConfigs": sources.kubernetes,
    "consulSDConfigs": sources.consul,
    "dnsSDConfigs": sources.dns,
}
_UNSUPPORTED = {
    "fileSDConfigs": "names files of this process, which a ScrapeConfig may not read; write file_sd in fleet.yaml",
    "dockerSDConfigs": "would let its author ask the daemon of this host; write docker_sd in fleet.yaml",
}


def read_scrape_config(monitor: Monitor, defaults: Defaults, secret: access.Secret) -> Made:
    """Return the groups of a ScrapeConfig, and what of it is left out or has no effect."""
    remarks: list[str] = []
    left_out: list[str] = []
    try:
        spec = Fields(monitor.found.get("spec"))
        base = _base(monitor, spec, defaults, secret, remarks.append)
        named = [name for name in spec.names() if name.endswith(_SD) or name == "staticConfigs"]
        entries = [(name, entry) for name in named for entry in spec.items(name)]
        if len(entries) > MAX_ENDPOINTS:
            raise spec.error("", f"has {len(entries)} sources of addresses; at most {MAX_ENDPOINTS} are taken")
    except (FieldError, RelabelError) as error:
        return Made((), (f"{monitor}: {error}, so it is left out",))
    groups: list[DiscoveryGroup] = []
    for name, entry in entries:
        try:
            groups.append(_of_source(monitor, name, entry, base, defaults, secret, remarks.append))
        except FieldError as error:
            left_out.append(f"{monitor}: {error}, so this source is left out")
    if not entries:
        remarks.append("it has no source of addresses, so nothing is scraped")
    return Made(tuple(groups), tuple(left_out), tuple(f"{monitor}: {remark}" for remark in remarks))


def _base(
    monitor: Monitor, spec: Fields, defaults: Defaults, secret: access.Secret, tell: access.Tell
) -> DiscoveryGroup:
    """Return the settings that all sources share."""
    by_class = class_of(spec, defaults.classes)
    known = (*_OWN, *(name for name in spec.names() if name.endswith(_SD)))
    for sentence in unread(spec, known):
        tell(sentence)
    tell_stamps(spec, tell)
    if not spec.flag("enableCompression", True):
        tell("enableCompression has no effect: pages may be compressed")
    interval_s, timeout_s = times_of(spec, "scrapeInterval", "scrapeTimeout", defaults)
    params, asked = spec.fields("params"), [*first_rules(spec), *by_class.rules()]
    return DiscoveryGroup(
        "custom",
        job=monitor.job(),
        scheme=spec.text("scheme").lower() or "http",
        path=spec.text("metricsPath") or "/metrics",
        params=tuple(sorted((name, params.texts(name)) for name in params.names())),
        interval_s=interval_s,
        timeout_s=timeout_s,
        auth=by_class.auth_of(access.auth_of(spec, secret, tell), spec.fields("tlsConfig")),
        relabel=(*(each.rule for each in asked), *relabelings(spec, "relabelings")),
        metric_relabel=(*by_class.metric_relabel, *relabelings(spec, "metricRelabelings")),
        of_prometheus=True,
        honor_labels=spec.flag("honorLabels", False),
        sample_limit=spec.number("sampleLimit"),
        words=RuleWords(tuple(each.ask for each in asked), "relabelings"),
    )


def _of_source(
    monitor: Monitor,
    name: str,
    entry: Fields,
    base: DiscoveryGroup,
    defaults: Defaults,
    secret: access.Secret,
    tell: access.Tell,
) -> DiscoveryGroup:
    if name == "staticConfigs":
        for sentence in unread(entry, ("targets", "labels")):
            tell(sentence)
        labels = entry.fields("labels")
        addresses = tuple(_addresses(entry, tell))
        return replace(base, addresses=addresses, labels=labels_of({n: labels.text(n) for n in labels.names()}))
    if name not in _KINDS:
        raise entry.error("", _UNSUPPORTED.get(name, "is not supported"))
    assert base.words is not None
    words = replace(base.words, owner=f"{monitor}: {entry.path}")
    sd = _KINDS[name](entry, defaults, secret, tell)
    if isinstance(sd, HttpSd | ConsulSd):
        # Another monitor's credentials may have got a list that this one's do not.
        sd = replace(sd, owner=(defaults.at.api_server, defaults.at.kubeconfig, str(monitor)))
    return replace(base, sd=(sd,), words=words)


def _addresses(entry: Fields, tell: access.Tell) -> Iterator[str]:
    for number, each in enumerate(entry.texts("targets")):
        if each:
            yield each
        else:
            tell(f"{entry.at('targets')}[{number}] is empty and has no effect")
