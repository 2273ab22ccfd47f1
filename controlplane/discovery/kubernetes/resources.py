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
_OPERATOR = "monitoring.coreos.com"


def monitors_of(plural: str, kind: str, namespace: str, cure: str, version: str = "v1") -> Resource:
    """Return the collection of a kind of monitors of Prometheus Operator in a namespace; "" is the whole cluster.

    `cure` says what to do in a cluster that does not know the kind, besides its installation.
    """
    return Resource(_OPERATOR, version, plural, kind, namespace, "", MANIFEST, cure)


def namespaces() -> Resource:
    """Return the collection of the namespaces of a cluster."""
    return Resource("", "v1", "namespaces", "Namespaces", "", "", MANIFEST)


def named_object(plural: str, kind: str, namespace: str, name: str) -> Resource:
    """Return the name of an object of the API's core, such as a Secret."""
    return Resource("", "v1", plural, kind, namespace, name, MANIFEST)


def collection_of(role: Role, namespace: str) -> Resource:
    """Return the collection of a role's objects in a namespace; "" is the whole cluster. Nodes have no namespace."""
    group, plural, kind = _PLACES[role]
    return Resource(group, "v1", plural, kind, "" if role is Role.NODE else namespace, "", MANIFEST)
