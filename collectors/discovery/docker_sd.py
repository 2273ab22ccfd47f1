"""Addresses of Docker's containers (docker_sd). Pure: asking Docker is `docker_following.py`'s job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from collectors.discovery.entries import Entry
from collectors.discovery.values import list_at, map_at, number_at, plain, prefixed, text_at
from collectors.target import Auth

_META = "__meta_docker_"


@dataclass(frozen=True)
class DockerSd:
    """A Docker daemon. Implements collectors.discovery.group.SdConfig."""

    host: str
    """URL of its API: unix:///PATH, tcp://HOST:PORT, http://… or https://…."""
    port: int = 80
    """Port of containers that expose none."""
    host_networking_host: str = "localhost"
    """Address of containers in the host's network."""
    match_first_network: bool = True
    """Whether a container in several networks is listed in the first one only, by name."""
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Docker's filters of containers, each a name with values."""
    refresh_interval_s: float = 60.0
    auth: Auth | None = None

    @property
    def place(self) -> str:
        """The host without user, password and query, which may be secret."""
        parts = urlsplit(self.host)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def identity(self) -> tuple[object, ...]:
        """All that decides the list."""
        first = self.match_first_network
        return "docker_sd", self.host, self.port, self.host_networking_host, first, self.filters

    @property
    def socket(self) -> str:
        """Path of the socket; "" for a daemon that is asked over TCP."""
        return self.host.removeprefix("unix://") if self.host.startswith("unix://") else ""


def entries_of(sd: DockerSd, containers: list[Any], networks: list[Any]) -> tuple[Entry, ...]:
    """Return the addresses of containers, sorted. Parts of an answer that have another form count as empty."""
    labels_of_network = {text_at(each, "Id"): _network_labels(each) for each in networks}
    by_id = {text_at(each, "Id"): each for each in containers}
    found: dict[str, list[Entry]] = {}
    for container in containers:
        if not (names := list_at(container, "Names")):
            continue
        own = {
            f"{_META}container_id": text_at(container, "Id"),
            f"{_META}container_name": plain(str(names[0])),
            f"{_META}container_network_mode": _mode(container),
            **prefixed(f"{_META}container_label_", map_at(container, "Labels")),
        }
        for network in _networks(sd, container, by_id):
            common = {**own, **labels_of_network.get(text_at(network, "NetworkID"), {})}
            common[f"{_META}network_ip"] = text_at(network, "IPAddress")
            for address, labels in _addressed(sd, container, network):
                found.setdefault(address, []).append(Entry((address,), {**common, **labels}))
    return tuple(entry for address in sorted(found) for entry in found[address])


def _addressed(sd: DockerSd, container: Any, network: Any) -> Iterator[tuple[str, dict[str, str]]]:
    ip = text_at(network, "IPAddress")
    host = f"[{ip}]" if ":" in ip else ip
    ports = [port for port in list_at(container, "Ports") if text_at(port, "Type") == "tcp"] if ip else []
    for port in ports:
        private, public = number_at(port, "PrivatePort"), number_at(port, "PublicPort")
        labels = {f"{_META}port_private": str(private)}
        if public:
            labels |= {f"{_META}port_public": str(public), f"{_META}port_public_ip": text_at(port, "IP")}
        yield f"{host}:{private}", labels
    if not ports and _mode(container) == "host":
        yield sd.host_networking_host, {}
    elif not ports and ip:
        yield f"{host}:{sd.port}", {}


def _networks(sd: DockerSd, container: Any, by_id: Mapping[str, Any]) -> list[Any]:
    """Return the networks of a container, or of the one whose network it shares."""
    networks, seen = map_at(map_at(container, "NetworkSettings"), "Networks"), set()
    while not networks and (kind := _mode(container).partition(":"))[0] == "container":
        if kind[2] in seen or kind[2] not in by_id:
            break
        seen.add(kind[2])
        container = by_id[kind[2]]
        networks = map_at(map_at(container, "NetworkSettings"), "Networks")
    given = [networks[name] for name in sorted(networks) if isinstance(networks[name], dict)]
    return given[:1] if sd.match_first_network else given


def _network_labels(network: Any) -> dict[str, str]:
    own = {name.lower(): text_at(network, name) for name in ("Id", "Name", "Scope")}
    own |= {name.lower(): str(map_at(network).get(name) is True).lower() for name in ("Internal", "Ingress")}
    return {**prefixed(f"{_META}network_", own), **prefixed(f"{_META}network_label_", map_at(network, "Labels"))}


def _mode(container: Any) -> str:
    return text_at(map_at(container, "HostConfig"), "NetworkMode")
