"""The roles of `kubernetes_sd`: which objects each one needs, and the addresses that it makes of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from collectors.discovery.entries import Entry
from collectors.discovery.kubernetes_roles import READ_BY, Role
from controlplane.discovery.kubernetes.endpoints import Behind, endpoints_entries, slice_entries
from controlplane.discovery.kubernetes.ingresses import ingress_entries
from controlplane.discovery.kubernetes.nodes import node_entries
from controlplane.discovery.kubernetes.pods import pod_entries
from controlplane.discovery.kubernetes.services import service_entries
from controlplane.traffic.kubernetes.resource import Json

Objects = Mapping[str, Json]
"""Objects of one kind, by `namespace/name`, or by name where the kind has no namespaces."""


def needed(role: Role, *, with_nodes: bool) -> Sequence[Role]:
    """Return the kinds of objects that a role reads, its own first. `with_nodes` adds the labels of nodes."""
    nodes = with_nodes and role in (Role.POD, Role.ENDPOINTS, Role.ENDPOINTSLICE)
    return (*READ_BY[role], *((Role.NODE,) if nodes else ()))


def entries_of(role: Role, objects: Mapping[Role, Objects]) -> Iterator[Entry]:
    """Yield the addresses of a role. `objects` has those of each kind that the role needs."""
    for one in objects.get(role, {}).values():
        yield from entries_of_object(role, one, objects)


def entries_of_object(role: Role, one: Json, objects: Mapping[Role, Objects]) -> Iterator[Entry]:
    """Yield the addresses of one object. `objects` are looked up by their keys alone."""
    services, pods = objects.get(Role.SERVICE, {}), objects.get(Role.POD, {})
    nodes = {} if role is Role.NODE else objects.get(Role.NODE, {})
    match role:
        case Role.POD:
            yield from pod_entries(one, nodes)
        case Role.SERVICE:
            yield from service_entries(one)
        case Role.ENDPOINTS:
            yield from endpoints_entries(one, Behind(services, pods, nodes))
        case Role.ENDPOINTSLICE:
            yield from slice_entries(one, Behind(services, pods, nodes))
        case Role.NODE:
            yield from node_entries(one)
        case Role.INGRESS:
            yield from ingress_entries(one)
