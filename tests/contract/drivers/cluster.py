"""A cluster of Kubernetes around the versions' servers: the strict API server, its controllers, and a data plane."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.contract.drivers.streams import stream
from tests.contract.drivers.versions import Versions, clients
from tests.fakes.kubernetes import ApiServer, Rule

Json = dict[str, Any]
NAMESPACE = "llm"
RIGHTS = Path(__file__).parents[3] / "deploy" / "kubernetes" / "rollouts.yaml"
GATEWAY = "gateway.networking.k8s.io/v1"
KSERVE = "serving.kserve.io"


class TestCluster:
    """The API server with one model's objects. Its controllers work all the time, unless a test stops them."""

    __test__ = False

    def __init__(self, versions: Versions) -> None:
        self.versions = versions
        self.api = ApiServer(namespaces=(NAMESPACE,))
        self.api.cluster.stopped |= {"endpointslices"}  # the pods are this process's servers

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve the API, and let the controllers work."""
        async with self.api:
            task = asyncio.create_task(self._work())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def restart(self) -> None:
        """Kill the API server, and start it again with what it has stored."""
        await self.api.stop(kill=True)
        await self.api.start()

    def kubeconfig(self, folder: Path, url: str | None = None) -> Path:
        """Write a kubeconfig of an account with no more rights than deploy/ gives."""
        token = self.api.token(rights())
        file = folder / f"kubeconfig-{len(list(folder.glob('kubeconfig-*')))}"
        found = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "driver"}}],
            "clusters": [{"name": "test", "cluster": {"server": url or self.api.url}}],
            "users": [{"name": "driver", "user": {"token": token}}],
        }
        file.write_text(yaml.safe_dump(found))
        return file

    def put(self, found: Json) -> None:
        """Write an object as its owner does."""
        found["metadata"].setdefault("namespace", NAMESPACE)
        self.api.put(found)

    def get(self, api_version: str, kind: str, name: str) -> Json:
        """Return an object."""
        found = self.api.get(api_version, kind, name, NAMESPACE)
        assert found is not None
        return found

    def endpoints(self, service: str, *versions: str) -> None:
        """Let the endpoints of a Service be the servers of these versions."""
        ready = [v for v in versions if self.versions.servers[v].health == 200]
        for version in self.versions.servers:
            host, _, port = self.versions.address(version).rpartition(":")
            conditions = {"ready": version in ready}
            endpoints = [{"addresses": [host], "conditions": conditions}] if version in versions else []
            self.put(
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": f"{service}-{version}-slice",
                        "labels": {"kubernetes.io/service-name": service},
                    },
                    "addressType": "IPv4",
                    "endpoints": endpoints,
                    "ports": [{"name": "http", "port": int(port), "protocol": "TCP"}],
                }
            )

    async def _work(self) -> None:
        """Let the controllers work after every change of an object, or of what a test told them."""
        seen: object = None
        while True:
            if (now := (self.api.store.version, self.api.cluster.told())) != seen:
                seen = now
                self.api.cluster.step()
                self._follow_selector()
                self._follow_group()
            await asyncio.sleep(0.01)

    def _follow_selector(self) -> None:
        """Write the endpoints of the selected Service, as the endpoint slice controller does."""
        found = self.api.get("v1", "Service", "chat", NAMESPACE)
        if found is not None:
            wanted = found["spec"]["selector"].get("version", "")
            held = self.api.get("discovery.k8s.io/v1", "EndpointSlice", f"chat-{wanted}-slice", NAMESPACE)
            if held is None or not held["endpoints"]:
                self.endpoints("chat", wanted)

    def _follow_group(self) -> None:
        """Write the status of a routing group, as KServe's controller does."""
        members = [
            self.api.get(f"{KSERVE}/v1alpha2", "LLMInferenceService", f"chat-{v}", NAMESPACE)
            for v in self.versions.servers
        ]
        found = [member for member in members if member is not None]
        listed = [{"name": m["metadata"]["name"], "weight": m["spec"]["router"]["route"]["weight"]} for m in found]
        conditions = [{"type": kind, "status": "True"} for kind in ("HTTPRoutesReady", "GroupReady")]
        for member in found:
            status = {"router": {"group": {"members": listed}}, "conditions": conditions}
            if member.get("status") != status:
                self.put({**member, "status": status})


