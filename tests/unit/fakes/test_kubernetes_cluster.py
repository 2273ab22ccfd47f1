"""The controllers of the test cluster: what they write, and how they lie or stand still."""

from typing import Any

from tests.fakes.kubernetes import ApiServer

Json = dict[str, Any]


def deployment(replicas: int = 2, version: str = "v1") -> Json:
    labels = {"app": "chat", "version": version}
    container = {"name": "vllm", "image": "vllm:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"chat-{version}"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def service(version: str = "v1") -> Json:
    spec = {"selector": {"app": "chat", "version": version}, "ports": [{"name": "http", "port": 8000}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat"}, "spec": spec}


def route(weight: int = 0) -> Json:
    backends = [{"name": "a", "port": 80, "weight": 100 - weight}, {"name": "b", "port": 80, "weight": weight}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "chat"},
        "spec": {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": backends}]},
    }


def get(api: ApiServer, found: Json) -> Json:
    held = api.get(found["apiVersion"], found["kind"], found["metadata"]["name"])
    assert held is not None
    return held


def endpoints(api: ApiServer) -> Any:
    held = api.get("discovery.k8s.io/v1", "EndpointSlice", "chat-slice")
    assert held is not None
    return held["endpoints"]


async def test_a_step_makes_ready_pods_and_the_slice_follows_the_selector() -> None:
    api = ApiServer()
    api.put(deployment())
    api.put(service())

    api.cluster.step()

    status = get(api, deployment())["status"]
    assert (status["readyReplicas"], status["observedGeneration"]) == (2, 1)
    assert [one["targetRef"]["name"] for one in endpoints(api)] == ["chat-v1-0", "chat-v1-1"]
    api.put(service("v2"))
    assert len(endpoints(api)) == 2
    api.cluster.step()
    assert endpoints(api) is None


async def test_a_second_step_of_nothing_new_writes_nothing() -> None:
    api = ApiServer()
    for one in (deployment(), service(), route()):
        api.put(one)
    api.cluster.step()
    version = api.store.version

    api.cluster.step()

    assert api.store.version == version


async def test_unready_pods_are_counted_absent_and_not_ready_in_the_slice() -> None:
    api = ApiServer()
    api.put(deployment())
    api.put(service())
    api.cluster.unready.add("chat-v1")

    api.cluster.step()

    status = get(api, deployment())["status"]
    assert "readyReplicas" not in status
    assert status["unavailableReplicas"] == 2
    assert [one["conditions"]["ready"] for one in endpoints(api)] == [False, False]


async def test_a_stopped_gateway_controller_leaves_the_observed_generation_behind() -> None:
    api = ApiServer()
    api.put(route())
    api.cluster.step()
    api.cluster.stopped.add("httproutes")
    api.put(route(weight=10))

    api.cluster.step()

    held = get(api, route())
    observed = held["status"]["parents"][0]["conditions"][0]["observedGeneration"]
    assert (held["metadata"]["generation"], observed) == (2, 1)


async def test_a_refused_route_and_a_lying_controller() -> None:
    api = ApiServer()
    api.put(route())
    api.cluster.refused["chat"] = "NotAllowedByListeners"
    api.cluster.step()
    condition = get(api, route())["status"]["parents"][0]["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("False", "NotAllowedByListeners")

    api.cluster.refused.clear()
    api.cluster.lies["chat"] = lambda status: status.update(parents=[])
    api.cluster.step()
    assert get(api, route())["status"] == {"parents": []}


async def test_kserve_tells_the_canary_share_and_the_version_before() -> None:
    api = ApiServer()
    isvc = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "chat"},
        "spec": {"predictor": {"model": {"storageUri": "hf://org/v1"}}},
    }
    api.put(isvc)
    api.cluster.step()
    api.put(isvc | {"spec": {"predictor": {"model": {"storageUri": "hf://org/v2"}, "canaryTrafficPercent": 10}}})

    api.cluster.step()

    traffic = get(api, isvc)["status"]["components"]["predictor"]["traffic"]
    assert [(one["revisionName"], one["percent"]) for one in traffic] == [
        ("chat-predictor-00002", 10),
        ("chat-predictor-00001", 90),
    ]


async def test_a_scale_down_and_a_foreground_deletion_take_the_pods_along() -> None:
    api = ApiServer()
    api.put(deployment())
    api.cluster.step()
    api.put(deployment(replicas=1))
    api.cluster.step()
    assert api.get("v1", "Pod", "chat-v1-1") is None
    assert api.get("v1", "Pod", "chat-v1-0") is not None

    api.remove("apps/v1", "Deployment", "chat-v1", propagation="Foreground")
    assert "deletionTimestamp" in get(api, deployment())["metadata"]
    api.cluster.step()
    assert api.get("apps/v1", "Deployment", "chat-v1") is None
    assert api.get("v1", "Pod", "chat-v1-0") is None
