"""Names of objects in a cluster, and the paths under which its API has them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
"""An object as the API shows it."""


@dataclass(frozen=True)
class Resource:
    """One object: its kind, its namespace and its name."""

    group: str
    """The API group; "" for the core group."""
    version: str
    plural: str
    kind: str
    namespace: str
    """Its namespace. "" for a collection over all namespaces, and for kinds without any."""
    name: str
    manifest: str = "deploy/kubernetes/rollouts.yaml"
    """The file with the least rules of RBAC for it."""
    cure: str = "name another kind of object under traffic:"
    """Cure where the cluster does not know the kind, besides its installation."""

    @property
    def collection(self) -> str:
        """Path of all objects of the kind in the namespace."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{self.namespace}/{self.plural}" if self.namespace else f"{root}/{self.plural}"

    @property
    def path(self) -> str:
        """Path of the object."""
        return f"{self.collection}/{self.name}"

    @property
    def rule(self) -> str:
        """The resource as a rule of RBAC names it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def __str__(self) -> str:
        if not self.namespace:
            return f"{self.kind} of the whole cluster"
        return f"{self.kind} {self.namespace}/{self.name}" if self.name else f"{self.kind} in {self.namespace}"


def http_route(namespace: str, name: str) -> Resource:
    """Return the name of a route of the Gateway API."""
    return Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", namespace, name)


def service(namespace: str, name: str) -> Resource:
    """Return the name of a Service."""
    return Resource("", "v1", "services", "Service", namespace, name)


def llm_inference_service(namespace: str, name: str) -> Resource:
    """Return the name of a KServe LLMInferenceService."""
    kind = "LLMInferenceService"
    return Resource("serving.kserve.io", "v1alpha2", "llminferenceservices", kind, namespace, name)


def inference_service(namespace: str, name: str) -> Resource:
    """Return the name of a KServe InferenceService."""
    return Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService", namespace, name)


def endpoint_slices(namespace: str) -> Resource:
    """Return the collection of EndpointSlices, without a name."""
    return Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlices", namespace, "")


def text_at(found: Any, *keys: str) -> str:
    """Return the text at a path of keys, "" where there is none."""
    value = value_at(found, *keys)
    return value if isinstance(value, str) else ""


def value_at(found: Any, *keys: str) -> Any:
    """Return the value at a path of keys. None: there is none."""
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def listed_at(found: Any, *keys: str) -> list[Json]:
    """Return the objects of the list at a path of keys. A list that is null counts as empty."""
    value = value_at(found, *keys)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def number_at(found: Any, *keys: str) -> float | None:
    """Return the number at a path of keys. None: there is none."""
    value = value_at(found, *keys)
    return value if isinstance(value, int | float) else None


def condition_at(found: Any, kind: str, *keys: str) -> Json:
    """Return a condition of the object at a path of keys, by its type. Empty: nothing was said about it."""
    return next((one for one in listed_at(found, *keys, "conditions") if one.get("type") == kind), {})


def reason_of(condition: Json) -> str:
    """Return what a condition says for people."""
    return text_at(condition, "message") or text_at(condition, "reason") or "nothing was said about it"


def version_of(found: Json) -> str:
    """Return the resourceVersion of an object, which every write changes."""
    return text_at(found, "metadata", "resourceVersion")
