"""The scrape plan of a fleet.yaml: the listed targets, and every backend with its readiness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from collectors.clouds.addresses import AZURE_URL, GOOGLE_URL, cloudwatch_url
from collectors.clouds.providers import PROVIDERS
from collectors.discovery.addresses import target_of_url
from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DiscoveryGroup
from collectors.engines.kinds import AUTO, BACKENDS, ENGINES, Api, EngineKind
from collectors.errors import CollectorError, DiscoveryError
from collectors.exposition.parser import Limits
from collectors.probe.dialects import dialect_for
from collectors.samples import Labels, labels_of
from controlplane.app.targets.monitors import MonitorsSource
from controlplane.app.targets.prometheus_file import PrometheusFile
from controlplane.app.targets.sd_configs import sd_configs_of
from controlplane.config.auth import auth_of
from controlplane.config.checking import Loc
from controlplane.config.gateway import GatewaySection
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import ScrapeSection
from controlplane.config.models import ModelSection
from controlplane.config.scraping.relabel import rules_of
from controlplane.config.scraping.targets import TargetGroup
from controlplane.config.traffic.base import Backend
from controlplane.errors import ConfigErrors
from controlplane.rollout.probe_questions import questions_of

LOCAL_NVML = "local:nvml"
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound
"""The address to ask a server that listens on all addresses."""
SCRAPE_LIMIT_LINES_PER_SAMPLE = 4
"""Accepted lines for each sample, comments and blanks included. Chosen: real pages have about two."""


@dataclass(frozen=True)
class Readiness:
    """The readiness check of a backend: its kind, and each (served model, version) that it should serve."""

    engine: EngineKind
    expected: tuple[tuple[str, str], ...]

    @property
    def api(self) -> Api:
        """Its API."""
        assert self.engine.api is not None  # a backend serves
        return self.engine.api


@dataclass(frozen=True)
class ScrapePlan:
    """All groups of targets, with the settings of the sources that need more than a GET."""

    groups: tuple[DiscoveryGroup, ...]
    files: tuple[PrometheusFile, ...] = ()
    """Files that list more groups."""
    monitors: tuple[MonitorsSource, ...] = ()
    """Clusters whose monitors list more groups."""
    probes: Mapping[str, TargetGroup] = field(default_factory=dict)
    """By the keys of their targets."""
    readiness: Mapping[str, Readiness] = field(default_factory=dict)
    clouds: Mapping[str, TargetGroup] = field(default_factory=dict)
    """By the keys of their targets."""


def plan_scraping(loaded: LoadedFleet) -> ScrapePlan:
    """Return the scrape plan of a configuration.

    Raises ConfigErrors for a probe without a known protocol or model, and for two accounts that are one target.
    """
    fleet = loaded.fleet
    groups: list[DiscoveryGroup] = []
    probes: dict[str, TargetGroup] = {}
    clouds: dict[str, TargetGroup] = {}
    files: list[PrometheusFile] = []
    monitors: list[MonitorsSource] = []
    for number, group in enumerate(fleet.targets):
        if group.prometheus_config:
            path = loaded.path.parent / group.prometheus_config
            files.append(PrometheusFile(path, group, _served_names(fleet.models)))
            continue
        if group.prometheus_operator:
            monitors.append(MonitorsSource(group, fleet.scrape, _served_names(fleet.models)))
            continue
        made = _listed(group, loaded)
        groups.append(made)
        for url in group.urls if group.engine == "probe" else ():
            probes.setdefault(target_of_url(made, url).key, group)
            _check_probe(url, group, loaded, ("targets", number))
        for url in made.urls if ENGINES[group.kind].metered else ():
            first = clouds.setdefault(target_of_url(made, url).key, group)
            if (first.aws, first.azure, first.google) != (group.aws, group.azure, group.google):
                told = "another target has this job and this instance; give one of them its own label job:"
                raise ConfigErrors([loaded.error(("targets", number), told)])
    engines, readiness = _backends(fleet.models)
    groups += [replace(g, interval_s=fleet.scrape.interval, timeout_s=fleet.scrape.timeout_s) for g in engines]
    if fleet.gateway.runs_here:
        own = _own_gateway(fleet.gateway, fleet.scrape)
        # A gateway that is listed under targets: has labels and limits of its own there.
        if not any(group.engine in ("gateway", AUTO) and set(own.addresses) & set(group.addresses) for group in groups):
            groups.append(own)
    return ScrapePlan(tuple(groups), tuple(files), tuple(monitors), probes, readiness, clouds)


def _own_gateway(section: GatewaySection, scrape: ScrapeSection) -> DiscoveryGroup:
    host, _, port = section.admin.rpartition(":")
    address = f"{_LOOPBACK.get(host, host)}:{port}"
    return DiscoveryGroup("gateway", (address,), interval_s=scrape.interval, timeout_s=scrape.timeout_s)


def _listed(group: TargetGroup, loaded: LoadedFleet) -> DiscoveryGroup:
    scrape = loaded.fleet.scrape
    interval = group.interval or scrape.interval
    return DiscoveryGroup(
        engine=group.kind,
        addresses=group.addresses,
        urls=_urls(group),
        file_sd=group.file_sd,
        sd=sd_configs_of(group),
        labels=labels_of(group.labels),
        models=_served_names(loaded.fleet.models) if ENGINES[group.kind].names_models else (),
        scheme=group.scheme,
        path=group.metrics_path,
        interval_s=interval,
        timeout_s=group.timeout or min(scrape.timeout_s, interval),
        auth=auth_of(group),
        relabel=rules_of(group.relabel_configs),
        metric_relabel=rules_of(group.metric_relabel_configs),
    )


def _urls(group: TargetGroup) -> tuple[str, ...]:
    if group.engine == "nvml" and not group.listed:
        return (LOCAL_NVML,)
    if ENGINES[group.kind].metered:
        return group.urls or (_cloud_url(group),)
    provider = PROVIDERS.get(group.kind)
    return group.urls or ((provider.url,) if provider else ())


def _cloud_url(group: TargetGroup) -> str:
    if group.aws:
        return cloudwatch_url(group.aws.region)
    return GOOGLE_URL if group.google else AZURE_URL


def _served_names(models: tuple[ModelSection, ...]) -> Labels:
    """Return pairs of a model's name in its engine and its name in the fleet."""
    served = {m.traffic.model: m.name for m in models if m.traffic.model}
    return labels_of(served | {v.model: m.name for m in models for v in m.versions.values() if v.model})


