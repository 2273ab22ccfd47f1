"""A group of targets as the configuration lists them: where they come from, and the settings that they share."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.relabel import RelabelRule
from collectors.samples import Labels
from collectors.target import Auth


@dataclass(frozen=True)
class DiscoveryGroup:
    """Targets of one engine kind that share labels and credentials.

    `addresses` are `host:port`; `scheme` and `path` complete them. `urls` are complete (`local:nvml` too). `file_sd`
    are paths or globs of files that list addresses.
    """

    engine: str
    addresses: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    file_sd: tuple[str, ...] = ()
    labels: Labels = ()
    models: Labels = ()
    scheme: str = "http"
    path: str = "/metrics"
    """Path of the metrics. It may have a query string."""
    interval_s: float = 15.0
    timeout_s: float = 10.0
    auth: Auth | None = None
    relabel: tuple[RelabelRule, ...] = ()
    """Rules for the labels of an address, before it becomes a target. They do not apply to `urls`."""
    metric_relabel: tuple[RelabelRule, ...] = ()
    """Rules for the labels of each sample of the targets."""


@dataclass(frozen=True)
class DroppedTarget:
    """An address that the rules of its group drop."""

    job: str
    """Its job before the rules."""
    discovered: Labels
    """Its labels before the rules."""
