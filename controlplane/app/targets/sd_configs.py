"""The sources of addresses that a group of fleet.yaml names besides files."""

from __future__ import annotations

from collectors.discovery.group import SdConfig
from collectors.discovery.http_sd import HttpSd
from collectors.discovery.kubernetes_sd import KubernetesSd
from controlplane.config.auth import auth_of
from controlplane.config.scraping.kubernetes_sd import KubernetesSdSection
from controlplane.config.scraping.targets import TargetGroup


def sd_configs_of(group: TargetGroup) -> tuple[SdConfig, ...]:
    """Return the sources of a group, in the order of SD_FIELDS."""
    return (
        *(HttpSd(sd.url, sd.refresh_interval, auth_of(sd)) for sd in group.http_sd),
        *map(_kubernetes, group.kubernetes_sd),
    )


def _kubernetes(section: KubernetesSdSection) -> KubernetesSd:
    return KubernetesSd(
        section.role,
        (section.api_server or "").rstrip("/"),
        str(section.kubeconfig_file or ""),
        auth_of(section),
        section.namespaces.names,
        section.namespaces.own_namespace,
        section.chosen,
        section.attach_metadata.node,
    )
