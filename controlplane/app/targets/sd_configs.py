"""The sources of addresses that a group of fleet.yaml names besides files."""

from __future__ import annotations

from collectors.discovery.consul_sd import ConsulSd
from collectors.discovery.dns_sd import DnsSd
from collectors.discovery.docker_sd import DockerSd
from collectors.discovery.group import SdConfig
from collectors.discovery.http_sd import HttpSd
from collectors.discovery.kubernetes_sd import KubernetesSd
from controlplane.config.auth import auth_of
from controlplane.config.scraping.kubernetes_sd import KubernetesSdSection
from controlplane.config.scraping.sd_sections import ConsulSdSection, DockerSdSection
from controlplane.config.scraping.targets import TargetGroup


def sd_configs_of(group: TargetGroup) -> tuple[SdConfig, ...]:
    """Return the sources of a group, in the order of SD_FIELDS."""
    return (
        *(HttpSd(sd.url, sd.refresh_interval, auth_of(sd)) for sd in group.http_sd),
        *(DnsSd(sd.names, sd.type, sd.port or 0, sd.refresh_interval) for sd in group.dns_sd),
        *(_consul(sd) for sd in group.consul_sd),
        *(_docker(sd) for sd in group.docker_sd),
        *map(_kubernetes, group.kubernetes_sd),
    )


def _consul(sd: ConsulSdSection) -> ConsulSd:
    return ConsulSd(
        sd.server,
        sd.scheme,
        sd.path_prefix or "",
        sd.datacenter or "",
        sd.namespace or "",
        sd.partition or "",
        sd.services,
        sd.tags,
        tuple(sorted(sd.node_meta.items())),
        sd.filter or "",
        sd.tag_separator,
        sd.allow_stale,
        sd.refresh_interval,
        auth_of(sd),
    )


def _docker(sd: DockerSdSection) -> DockerSd:
    host = sd.host_networking_host
    return DockerSd(
        sd.host,
        sd.port,
        # An address of fleet.yaml has a port.
        host if ":" in host else f"{host}:{sd.port}",
        sd.match_first_network,
        tuple((each.name, each.values) for each in sd.filters),
        sd.refresh_interval,
        auth_of(sd),
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