def rights() -> list[Rule]:
    """Return the rules of the Role in deploy/, as the API server judges them."""
    documents = list(yaml.safe_load_all(RIGHTS.read_text()))
    (role,) = [one for one in documents if one["kind"] == "Role"]
    return [
        Rule(r["verbs"], r["apiGroups"], r["resources"], [*r.get("resourceNames", ()), *_third(r)], NAMESPACE)
        for r in role["rules"]
    ]


def _third(rule: Mapping[str, Any]) -> list[str]:
    """Return the name of the third version, where the file names two as an example."""
    return ["chat-v3"] if "chat-v2" in rule.get("resourceNames", ()) else []


def route(weights: Mapping[str, int]) -> Json:
    """Return a route with these weights."""
    backends = [{"name": f"chat-{v}", "port": 8000, "weight": weight} for v, weight in weights.items()]
    return {
        "apiVersion": GATEWAY,
        "kind": "HTTPRoute",
        "metadata": {"name": "chat"},
        "spec": {"parentRefs": [{"name": "gw"}], "rules": [{"name": "main", "backendRefs": backends}]},
    }


def member(version: str, weight: int) -> Json:
    """Return a member of a routing group."""
    return {
        "apiVersion": f"{KSERVE}/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {"name": f"chat-{version}"},
        "spec": {
            "model": {"uri": f"hf://org/{version}", "name": "llama"},
            "router": {"route": {"group": "chat", "weight": weight}},
        },
    }


def selected(version: str) -> Json:
    """Return the Service whose selector names a version."""
    spec = {"selector": {"app": "chat", "version": version}, "ports": [{"name": "http", "port": 8000}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat"}, "spec": spec}


def canary(latest: str) -> Json:
    """Return the InferenceService whose latest revision is a version that gets no requests yet."""
    model = {"modelFormat": {"name": "huggingface"}, "storageUri": f"hf://org/{latest}"}
    return {
        "apiVersion": f"{KSERVE}/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "chat"},
        "spec": {"predictor": {"canaryTrafficPercent": 0, "model": model}},
    }


def by_route(cluster: TestCluster) -> dict[str, int]:
    """Return the weights that a gateway has: those of the route."""
    refs = cluster.get(GATEWAY, "HTTPRoute", "chat")["spec"]["rules"][0]["backendRefs"]
    return {ref["name"].removeprefix("chat-"): ref["weight"] for ref in refs}


def by_group(cluster: TestCluster) -> dict[str, int]:
    """Return the weights of the members of a group."""
    found = {v: cluster.get(f"{KSERVE}/v1alpha2", "LLMInferenceService", f"chat-{v}") for v in ("v1", "v2", "v3")}
    return {v: one["spec"]["router"]["route"]["weight"] for v, one in found.items()}


def by_canary(cluster: TestCluster) -> dict[str, int]:
    """Return the percentages that KServe sends to the revisions of v2 and v1."""
    found = cluster.get(f"{KSERVE}/v1beta1", "InferenceService", "chat")
    sent = found["status"]["components"]["predictor"]["traffic"]
    latest = sum(to["percent"] for to in sent if to["latestRevision"])
    return {"v2": latest, "v1": 100 - latest}


def by_selector(cluster: TestCluster) -> dict[str, int]:
    """Return the one version that the endpoints of the Service belong to."""
    return {cluster.get("v1", "Service", "chat")["spec"]["selector"]["version"]: 1}


def asks(
    cluster: TestCluster, weights: Callable[[TestCluster], dict[str, int]]
) -> tuple[Callable[[int], Awaitable[str]], Callable[[int], Awaitable[Counter[str]]]]:
    """Return how one client asks through the data plane, and how many do. It draws a version for each request."""

    held: dict[int, dict[str, int]] = {}
    """The weights by the version of the API server's objects: the newest one only."""

    def drawn() -> str:
        if (at := cluster.api.store.version) not in held:
            held.clear()
            held[at] = weights(cluster)
        now = held[at]
        (version,) = random.choices(list(now), list(now.values()))
        return cluster.versions.servers[version].url

    async def many(requests: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for url, count in Counter(drawn() for _ in range(requests)).items():
            found += await clients(url, count)
        return found

    return lambda tokens: stream(drawn(), tokens), many
