"""Readers of single kinds of sources of addresses in a prometheus.yml."""

from __future__ import annotations

from pathlib import Path

from collectors.discovery.dns_sd import DnsSd, RecordType
from controlplane.config.scraping.prometheus import access
from controlplane.config.scraping.prometheus.sections import Section

DNS_FIELDS = ("names", "refresh_interval", "type", "port")


def read_dns(section: Section, folder: Path, leave_out: access.Tell, tell: access.Tell) -> DnsSd:
    """Return the settings of a section of `dns_sd_configs`."""
    names, kind, port = section.texts("names"), section.text("type", "SRV").upper(), section.number("port")
    if not names:
        raise section.error("needs names: [name]")
    if kind not in RecordType.__members__:
        raise section.error(f"expected one of {', '.join(RecordType)}", "type")
    if kind != RecordType.SRV and not port:
        raise section.error(f"port: is required, because records of the type {kind} have none")
    return DnsSd(names, RecordType(kind), port, section.seconds("refresh_interval", 30.0))
