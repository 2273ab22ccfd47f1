"""The driver of one model on the strict API server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from controlplane.config.models import ModelSection
from controlplane.traffic.kubernetes.proxy import Kubernetes
from tests.fakes.kubernetes import ApiServer, Rule
from tests.fakes.kubernetes.rbac import User
from tests.unit.controlplane.traffic.kubernetes.accounts import SECRET, kubeconfig

Json = dict[str, Any]
GATEWAY, KSERVE = "gateway.networking.k8s.io", "serving.kserve.io"
ROUTE = {"http_route": {"name": "chat"}}
GROUP = {"llm_inference_services": {"v1": "chat-v1", "v2": "chat-v2"}}
SELECTOR = {"service": {"name": "chat"}}
CANARY = {"inference_service": {"name": "chat", "models": {"v1": "s3://v1", "v2": "s3://v2"}}}
ENGINES = "http://127.0.0.1:1"
"""Address of the engines, which nobody answers at."""


@contextlib.asynccontextmanager
async def driven(
    folder: Path, traffic: Json, *objects: Json, rules: Sequence[Rule] | None = None
) -> AsyncIterator[tuple[ApiServer, Kubernetes]]:
    """Yield the server with these objects, and the driver. `rules` None: it may do everything."""
    async with ApiServer(namespaces=("llm",)) as api:
        api.cluster.stopped.add("endpointslices")  # each test says which pods there are
        for one in objects:
            api.put(one)
        api.cluster.step()
        api.access.token(User("driver", admin=rules is None), rules or (), token=SECRET)
        driver = Kubernetes(section(str(kubeconfig(folder, {"token": SECRET}, api.url)), traffic))
        try:
            yield api, driver
        finally:
            await driver.close()


def section(config: str, traffic: Json) -> ModelSection:
    versions = {version: {"backends": [{"url": ENGINES, "engine": "vllm"}]} for version in ("v1", "v2")}
    where = {"driver": "kubernetes", "namespace": "llm", "kubeconfig": config, "model": "llama"}
    return ModelSection.model_validate(
        {"name": "chat", "stable": "v1", "versions": versions, "traffic": {**where, **traffic}}
    )


def named(api_version: str, kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "llm"}, "spec": spec}


def route(*rules: Json) -> Json:
    """Return a route. Without rules it has one, where v1 gets every request."""
    spec = {"parentRefs": [{"name": "gw"}], "rules": list(rules) or [rule(100, 0)]}
    return named(f"{GATEWAY}/v1", "HTTPRoute", "chat", spec)


def rule(v1: int, v2: int, **fields: Any) -> Json:
    backends = [{"name": "chat-v1", "port": 8000, "weight": v1}, {"name": "chat-v2", "port": 8000, "weight": v2}]
    return {"backendRefs": backends, **fields}


def member(version: str, weight: int) -> Json:
    spec = {"router": {"route": {"group": "chat", "weight": weight}}}
    return named(f"{KSERVE}/v1alpha2", "LLMInferenceService", f"chat-{version}", spec)


def canary(uri: str, percent: int | None) -> Json:
    predictor: Json = {"model": {"storageUri": uri}}
    if percent is not None:
        predictor["canaryTrafficPercent"] = percent
    return named(f"{KSERVE}/v1beta1", "InferenceService", "chat", {"predictor": predictor})


def selecting(version: str) -> Json:
    spec = {"selector": {"app": "chat", "version": version}, "ports": [{"name": "http", "port": 8000}]}
    return named("v1", "Service", "chat", spec)


def endpoints(service: str, *addresses: str, ready: bool = True) -> Json:
    """Return the EndpointSlice of a Service with these pods."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-slice",
            "namespace": "llm",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses],
        "ports": [{"name": "http", "port": 1, "protocol": "TCP"}],
    }


def stored(api: ApiServer, kind: str, name: str = "chat") -> Json:
    """Return an object as the server has it."""
    version = {"HTTPRoute": f"{GATEWAY}/v1", "Service": "v1", "InferenceService": f"{KSERVE}/v1beta1"}
    found = api.get(version.get(kind, f"{KSERVE}/v1alpha2"), kind, name, "llm")
    assert found is not None
    return found


def weights(api: ApiServer) -> list[list[int]]:
    """Return the weights of each rule of the route."""
    rules = stored(api, "HTTPRoute")["spec"]["rules"]
    return [[ref["weight"] for ref in one["backendRefs"]] for one in rules]


def verbs(api: ApiServer, *wanted: str) -> list[str]:
    """Return the requests of these verbs, in their order."""
    return [verb for verb, _, _ in api.requests if verb in wanted]
