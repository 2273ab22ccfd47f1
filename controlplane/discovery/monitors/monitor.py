"""A monitor (ServiceMonitor, PodMonitor, Probe, ScrapeConfig): its name, its kind and its specification. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from controlplane.traffic.kubernetes.resource import Json, text_at


class _Words(NamedTuple):
    title: str
    """Its `kind`."""
    plural: str
    """Its name in paths of the API."""
    job: str
    """Begins the names of its jobs."""
    endpoints: str
    """The field with its endpoints; "": it is one job."""
    field: str
    """Begins the names of its fields in fleet.yaml."""
    selected: str = ""
    """Kind of the objects that its selector selects, as a part of the names of labels."""
    one: str = ""
    """Name of such an object in a sentence."""
    version: str = "v1"
    """Version of its group in the API."""


class Kind(Enum):
    """Kind of a monitor."""

    SERVICE = _Words(
        "ServiceMonitor", "servicemonitors", "serviceMonitor", "endpoints", "service_monitor", "service", "Service"
    )
    POD = _Words("PodMonitor", "podmonitors", "podMonitor", "podMetricsEndpoints", "pod_monitor", "pod", "pod")
    PROBE = _Words("Probe", "probes", "probe", "", "probe", "ingress", "Ingress")
    SCRAPE = _Words("ScrapeConfig", "scrapeconfigs", "scrapeConfig", "", "scrape_config", version="v1alpha1")


@dataclass(frozen=True)
class Monitor:
    """A monitor. Its content is what a person has written, and may have any type."""

    kind: Kind
    found: Json

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return text_at(self.found, "metadata", "namespace")

    @property
    def name(self) -> str:
        """Its name."""
        return text_at(self.found, "metadata", "name")

    def __str__(self) -> str:
        """Return its kind, its namespace and its name."""
        return f"{self.kind.value.title} {self.namespace}/{self.name}"

    def job(self, number: int | None = None) -> str:
        """Return its job, or that of an endpoint, as the operator names it."""
        own = f"{self.kind.value.job}/{self.namespace}/{self.name}"
        return own if number is None else f"{own}/{number}"
