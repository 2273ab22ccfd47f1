"""`driver: haproxy` in fleet.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, Loc, check
from controlplane.config.traffic.base import Traffic, VersionSection, without_backends
from controlplane.config.vocabulary import FilePath, Model, Name, Text
from controlplane.config.wording import not_one_of

_SOCKET = re.compile(r"/\S+|(?:[^\s/:;]+|\[[0-9a-fA-F:.%a-z]+\]):[0-9]{1,5}")
_HAPROXY_NAME = re.compile(r"[A-Za-z0-9_.:-]+")


def _socket(value: str) -> str:
    if not _SOCKET.fullmatch(value) or not value.isprintable():
        raise ValueError("expected the path of the stats socket such as /run/haproxy/admin.sock, or host:port")
    return value


def _haproxy_name(value: str) -> str:
    if not _HAPROXY_NAME.fullmatch(value):
        raise ValueError("expected a name of letters, digits, '-', '_', '.' and ':', as HAProxy allows")
    return value


HaproxyName = Annotated[str, AfterValidator(_haproxy_name)]
"""A name in HAProxy's configuration. No other character, so that a name cannot hold a second command."""


class HaproxyInstance(Model):
    """One HAProxy: its stats socket, and its configuration file if it can be written here."""

    socket: Annotated[Text, AfterValidator(_socket)]
    config: FilePath | None = None
    """The file whose weights are rewritten, so that a reload keeps them."""


class HaproxyTraffic(Traffic):
    """Versions behind HAProxy, which splits requests by the weights of its servers."""

    moves = None
    driver: Literal["haproxy"]
    instances: Annotated[tuple[HaproxyInstance, ...], Field(min_length=1)]
    """Every HAProxy that has the backend. All get the same weights."""
    backend: HaproxyName | None = None
    """The backend in HAProxy's configuration. Default: the model's name."""
    servers: dict[Name, Annotated[tuple[HaproxyName, ...], Field(min_length=1)]] = Field(default={})
    """Names of the servers of a version. Default: the servers with the addresses of the version's backends."""

    @check
    def _has_no_shared_servers(self) -> Iterator[Fault]:
        if self.backends:
            yield Fault(("backends",), "HAProxy sends requests to the servers of a version; put them under versions:")

    @check
    def _sockets_differ(self) -> Iterator[Fault]:
        sockets = [instance.socket for instance in self.instances if instance.reads("socket")]
        for number, socket in enumerate(sockets):
            if socket in sockets[:number]:
                yield Fault(("instances", number, "socket"), f"{socket} is listed twice")

    def version_faults(self, versions: Mapping[str, VersionSection]) -> Iterator[Fault]:
        """Yield a fault for each version without servers, and each name that is no version."""
        yield from without_backends(versions, "driver haproxy asks the servers of a version whether they are ready")
        for name in self.servers:
            if name not in versions:
                yield Fault(("traffic", "servers", name), not_one_of(name, "versions", versions))

    def claims(self, model: str) -> Iterator[tuple[Loc, str]]:
        """Yield the backend of every HAProxy: an order sets the weights of all its servers."""
        for number, instance in enumerate(self.instances):
            yield ("instances", number, "socket"), f"backend {self.backend or model} of {instance.socket}"
