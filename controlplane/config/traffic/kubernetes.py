"""`driver: kubernetes` in fleet.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations, permutations
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, Loc, check
from controlplane.config.traffic.base import Traffic, VersionSection, without_backends
from controlplane.config.vocabulary import FilePath, Model, Name, Text
from controlplane.config.wording import not_one_of

_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def checked(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"expected {what}, got {value!r}")
        return value

    return AfterValidator(checked)


ObjectName = Annotated[Text, _matching(_OBJECT, "a name of lower-case letters, digits, '-' and '.'")]
Label = Annotated[Text, _matching(_LABEL, "the name of a label, such as version")]
LabelValue = Annotated[str, _matching(_LABEL_VALUE, "the value of a label: letters, digits, '-', '_' and '.'")]


class HttpRoute(Model):
    """A route of the Gateway API whose weights are set."""

    name: ObjectName
    rule: Text | None = None
    """Name of its rule. Default: every rule that has the versions' backends."""
    pools: dict[Name, ObjectName] = Field(default={})
    """InferencePool of each version, where the backends are pools. Default: the versions' Services."""


class ServiceSelector(Model):
    """A Service whose selector is set."""

    name: ObjectName
    selectors: dict[Name, Annotated[dict[Label, LabelValue], Field(min_length=1)]] = Field(default={})
    """Labels that only the pods of a version have. Default: version=VERSION."""


class CanaryService(Model):
    """A KServe InferenceService whose canaryTrafficPercent is set."""

    name: ObjectName
    models: Annotated[dict[Name, Text], Field(min_length=2, max_length=2)]
    """`storageUri` of each of the two versions."""


KINDS = ("http_route", "service", "llm_inference_services", "inference_service")
"""Fields of which one names what splits the requests."""


class KubernetesTraffic(Traffic):
    """Versions in a cluster of Kubernetes, whose objects split the requests."""

    moves = None
    driver: Literal["kubernetes"]
    namespace: ObjectName = "default"
    http_route: HttpRoute | None = None
    service: ServiceSelector | None = None
    llm_inference_services: Annotated[dict[Name, ObjectName], Field(min_length=1)] | None = None
    """The KServe LLMInferenceService of each version. All are of one routing group."""
    inference_service: CanaryService | None = None
    services: dict[Name, ObjectName] = Field(default={})
    """The Service with the pods of each version. Default: MODEL-VERSION."""
    kubeconfig: FilePath | None = None
    """Default: the pod's own account in a pod, else KUBECONFIG or ~/.kube/config."""
    context: Text | None = None
    """Context in the kubeconfig. Default: its current one."""

    @check
    def _has_no_shared_servers(self) -> Iterator[Fault]:
        if self.backends:
            yield Fault(("backends",), "a cluster sends requests to the pods of a version; put them under versions:")

    @check
    def _names_one_kind(self) -> Iterator[Fault]:
        named = [kind for kind in KINDS if self.reads(kind) and getattr(self, kind) is not None]
        if len(named) != 1 and all(map(self.reads, KINDS)):
            told = " and ".join(named) if named else "none"
            yield Fault((), f"needs exactly one of {', '.join(KINDS)}; it has {told}")

    def version_faults(self, versions: Mapping[str, VersionSection]) -> Iterator[Fault]:
        """Yield a fault for each version without servers, without an object, and each name that is no version."""
        yield from without_backends(versions, "driver kubernetes asks the servers of a version whether they are ready")
        for place, named in self._by_version():
            for name in named:
                if name not in versions:
                    yield Fault(("traffic", *place, name), not_one_of(name, "versions", versions))
        for place, named in self._by_version():
            if named and place not in (("services",), ("service", "selectors")):
                for name in versions:
                    if name not in named:
                        yield Fault(("traffic", *place), f"lacks {name}; name the object of every version")
        yield from self._shared_objects(versions)

    def claims(self, model: str) -> Iterator[tuple[Loc, str]]:
        """Yield the objects that only this model may write."""
        if self.service:
            yield ("service", "name"), f"Service {self.namespace}/{self.service.name}"
        if self.inference_service:
            yield ("inference_service", "name"), f"InferenceService {self.namespace}/{self.inference_service.name}"
        for version, name in (self.llm_inference_services or {}).items():
            yield ("llm_inference_services", version), f"LLMInferenceService {self.namespace}/{name}"

    def _shared_objects(self, versions: Mapping[str, VersionSection]) -> Iterator[Fault]:
        """Yield a fault for each version whose object or pods are those of another one: no share could tell them."""
        for place, named in self._by_version():
            for first, second in combinations(named, 2):
                if place != ("service", "selectors") and named[first] == named[second]:
                    words = f"{named[second]} is the one of {first} too; name an own one for each version"
                    yield Fault(("traffic", *place, second), words)
        if self.service is None:
            return
        labels = {name: self.service.selectors.get(name, {"version": name}) for name in versions}
        for first, second in permutations(versions, 2):
            if labels[first].items() <= labels[second].items():
                words = (
                    f"{second} has every label of {first}, so its pods count for both; give {first} a label of its own"
                )
                yield Fault(("traffic", "service", "selectors"), words)

    def _by_version(self) -> Iterator[tuple[tuple[str, ...], Mapping[str, object]]]:
        """Yield every field that has a name for each version, by its place."""
        yield ("services",), self.services
        if self.http_route:
            yield ("http_route", "pools"), self.http_route.pools
        if self.service:
            yield ("service", "selectors"), self.service.selectors
        if self.llm_inference_services:
            yield ("llm_inference_services",), self.llm_inference_services
        if self.inference_service:
            yield ("inference_service", "models"), self.inference_service.models
