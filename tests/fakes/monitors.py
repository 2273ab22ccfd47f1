"""Monitors of Prometheus Operator as the API shows them."""

from __future__ import annotations

from typing import Any


def service_monitor(name: str = "test", namespace: str = "llm", **spec: Any) -> dict[str, Any]:
    """Return a ServiceMonitor."""
    return _monitor("ServiceMonitor", name, namespace, {"selector": {}, "endpoints": [], **spec})


def pod_monitor(name: str = "test", namespace: str = "llm", /, **spec: Any) -> dict[str, Any]:
    """Return a PodMonitor."""
    return _monitor("PodMonitor", name, namespace, {"selector": {}, "podMetricsEndpoints": [], **spec})


def probe(name: str = "test", namespace: str = "llm", /, **spec: Any) -> dict[str, Any]:
    """Return a Probe."""
    return _monitor("Probe", name, namespace, spec)


def scrape_config(name: str = "test", namespace: str = "llm", /, **spec: Any) -> dict[str, Any]:
    """Return a ScrapeConfig."""
    return _monitor("ScrapeConfig", name, namespace, spec) | {"apiVersion": "monitoring.coreos.com/v1alpha1"}


def _monitor(kind: str, name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": kind, "metadata": metadata, "spec": spec}
