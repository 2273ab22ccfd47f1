"""Addresses of Docker's containers (docker_sd). Pure: asking Docker is `docker_following.py`'s job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from collectors.discovery.entries import Entry
from collectors.target import Auth

_META = "__meta_docker_"
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


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
    labels_of_network = {_text(each, "Id"): _network_labels(each) for each in networks}
    by_id = {_text(each, "Id"): each for each in containers}
    found: dict[str, list[Entry]] = {}
    for container in containers:
        if not (names := _list(container, "Names")):
            continue
        own = {
            f"{_META}container_id": _text(container, "Id"),
            f"{_META}container_name": _plain(str(names[0])),
            f"{_META}container_network_mode": _mode(container),
            **_prefixed(f"{_META}container_label_", _map(container, "Labels")),
        }
        for network in _networks(sd, container, by_id):
            common = {**own, **labels_of_network.get(_text(network, "NetworkID"), {})}
            common[f"{_META}network_ip"] = _text(network, "IPAddress")
            for address, labels in _addressed(sd, container, network):
                found.setdefault(address, []).append(Entry((address,), {**common, **labels}))
    return tuple(entry for address in sorted(found) for entry in found[address])


def _addressed(sd: DockerSd, container: Any, network: Any) -> Iterator[tuple[str, dict[str, str]]]:
    ip = _text(network, "IPAddress")
    host = f"[{ip}]" if ":" in ip else ip
    ports = [port for port in _list(container, "Ports") if _text(port, "Type") == "tcp"] if ip else []
    for port in ports:
        private, public = _number(port, "PrivatePort"), _number(port, "PublicPort")
        labels = {f"{_META}port_private": str(private)}
        if public:
            labels |= {f"{_META}port_public": str(public), f"{_META}port_public_ip": _text(port, "IP")}
        yield f"{host}:{private}", labels
    if not ports and _mode(container) == "host":
        yield sd.host_networking_host, {}
    elif not ports and ip:
        yield f"{host}:{sd.port}", {}


def _networks(sd: DockerSd, container: Any, by_id: Mapping[str, Any]) -> list[Any]:
    """Return the networks of a container, or of the one whose network it shares."""
    networks, seen = _map(_map(container, "NetworkSettings"), "Networks"), set()
    while not networks and (kind := _mode(container).partition(":"))[0] == "container":
        if kind[2] in seen or kind[2] not in by_id:
            break
        seen.add(kind[2])
        container = by_id[kind[2]]
        networks = _map(_map(container, "NetworkSettings"), "Networks")
    given = [networks[name] for name in sorted(networks) if isinstance(networks[name], dict)]
    return given[:1] if sd.match_first_network else given


def _network_labels(network: Any) -> dict[str, str]:
    own = {name.lower(): _text(network, name) for name in ("Id", "Name", "Scope")}
    own |= {name.lower(): str(_map(network).get(name) is True).lower() for name in ("Internal", "Ingress")}
    return {**_prefixed(f"{_META}network_", own), **_prefixed(f"{_META}network_label_", _map(network, "Labels"))}


def _mode(container: Any) -> str:
    return _text(_map(container, "HostConfig"), "NetworkMode")


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    return {prefix + _NOT_IN_A_NAME.sub("_", name): _plain(str(value)) for name, value in values.items()}


def _map(value: Any, key: str | None = None) -> dict[str, Any]:
    inner = value if key is None else _map(value).get(key)
    return inner if isinstance(inner, dict) else {}


def _list(value: Any, key: str) -> list[Any]:
    inner = _map(value).get(key)
    return inner if isinstance(inner, list) else []


def _text(value: Any, key: str) -> str:
    inner = _map(value).get(key)
    return _plain(inner) if isinstance(inner, str) else ""


def _number(value: Any, key: str) -> int:
    inner = _map(value).get(key)
    return inner if isinstance(inner, int) else 0


def _plain(text: str) -> str:
    """Return a text with a space for each character that a database, header or terminal may not accept."""
    return _CONTROL.sub(" ", text)
