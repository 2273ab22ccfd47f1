"""The monitors of a cluster as a source of groups of targets."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.discovery.group import ListedGroups, Objects
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.monitors.operator_sd import OperatorSd
from collectors.discovery.monitors.selector_operator import Operator
from collectors.samples import Labels
from controlplane.app.targets.job_engines import of_engines
from controlplane.config.auth import auth_of
from controlplane.config.model import ScrapeSection
from controlplane.config.scraping.prometheus_operator import (
    LabelSelectorSection,
    PrometheusOperatorSection,
    ScrapeClassSection,
)
from controlplane.config.scraping.relabel import rules_of
from controlplane.config.scraping.targets import TargetGroup
from controlplane.discovery.monitors.label_selector import Requirement, Requirements
from controlplane.discovery.monitors.listing import NAMESPACES, Selected, Selection, listed
from controlplane.discovery.monitors.made import Defaults
from controlplane.discovery.monitors.monitor import Kind
from controlplane.discovery.monitors.scrape_class import ScrapeClass


@dataclass(frozen=True)
class MonitorsSource:
    """Implements collectors.discovery.group.GroupsSource."""

    section: TargetGroup
    """The entry of fleet.yaml. It has `prometheus_operator`."""
    scrape: ScrapeSection
    models: Labels = ()
    """The engine's name of a model to fleet.yaml's."""

    @property
    def operator(self) -> PrometheusOperatorSection:
        """Its settings."""
        assert self.section.prometheus_operator is not None
        return self.section.prometheus_operator

    @property
    def sd(self) -> OperatorSd:
        """The monitors that are watched."""
        selection = self._selection()
        by_namespace = any(selected.namespaces for selected in selection.values())
        return OperatorSd(
            self._at(),
            (*(kind.value.plural for kind in selection), *((NAMESPACES,) if by_namespace else ())),
        )

    def groups(self, objects: Objects) -> ListedGroups:
        """Return the groups of an answer."""
        interval_s = self.section.interval or self.scrape.interval
        timeout_s = self.section.timeout or min(self.scrape.timeout_s, interval_s)
        role = Role(self.operator.service_discovery_role)
        classes = tuple(map(_class, self.operator.scrape_classes))
        found = listed(objects, self._selection(), Defaults(self._at(), role, interval_s, timeout_s, classes))
        return found._replace(groups=of_engines(found.groups, self.section, self.models))

    def _at(self) -> KubernetesSd:
        operator = self.operator
        return KubernetesSd(
            Role.POD,
            (operator.api_server or "").rstrip("/"),
            str(operator.kubeconfig_file or ""),
            auth_of(operator),
            operator.namespaces.names,
            operator.namespaces.own_namespace,
        )

    def _selection(self) -> Selection:
        operator = self.operator
        selectors = {
            Kind.SERVICE: (operator.service_monitor_selector, operator.service_monitor_namespace_selector),
            Kind.POD: (operator.pod_monitor_selector, operator.pod_monitor_namespace_selector),
            Kind.PROBE: (operator.probe_selector, operator.probe_namespace_selector),
            Kind.SCRAPE: (operator.scrape_config_selector, operator.scrape_config_namespace_selector),
        }
        return {
            kind: Selected(_requirements(monitors), _requirements(spaces))
            for kind, (monitors, spaces) in selectors.items()
            if monitors is not None
        }


def _class(section: ScrapeClassSection) -> ScrapeClass:
    return ScrapeClass(
        section.name,
        section.default,
        auth_of(section),
        rules_of(section.relabel_configs),
        rules_of(section.metric_relabel_configs),
    )


def _requirements(section: LabelSelectorSection) -> Requirements:
    exact = (Requirement(key, Operator.IN, (value,)) for key, value in sorted(section.match_labels.items()))
    return (*exact, *(Requirement(one.key, one.operator, one.values) for one in section.match_expressions))
