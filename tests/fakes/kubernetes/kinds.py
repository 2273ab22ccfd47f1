"""The resources that the server has."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.kubernetes.schemas import builtin, custom
from tests.fakes.kubernetes.schemas.schema import ANY, METADATA, Schema


@dataclass(frozen=True)
class Kind:
    """One resource of a group.

    versions: the served versions, the stored one first.
    subresources: "status" and "scale".
    spared: whether an update needs no resourceVersion ("unconditional update").
    shell: the parts that an empty object of the typed API has. They are owned by no manager.
    answers_object: whether a delete answers the object, not a Status.
    """

    group: str
    versions: tuple[str, ...]
    plural: str
    kind: str
    namespaced: bool = True
    custom: bool = False
    subresources: tuple[str, ...] = ()
    spared: bool = False
    generations: bool = False
    shell: dict[str, Any] = field(default_factory=dict)
    answers_object: bool = False
    schema: Schema = ANY
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """The stored apiVersion, for example "apps/v1"."""
        return self.named(self.versions[0])

    def named(self, version: str) -> str:
        """Return the apiVersion of one served version."""
        return f"{self.group}/{version}" if self.group else version

    @property
    def whole(self) -> Schema:
        """The schema of the whole object."""
        fields = dict(self.schema.fields or {}) | {"apiVersion": ANY, "kind": ANY, "metadata": METADATA}
        open_values = ANY if self.schema.fields is None else None
        return Schema("object", fields=fields, values=open_values, required=self.schema.required)


GATEWAY = "gateway.networking.k8s.io"
KSERVE = "serving.kserve.io"
MONITORING = "monitoring.coreos.com"
INFERENCE = "inference.networking.k8s.io"
_POD = {"metadata": {}, "spec": {"containers": None}, "status": {}}
_TEMPLATE = {"metadata": {}, "spec": {"containers": None}}

KINDS: tuple[Kind, ...] = (
    Kind("", ("v1",), "namespaces", "Namespace", namespaced=False, subresources=("status",), spared=True,
         shell={"metadata": {}, "spec": {}, "status": {}}),
    Kind("", ("v1",), "nodes", "Node", namespaced=False, subresources=("status",), spared=True,
         shell={"metadata": {}, "spec": {}, "status": {}}),
    Kind("", ("v1",), "services", "Service", subresources=("status",), spared=True, answers_object=True,
         shell={"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}}, schema=builtin.SERVICE),
    Kind("", ("v1",), "pods", "Pod", subresources=("status",), spared=True, generations=True, answers_object=True,
         shell=_POD, schema=builtin.POD),
    Kind("", ("v1",), "configmaps", "ConfigMap", spared=True, shell={"metadata": {}}),
    Kind("", ("v1",), "events", "Event", spared=True, shell={"metadata": {}}),
    Kind("", ("v1",), "serviceaccounts", "ServiceAccount", spared=True, shell={"metadata": {}}, answers_object=True),
    Kind("apps", ("v1",), "deployments", "Deployment", subresources=("status", "scale"), spared=True,
         generations=True, shell={"metadata": {}, "spec": {"strategy": {}, "template": _TEMPLATE}, "status": {}},
         schema=builtin.DEPLOYMENT),
    Kind("apps", ("v1",), "replicasets", "ReplicaSet", subresources=("status", "scale"), spared=True,
         generations=True, shell={"metadata": {}, "spec": {"template": _TEMPLATE}, "status": {}}),
    Kind("apps", ("v1",), "statefulsets", "StatefulSet", subresources=("status", "scale"), spared=True,
         generations=True, shell={"metadata": {}, "spec": {"template": _TEMPLATE}, "status": {}}),
    Kind("discovery.k8s.io", ("v1",), "endpointslices", "EndpointSlice", spared=True, generations=True,
         shell={"metadata": {}}, schema=builtin.ENDPOINT_SLICE),
    Kind("", ("v1",), "endpoints", "Endpoints", spared=True, shell={"metadata": {}}),
    Kind("networking.k8s.io", ("v1",), "ingresses", "Ingress", subresources=("status",), spared=True,
         shell={"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}}),
    Kind("coordination.k8s.io", ("v1",), "leases", "Lease", shell={"metadata": {}, "spec": {}}, schema=builtin.LEASE),
    Kind(GATEWAY, ("v1", "v1beta1"), "httproutes", "HTTPRoute", custom=True, subresources=("status",),
         generations=True, shell={"metadata": {}}, schema=custom.HTTP_ROUTE),
    Kind(GATEWAY, ("v1", "v1beta1"), "gateways", "Gateway", custom=True, subresources=("status",),
         generations=True, shell={"metadata": {}}, schema=custom.GATEWAY),
    Kind(INFERENCE, ("v1",), "inferencepools", "InferencePool", custom=True, subresources=("status",),
         generations=True, shell={"metadata": {}}, schema=custom.INFERENCE_POOL),
    Kind("", ("v1",), "secrets", "Secret", spared=True, shell={"metadata": {}}),
    Kind(MONITORING, ("v1",), "servicemonitors", "ServiceMonitor", custom=True, generations=True,
         shell={"metadata": {}}),
    Kind(MONITORING, ("v1",), "podmonitors", "PodMonitor", custom=True, generations=True, shell={"metadata": {}}),
    Kind(MONITORING, ("v1",), "probes", "Probe", custom=True, generations=True, shell={"metadata": {}}),
    Kind(MONITORING, ("v1alpha1",), "scrapeconfigs", "ScrapeConfig", custom=True, generations=True,
         shell={"metadata": {}}),
    Kind(KSERVE, ("v1beta1",), "inferenceservices", "InferenceService", custom=True, subresources=("status",),
         generations=True, shell={"metadata": {}}, schema=custom.INFERENCE_SERVICE),
    Kind(KSERVE, ("v1alpha2", "v1alpha1"), "llminferenceservices", "LLMInferenceService", custom=True,
         subresources=("status",), generations=True, shell={"metadata": {}}, schema=custom.LLM_SERVICE),
)  # fmt: skip


def kind_of(group: str, version: str, plural: str, kinds: Iterable[Kind] = KINDS) -> Kind | None:
    """Return the kind that is served under a path, or None."""
    found = (kind for kind in kinds if kind.group == group and kind.plural == plural and version in kind.versions)
    return next(found, None)


def kind_named(api_version: str, name: str) -> Kind:
    """Return the kind of an object by its apiVersion and kind. Raises KeyError for one that is not served."""
    for kind in KINDS:
        if kind.kind == name and api_version in {kind.named(version) for version in kind.versions}:
            return kind
    raise KeyError(f"{api_version} {name} is not served")