def _backends(models: tuple[ModelSection, ...]) -> tuple[list[DiscoveryGroup], dict[str, Readiness]]:
    """Return a group for each backend's metrics and readiness. Two models on one server are one target."""
    groups: dict[tuple[str, Labels], DiscoveryGroup] = {}
    readiness: dict[str, Readiness] = {}

    def add(engine: str, url: str, labels: dict[str, str], backend: Backend, models: Labels = ()) -> None:
        key = (url, labels_of(labels))
        known = groups.get(key)
        merged = labels_of({**dict(known.models if known else ()), **dict(models)})
        auth = auth_of(backend)
        groups[key] = DiscoveryGroup(engine=engine, urls=(url,), labels=key[1], models=merged, auth=auth)

    def expect(engine: EngineKind, url: str, served: str, version: str) -> None:
        before = readiness[url].expected if url in readiness else ()
        readiness[url] = Readiness(engine, (*before, (served, version)))

    for model in models:
        served = model.traffic.model or model.name
        names = labels_of({served: model.name})
        by_default = model.traffic.moves
        for backend in model.traffic.backends:
            engine = _engine(backend, by_default)
            add(engine.name, backend.metrics or engine.metrics_of(backend.url), backend.labels, backend, names)
            add("readiness", backend.url, backend.labels, backend, names)
            expect(engine, backend.url, served, model.stable)
        for name, version in model.versions.items():
            for backend in version.backends:
                labels = {**backend.labels, "model": model.name, "version": name}
                engine = _engine(backend)
                add(engine.name, backend.metrics or engine.metrics_of(backend.url), labels, backend)
                add("readiness", backend.url, labels, backend)
                expect(engine, backend.url, model.served_model(name), "")  # the version is among the target's labels
    return list(groups.values()), readiness


def _engine(backend: Backend, by_default: str | None = None) -> EngineKind:
    name = backend.engine or by_default
    assert name is not None  # the configuration requires its name
    return BACKENDS[name]


def _check_probe(url: str, group: TargetGroup, loaded: LoadedFleet, loc: Loc) -> None:
    try:
        for question in questions_of(group):
            dialect_for(url, group.protocol, probed_model(group), question)
    except CollectorError as error:
        raise ConfigErrors([loaded.error(loc, str(error))]) from error


def probed_model(group: TargetGroup) -> str:
    """Return the name of the model in a probe's requests."""
    return group.model_name or group.labels.get("model", "")


def body_limits(scrape: ScrapeSection) -> Limits:
    """Return the limits for a target's answer."""
    return Limits(
        max_body_bytes=scrape.max_body_bytes,
        max_samples=scrape.max_samples,
        max_lines=SCRAPE_LIMIT_LINES_PER_SAMPLE * scrape.max_samples,
    )


def discovery_of(plan: ScrapePlan, loaded: LoadedFleet) -> Discovery:
    """Return the discovery of a plan's targets. Raises ConfigErrors."""
    try:
        return Discovery(plan.groups, loaded.path.parent, plan.files, plan.monitors)
    except DiscoveryError as error:
        raise ConfigErrors([loaded.error(("targets",), str(error))]) from error
