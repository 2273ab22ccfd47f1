"""The groups of targets that a monitor of any kind is. Pure."""

from __future__ import annotations

from controlplane.discovery.monitors.access import Secret
from controlplane.discovery.monitors.jobs import read_endpoints
from controlplane.discovery.monitors.made import Defaults, Made
from controlplane.discovery.monitors.monitor import Kind, Monitor
from controlplane.discovery.monitors.probes import read_probe
from controlplane.discovery.monitors.scrape_configs import read_scrape_config


def read_monitor(monitor: Monitor, defaults: Defaults, secret: Secret) -> Made:
    """Return the groups of a monitor, and what of it is left out or has no effect."""
    match monitor.kind:
        case Kind.PROBE:
            return read_probe(monitor, defaults, secret)
        case Kind.SCRAPE:
            return read_scrape_config(monitor, defaults, secret)
        case Kind.SERVICE | Kind.POD:
            return read_endpoints(monitor, defaults, secret)
