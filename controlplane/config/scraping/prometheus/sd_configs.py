"""Sources of addresses in a job of a prometheus.yml: the reader of each kind that is taken over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from collectors.discovery.group import SdConfig
from collectors.discovery.http_sd import HttpSd
from controlplane.config.scraping.prometheus import access, kubernetes_sd, sd_kinds
from controlplane.config.scraping.prometheus.sections import Section, check_url

Read = Callable[[Section, Path, access.Tell, access.Tell], SdConfig]
"""Reads a section: (section, folder, leave_out, tell) -> settings. Raises RuleError for what Prometheus refuses."""


class Kind(NamedTuple):
    """A kind of source."""

    fields: tuple[str, ...]
    """Fields that Prometheus knows."""
    read: Read


def _http(section: Section, folder: Path, leave_out: access.Tell, tell: access.Tell) -> HttpSd:
    url = section.text("url")
    if not url:
        raise section.error("is required", "url")
    check_url(section, "url")
    auth = access.auth_of(section, folder, leave_out, tell)
    return HttpSd(url, section.seconds("refresh_interval", 60.0), auth)


SD_CONFIGS: Mapping[str, Kind] = MappingProxyType(
    {
        "kubernetes_sd_configs": Kind(kubernetes_sd.FIELDS, kubernetes_sd.read),
        "http_sd_configs": Kind(("url", "refresh_interval", *access.FIELDS), _http),
        "dns_sd_configs": Kind(sd_kinds.DNS_FIELDS, sd_kinds.read_dns),
        "consul_sd_configs": Kind(sd_kinds.CONSUL_FIELDS, sd_kinds.read_consul),
        "docker_sd_configs": Kind(sd_kinds.DOCKER_FIELDS, sd_kinds.read_docker),
    }
)
"""The kinds that are taken over, by the field of a job."""
