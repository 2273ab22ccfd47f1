"""The collections of the API in which the objects of each role are. Pure."""

from __future__ import annotations

from collectors.discovery.kubernetes_roles import Role
from controlplane.traffic.kubernetes.resource import Resource

MANIFEST = "deploy/kubernetes/discovery.yaml"
"""The file with the least rules of RBAC for discovery."""
_PLACES = {
    Role.POD: ("", "pods", "Pods"),
    Role.SERVICE: ("", "services", "Services"),
    Role.ENDPOINTS: ("", "endpoints", "Endpoints"),
    Role.ENDPOINTSLICE: ("discovery.k8s.io", "endpointslices", "EndpointSlices"),
    Role.NODE: ("", "nodes", "Nodes"),
    Role.INGRESS: ("networking.k8s.io", "ingresses", "Ingresses"),
}


def collection_of(role: Role, namespace: str) -> Resource:
    """Return the collection of a role's objects in a namespace; "" is the whole cluster. Nodes have no namespace."""
    group, plural, kind = _PLACES[role]
    return Resource(group, "v1", plural, kind, "" if role is Role.NODE else namespace, "", MANIFEST)
