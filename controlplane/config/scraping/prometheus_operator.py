"""`targets[].prometheus_operator` of fleet.yaml: the monitors of a cluster, in the words of Prometheus Operator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from collectors.discovery.kubernetes_roles import Role, conflicts
from collectors.discovery.monitors.selector_operator import Operator
from controlplane.config.checking import Fault, check
from controlplane.config.scraping.kubernetes_sd import NamespacesSection
from controlplane.config.scraping.relabel import RelabelSection
from controlplane.config.vocabulary import Access, FilePath, HttpUrl, IssuedAccess, Model, Text


class ExpressionSection(Model):
    """Requirement of one label."""

    key: Text
    operator: Operator
    values: tuple[Text, ...] = ()

    @check
    def _values_fit(self) -> Iterator[Fault]:
        if bool(self.values) is not self.operator.has_values:
            yield Fault(("values",), f"operator {self.operator} {'takes none' if self.values else 'needs some'}")


class LabelSelectorSection(Model):
    """A selection of objects by their labels. Without fields it is all of them."""

    match_labels: dict[Text, Text] = Field(default={})
    match_expressions: tuple[ExpressionSection, ...] = ()


class ScrapeClassSection(IssuedAccess):
    """Settings that monitors take over by the name in their `scrapeClass`."""

    name: Text
    default: bool = False
    relabel_configs: tuple[RelabelSection, ...] = ()
    metric_relabel_configs: tuple[RelabelSection, ...] = ()


_ALL = LabelSelectorSection()
_KINDS = ("service_monitor", "pod_monitor", "probe", "scrape_config")
"""Begin the names of the fields of each kind of monitors."""


class PrometheusOperatorSection(Access):
    """A cluster whose ServiceMonitors, PodMonitors, Probes and ScrapeConfigs say what is scraped."""

    api_server: HttpUrl | None = None
    kubeconfig_file: FilePath | None = None
    namespaces: NamespacesSection = Field(default=NamespacesSection())
    service_monitor_selector: LabelSelectorSection | None = Field(default=_ALL)
    """None: no ServiceMonitor is read."""
    service_monitor_namespace_selector: LabelSelectorSection = Field(default=_ALL)
    pod_monitor_selector: LabelSelectorSection | None = Field(default=_ALL)
    """None: no PodMonitor is read."""
    pod_monitor_namespace_selector: LabelSelectorSection = Field(default=_ALL)
    probe_selector: LabelSelectorSection | None = None
    """None: no Probe is read."""
    probe_namespace_selector: LabelSelectorSection = Field(default=_ALL)
    scrape_config_selector: LabelSelectorSection | None = None
    """None: no ScrapeConfig is read."""
    scrape_config_namespace_selector: LabelSelectorSection = Field(default=_ALL)
    scrape_classes: tuple[ScrapeClassSection, ...] = ()
    service_discovery_role: Literal["endpoints", "endpointslice"] = "endpoints"

    @check
    def _goes_together(self) -> Iterator[Fault]:
        found = conflicts(
            Role.POD,
            (),
            api_server=self.api_server or "",
            kubeconfig=str(self.kubeconfig_file or ""),
            has_access=bool(self.authorization or self.basic_auth or self.tls),
            own_namespace=self.namespaces.own_namespace,
        )
        for field, sentence in found:
            yield Fault((field,) if field else (), sentence)

    @check
    def _classes_differ(self) -> Iterator[Fault]:
        seen: set[str] = set()
        defaults = [number for number, each in enumerate(self.scrape_classes) if each.default]
        for number, each in enumerate(self.scrape_classes):
            if each.name in seen:
                yield Fault(("scrape_classes", number, "name"), f"{each.name!r} is there twice; rename one")
            seen.add(each.name)
        for number in defaults[1:]:
            yield Fault(("scrape_classes", number, "default"), "only one class can be the default")

    @check
    def _reads_some_kind(self) -> Iterator[Fault]:
        if all(getattr(self, f"{kind}_selector") is None for kind in _KINDS):
            yield Fault(
                (), f"reads nothing: one of {', '.join(f'{kind}_selector' for kind in _KINDS)} must not be null"
            )
