"""Addresses of Consul's services (consul_sd). Pure: asking Consul is `consul_following.py`'s job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.discovery.entries import Entry
from collectors.discovery.values import list_at, map_at, number_at, plain, prefixed, text_at
from collectors.target import Auth

_META = "__meta_consul_"
_WORST_FIRST = ("critical", "warning", "passing")


@dataclass(frozen=True)
class ConsulSd:
    """A Consul agent. Implements collectors.discovery.group.SdConfig."""

    server: str = "localhost:8500"
    scheme: str = "http"
    path_prefix: str = ""
    datacenter: str = ""
    """"" is that of the agent."""
    namespace: str = ""
    partition: str = ""
    services: tuple[str, ...] = ()
    """Names; () takes every service."""
    tags: tuple[str, ...] = ()
    """Tags that a service and its instance must have, all of them."""
    node_meta: tuple[tuple[str, str], ...] = ()
    """Metadata that a node must have."""
    filter: str = ""
    """Expression of Consul's that chooses services of the catalogue."""
    tag_separator: str = ","
    allow_stale: bool = True
    """Whether any server may answer, and not the leader alone."""
    refresh_interval_s: float = 30.0
    auth: Auth | None = None
    owner: tuple[str, ...] = ()
    """Author of the settings, where authors may not see each other's lists; () is the owner of this process."""

    @property
    def url(self) -> str:
        """Base of its API."""
        prefix = self.path_prefix.strip("/")
        return f"{self.scheme}://{self.server}" + (f"/{prefix}" if prefix else "")

    @property
    def place(self) -> str:
        """The agent, for messages."""
        return f"consul_sd {self.url}"

    @property
    def identity(self) -> tuple[object, ...]:
        """All that decides the list, and the owner."""
        where = (self.url, self.datacenter, self.namespace, self.partition, self.tag_separator)
        return "consul_sd", *where, self.services, self.tags, self.node_meta, self.filter, self.owner

    @property
    def names_all(self) -> bool:
        """Whether its settings name the services, so that the catalogue need not be asked."""
        return bool(self.services) and not (self.tags or self.filter)

    def takes(self, service: str, tags: Sequence[Any]) -> bool:
        """Return whether a service of the catalogue is one of those that are wanted."""
        return (not self.services or service in self.services) and all(tag in tags for tag in self.tags)


def entries_of(sd: ConsulSd, datacenter: str, instances: Mapping[str, Sequence[Any]]) -> tuple[Entry, ...]:
    """Return the addresses of the instances of services. Parts of an answer that have another form count as empty."""
    return tuple(
        Entry((address,), {f"{_META}service": plain(service), f"{_META}dc": datacenter, **labels})
        for service, found in instances.items()
        for one in found
        for address, labels in _addressed(sd, one)
    )


def _addressed(sd: ConsulSd, instance: Any) -> Iterator[tuple[str, dict[str, str]]]:
    node, service = map_at(instance, "Node"), map_at(instance, "Service")
    port = number_at(service, "Port")
    host = text_at(service, "Address") or text_at(node, "Address")
    if not host:
        return
    own = {
        "address": text_at(node, "Address"),
        "node": text_at(node, "Node"),
        "namespace": text_at(service, "Namespace"),
        "partition": text_at(service, "Partition"),
        "tags": _tags(sd, service),
        "service_address": text_at(service, "Address"),
        "service_port": str(port),
        "service_id": text_at(service, "ID"),
        "health": health_of(list_at(instance, "Checks")),
    }
    yield (
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        {
            **{f"{_META}{name}": value for name, value in own.items()},
            **prefixed(f"{_META}metadata_", map_at(node, "Meta")),
            **prefixed(f"{_META}service_metadata_", map_at(service, "Meta")),
            **prefixed(f"{_META}tagged_address_", map_at(node, "TaggedAddresses")),
        },
    )


def _tags(sd: ConsulSd, service: Any) -> str:
    """Return the tags, with a separator before the first and after the last, so that a rule can match one of them."""
    separator = sd.tag_separator
    return plain(separator + separator.join(str(tag) for tag in list_at(service, "Tags")) + separator)


def health_of(checks: Sequence[Any]) -> str:
    """Return the state of an instance: maintenance, or that of its worst check."""
    for check in checks:
        name = text_at(check, "CheckID")
        if name == "_node_maintenance" or name.startswith("_service_maintenance:"):
            return "maintenance"
    states = {text_at(check, "Status") for check in checks}
    return next((state for state in _WORST_FIRST if state in states), "passing" if not checks else "")
