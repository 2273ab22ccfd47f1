"""Sections of a group of targets that name a source of addresses, with the fields and defaults of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from collectors.discovery.dns_sd import RecordType
from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import Interval, IssuedAccess, Model, Text, address

Port = Annotated[int, Field(ge=1, le=65535)]


class DnsSdSection(Model):
    """Names whose records list addresses, as in Prometheus's `dns_sd_configs`."""

    names: Annotated[tuple[Text, ...], Field(min_length=1)]
    type: RecordType = RecordType.SRV
    port: Port | None = None
    refresh_interval: Interval = 30.0

    @check
    def _has_a_port(self) -> Iterator[Fault]:
        if self.type is not RecordType.SRV and self.port is None:
            yield Fault(("port",), f"is required, because records of the type {self.type} have none")


class ConsulSdSection(IssuedAccess):
    """A Consul agent whose services are targets, as in Prometheus's `consul_sd_configs`."""

    server: Annotated[Text, AfterValidator(address)] = "localhost:8500"
    scheme: Literal["http", "https"] = "http"
    path_prefix: Text | None = None
    datacenter: Text | None = None
    namespace: Text | None = None
    partition: Text | None = None
    services: tuple[Text, ...] = ()
    tags: tuple[Text, ...] = ()
    node_meta: dict[Text, Text] = Field(default={})
    filter: Text | None = None
    tag_separator: str = ","
    allow_stale: bool = True
    refresh_interval: Interval = 30.0


def _docker_host(value: str) -> str:
    parts = urlsplit(value)
    if not ((parts.scheme == "unix" and parts.path) or (parts.scheme in ("tcp", "http", "https") and parts.hostname)):
        raise ValueError("expected unix:///var/run/docker.sock, tcp://host:port, http://… or https://…")
    return value


class DockerFilterSection(Model):
    """A filter of containers, as `docker ps --filter` has it."""

    name: Text
    values: Annotated[tuple[Text, ...], Field(min_length=1)]


class DockerSdSection(IssuedAccess):
    """A Docker daemon whose containers are targets, as in Prometheus's `docker_sd_configs`."""

    host: Annotated[Text, AfterValidator(_docker_host)]
    port: Port = 80
    filters: tuple[DockerFilterSection, ...] = ()
    host_networking_host: Text = "localhost"
    match_first_network: bool = True
    refresh_interval: Interval = 60.0
