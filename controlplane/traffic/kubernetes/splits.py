"""The split that a section of fleet.yaml names."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.config.traffic.kubernetes import KubernetesTraffic
from controlplane.traffic.kubernetes.canary import CanarySplit
from controlplane.traffic.kubernetes.group import GroupSplit
from controlplane.traffic.kubernetes.resource import http_route, inference_service, llm_inference_service, service
from controlplane.traffic.kubernetes.route import RouteSplit
from controlplane.traffic.kubernetes.selector import SelectorSplit
from controlplane.traffic.kubernetes.splitting import Split


def split_of(traffic: KubernetesTraffic, services: Mapping[str, str]) -> Split:
    """Return the split of a section. `services` maps each version to the Service with its pods."""
    namespace = traffic.namespace
    if route := traffic.http_route:
        pools = dict(route.pools)
        kind = "InferencePool" if pools else "Service"
        return RouteSplit(http_route(namespace, route.name), pools or services, kind, route.rule)
    if selected := traffic.service:
        labels = {version: selected.selectors.get(version, {"version": version}) for version in services}
        return SelectorSplit(service(namespace, selected.name), labels)
    if members := traffic.llm_inference_services:
        return GroupSplit({version: llm_inference_service(namespace, name) for version, name in members.items()})
    assert traffic.inference_service is not None  # the configuration requires one of the four
    canary = traffic.inference_service
    return CanarySplit(inference_service(namespace, canary.name), canary.models)
