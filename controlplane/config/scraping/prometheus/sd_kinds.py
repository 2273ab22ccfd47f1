"""Readers of single kinds of sources of addresses in a prometheus.yml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from collectors.discovery.consul_sd import ConsulSd
from collectors.discovery.dns_sd import DnsSd, RecordType
from collectors.discovery.docker_sd import DockerSd
from collectors.target import Auth
from controlplane.config.scraping.prometheus import access
from controlplane.config.scraping.prometheus.sections import Section

DOCKER_FIELDS = (
    "host", "port", "filters", "host_networking_host", "match_first_network", "refresh_interval", *access.FIELDS,
)  # fmt: skip
CONSUL_FIELDS = (
    "server", "path_prefix", "token", "datacenter", "namespace", "partition", "tag_separator", "scheme", "username",
    "password", "services", "tags", "node_meta", "filter", "allow_stale", "refresh_interval", *access.FIELDS,
)  # fmt: skip
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


def read_consul(section: Section, folder: Path, leave_out: access.Tell, tell: access.Tell) -> ConsulSd:
    """Return the settings of a section of `consul_sd_configs`."""
    for field in ("username", "password"):
        if section.text(field):
            leave_out(section, field, "is not supported; use basic_auth")
    auth, token = access.auth_of(section, folder, leave_out, tell), section.text("token")
    if token:
        if any(section.at(name) for name in ("authorization", "basic_auth", "oauth2")):
            raise section.error("cannot be given beside authorization, basic_auth and oauth2", "token")
        tell(section, "token", "is a secret in this file, and is used; authorization.credentials_file keeps it out")
        auth = replace(auth or Auth(), inline=token)
    at = section.at("node_meta")
    return ConsulSd(
        section.text("server", "localhost:8500"),
        section.text("scheme", "http"),
        section.text("path_prefix"),
        section.text("datacenter"),
        section.text("namespace"),
        section.text("partition"),
        section.texts("services"),
        section.texts("tags"),
        tuple(sorted((name, place.text()) for name, place in at.fields().items())) if at else (),
        section.text("filter"),
        section.text("tag_separator", ","),
        section.flag("allow_stale", True),
        section.seconds("refresh_interval", 30.0),
        auth,
    )


def read_docker(section: Section, folder: Path, leave_out: access.Tell, tell: access.Tell) -> DockerSd:
    """Return the settings of a section of `docker_sd_configs`."""
    host = section.text("host")
    if not host:
        raise section.error("host: is required")
    filters: dict[str, tuple[str, ...]] = {}
    at = section.at("filters")
    for number, place in enumerate(at.items()) if at else ():
        one = Section(place, f"{section.path}.filters[{number}]", ("name", "values"))
        filters[one.text("name")] = (*filters.get(one.text("name"), ()), *one.texts("values"))
    return DockerSd(
        host,
        section.number("port", 80),
        section.text("host_networking_host", "localhost"),
        section.flag("match_first_network", True),
        tuple(sorted(filters.items())),
        section.seconds("refresh_interval", 60.0),
        access.auth_of(section, folder, leave_out, tell),
    )
