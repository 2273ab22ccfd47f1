"""A stand-in for what runs in a cluster besides its API: controllers that a test moves by hand."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.kubernetes.bodies import Options
from tests.fakes.kubernetes.kinds import KINDS, Kind
from tests.fakes.kubernetes.resources import Resources
from tests.fakes.kubernetes.store import Key

Json = dict[str, Any]
Change = Callable[[Json], None]

CONTROLLERS = ("deployments", "endpointslices", "httproutes", "inferenceservices")
GATEWAY_CONTROLLER = "example.com/gateway"


@dataclass
class Cluster:
    """The controllers. Each `step()` lets every running controller see the objects once and write what it would.

    stopped: controllers that stand still; their status stays behind the generation.
    unready: Deployments whose pods run but never become ready.
    refused: HTTPRoutes that the gateway controller does not accept, with the reason.
    lies: changes of a status before it is written, by the name of the object.
    """

    resources: Resources
    stopped: set[str] = field(default_factory=set)
    unready: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    lies: dict[str, Change] = field(default_factory=dict)

    def told(self) -> object:
        """Return what the test told the controllers, to compare it with an earlier answer."""
        return set(self.stopped), set(self.unready), dict(self.refused), dict(self.lies)

    def step(self, times: int = 1) -> None:
        """Let the running controllers work, in the order of CONTROLLERS."""
        work = {
            "deployments": self._deployments,
            "endpointslices": self._endpoint_slices,
            "httproutes": self._http_routes,
            "inferenceservices": self._inference_services,
        }
        for _ in range(times):
            for name in CONTROLLERS:
                if name not in self.stopped:
                    work[name]()

    def _deployments(self) -> None:
        """Make pods for each Deployment, then tell of them in its status. Removed replicas go at once."""
        kind = _kind("deployments")
        for key, found in self._all(kind):
            if found["metadata"].get("deletionTimestamp"):
                self._remove_pods(found, 0)
                found["metadata"].pop("finalizers", None)
                self.resources.update(kind, key, self.resources.get(kind, key), found, "", _by("garbage-collector"))
                continue
            wanted = found["spec"].get("replicas", 0)
            for index in range(wanted):
                self._pod(found, index)
            self._remove_pods(found, wanted)
            ready = 0 if found["metadata"]["name"] in self.unready else wanted
            counts = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready, "availableReplicas": ready,
                      "unavailableReplicas": wanted - ready}  # fmt: skip
            status = {name: count for name, count in counts.items() if count} | {"terminatingReplicas": 0}
            status["observedGeneration"] = found["metadata"]["generation"]
            status["conditions"] = [
                _condition("Available", ready >= wanted, "MinimumReplicasAvailable", self.resources.given.now()),
                _condition("Progressing", True, "NewReplicaSetAvailable", self.resources.given.now()),
            ]
            self._write_status(kind, key, found, status)

    def _pod(self, deployment: Json, index: int) -> None:
        template = deployment["spec"]["template"]
        metadata = deployment["metadata"]
        kind = _kind("pods")
        key = Key("", "pods", metadata["namespace"], f"{metadata['name']}-{index}")
        ready = metadata["name"] not in self.unready
        if key not in self.resources.store.objects:
            labels = dict(template.get("metadata", {}).get("labels", {}))
            owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"], "uid": metadata["uid"]}
            body = {"metadata": {"name": key.name, "labels": labels, "ownerReferences": [owner]},
                    "spec": copy.deepcopy(template["spec"])}  # fmt: skip
            self.resources.create(kind, key.namespace, body, _by("kube-controller-manager"))
        found = self.resources.get(kind, key)
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        number = 1 + sorted(self.resources.store.objects).index(key)
        status = {"phase": "Running", "podIP": f"10.244.{number // 250}.{number % 250 + 1}", "conditions": [condition]}
        held = found.get("status", {}).get("podIP")
        self._write_status(kind, key, found, status | ({"podIP": held} if held else {}))

    def _remove_pods(self, deployment: Json, wanted: int) -> None:
        uid, kept = deployment["metadata"]["uid"], {f"{deployment['metadata']['name']}-{at}" for at in range(wanted)}
        for key, found in self._all(_kind("pods")):
            owners = {owner["uid"] for owner in found["metadata"].get("ownerReferences", [])}
            if uid in owners and key.name not in kept:
                self.resources.delete(_kind("pods"), key, {})

    def _endpoint_slices(self) -> None:
        """Write one EndpointSlice a Service: the pods of its selector. Without pods its lists are null."""
        kind = _kind("endpointslices")
        for service_key, service in self._all(_kind("services")):
            selector = service["spec"].get("selector")
            if not selector:
                continue
            endpoints = [
                _endpoint(pod)
                for key, pod in self._all(_kind("pods"))
                if key.namespace == service_key.namespace
                and selector.items() <= pod["metadata"].get("labels", {}).items()
                and "podIP" in pod.get("status", {})
            ]
            ports = [
                {"name": port.get("name", ""), "port": port["targetPort"], "protocol": port["protocol"]}
                for port in service["spec"]["ports"]
            ]
            key = Key(kind.group, kind.plural, service_key.namespace, f"{service_key.name}-slice")
            labels = {"kubernetes.io/service-name": service_key.name,
                      "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}  # fmt: skip
            body = {"metadata": {"name": key.name, "namespace": key.namespace, "labels": labels}, "addressType": "IPv4",
                    "endpoints": endpoints or None, "ports": ports if endpoints else None}  # fmt: skip
            held = self.resources.store.get(key)
            if held is None:
                self.resources.create(kind, key.namespace, body, _by("kube-controller-manager"))
            else:
                self.resources.update(kind, key, held, held | body, "", _by("kube-controller-manager"))

    def _http_routes(self) -> None:
        """Write each route's status for each of its parents, as a gateway controller does."""
        kind = _kind("httproutes")
        for key, found in self._all(kind):
            generation, now = found["metadata"]["generation"], self.resources.given.now()
            reason = self.refused.get(key.name, "")
            accepted = _condition("Accepted", not reason, reason or "Accepted", now) | {
                "observedGeneration": generation
            }
            resolved = _condition("ResolvedRefs", True, "ResolvedRefs", now) | {"observedGeneration": generation}
            parents = [
                {"parentRef": parent, "controllerName": GATEWAY_CONTROLLER, "conditions": [accepted, resolved]}
                for parent in found["spec"].get("parentRefs", [])
            ]
            self._write_status(kind, key, found, {"parents": parents})

    def _inference_services(self) -> None:
        """Write the traffic that KServe would send: the canary's share, and the rest to the version before."""
        kind = _kind("inferenceservices")
        for key, found in self._all(kind):
            predictor = found["spec"]["predictor"]
            generation = found["metadata"]["generation"]
            share = predictor.get("canaryTrafficPercent")
            latest = f"{key.name}-predictor-{generation:05d}"
            held = found.get("status", {}).get("components", {}).get("predictor", {})
            before = held.get("latestRolledoutRevision", latest)
            traffic = [{"latestRevision": True, "percent": 100 if share is None else share, "revisionName": latest}]
            if share is not None and share < 100:
                traffic.append({"latestRevision": False, "percent": 100 - share, "revisionName": before, "tag": "prev"})
            component = {"latestReadyRevision": latest, "latestCreatedRevision": latest, "traffic": traffic,
                         "latestRolledoutRevision": latest if share is None else before}  # fmt: skip
            ready = _condition("Ready", True, "Ready", self.resources.given.now())
            status = {"observedGeneration": generation, "components": {"predictor": component}, "conditions": [ready]}
            self._write_status(kind, key, found, status)

    def _all(self, kind: Kind) -> list[tuple[Key, Json]]:
        return self.resources.store.select(kind, "")

    def _write_status(self, kind: Kind, key: Key, found: Json, status: Json) -> None:
        """Write a status, with its lies. A condition that does not change keeps its time, so a repeat is a no-op."""
        status = copy.deepcopy(status)
        if key.name in self.lies:
            self.lies[key.name](status)
        _keep_times(found.get("status", {}), status)
        self.resources.update(kind, key, found, found | {"status": status}, "status", _by("controller"))


def _kind(plural: str) -> Kind:
    return next(kind for kind in KINDS if kind.plural == plural)


def _by(manager: str) -> Options:
    return Options(manager)


def _condition(name: str, true: bool, reason: str, now: str) -> Json:
    return {"type": name, "status": "True" if true else "False", "reason": reason, "message": reason,
            "lastTransitionTime": now}  # fmt: skip


def _endpoint(pod: Json) -> Json:
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))
    conditions = {"ready": ready, "serving": ready, "terminating": "deletionTimestamp" in pod["metadata"]}
    target = {"kind": "Pod", "namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"]}
    return {"addresses": [pod["status"]["podIP"]], "conditions": conditions, "targetRef": target}


def _keep_times(before: Json, after: Json) -> None:
    pairs = [(before, after), *zip(before.get("parents", []), after.get("parents", []), strict=False)]
    for old, new in pairs:
        held = {one["type"]: one for one in old.get("conditions", [])}
        for one in new.get("conditions", []):
            known = held.get(one["type"])
            if known and known["status"] == one["status"] and "lastTransitionTime" in known:
                one["lastTransitionTime"] = known["lastTransitionTime"]
