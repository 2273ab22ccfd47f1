"""The test suite's Kubernetes API answers like the recorded kube-apiserver 1.36, entry by entry."""

from tests.fakes.kubernetes import ApiServer
from tests.fakes.kubernetes.recorded.replay import Replay

FILES = [
    "01-discovery",
    "02-service-selector-switch",
    "03-deployments",
    "04-httproute",
    "05-inference-crds",
    "06-pods-endpointslices-nodes",
    "07-lists",
    "08-watches",
    "09-leases",
    "10-rbac",
    "11-errors",
]

_NODES = "nodes are not served beyond their storage: no driver reads their defaults"
_KUBELET = "no kubelet: defaults of containerStatuses, binding, eviction, logs and grace periods of pods are not served"
_FORMATS = "answers are plain JSON only: no Table, no PartialObjectMetadata, no YAML"
_BODY = "the body of the request was not recorded; test_kubernetes_server.py sends one of that size"
_FLOW = "priority and fairness, quotas and dying namespaces are not served; a fault answers 429 the same way"
_TOKENS = "the recorder's own setup of accounts and roles: a test gives a user its rules instead"
_UNSEEN = "shows the work of a controller that the recording does not show otherwise"

_LISTS = "lists every kind of the real server, with hashes of its storage; this server lists its own kinds"

OUT_OF_SCOPE = {
    "01-discovery/2 api (legacy discovery)": "holds the address of the recorded server",
    "01-discovery/3 apis (legacy discovery)": _LISTS,
    "01-discovery/4 aggregated discovery v2": _LISTS,
    "01-discovery/5 resources of /api/v1": _LISTS,
    "01-discovery/6 resources of /apis/apps/v1": _LISTS,
    "01-discovery/7 resources of /apis/coordination.k8s.io/v1": _LISTS,
    "01-discovery/8 resources of /apis/discovery.k8s.io/v1": _LISTS,
    "01-discovery/9 resources of /apis/gateway.networking.k8s.io/v1": _LISTS,
    "01-discovery/10 resources of /apis/inference.networking.k8s.io/v1": _LISTS,
    "01-discovery/11 resources of /apis/serving.kserve.io/v1beta1": _LISTS,
    "01-discovery/12 resources of /apis/serving.kserve.io/v1alpha2": _LISTS,
    "01-discovery/18 livez verbose": "lists the parts of the real server",
    "06-pods-endpointslices-nodes/0 create node": _NODES,
    "06-pods-endpointslices-nodes/1 node status": _NODES,
    "06-pods-endpointslices-nodes/2 list nodes": _NODES,
    "06-pods-endpointslices-nodes/6 bind pod (what the scheduler does)": _KUBELET,
    "06-pods-endpointslices-nodes/7 pod runs, not ready (kubelet)": _KUBELET,
    "06-pods-endpointslices-nodes/9 pod ready (kubelet)": _KUBELET,
    "06-pods-endpointslices-nodes/12 pods, field selector": _KUBELET,
    "06-pods-endpointslices-nodes/18 delete pod with a node (graceful)": _KUBELET,
    "06-pods-endpointslices-nodes/19 evict pod": _KUBELET,
    "06-pods-endpointslices-nodes/20 delete pod, grace 0": _KUBELET,
    "06-pods-endpointslices-nodes/21 pod log without a kubelet": _KUBELET,
    "06-pods-endpointslices-nodes/22 service proxy": _KUBELET,
    "07-lists/15 PartialObjectMetadataList": _FORMATS,
    "07-lists/16 PartialObjectMetadata of one": _FORMATS,
    "07-lists/17 Table": _FORMATS,
    "07-lists/18 Table of a custom resource": _FORMATS,
    "07-lists/19 Accept that cannot be met": _FORMATS,
    "07-lists/20 Accept yaml": _FORMATS,
    "08-watches/12 PartialObjectMetadata watch": _FORMATS,
    "10-rbac/1 TokenRequest": _TOKENS,
    "10-rbac/2 TokenRequest under 10 minutes": _TOKENS,
    "10-rbac/3 create role": _TOKENS,
    "10-rbac/4 create rolebinding": _TOKENS,
    "10-rbac/18 patch the deployment's replicas - with the rule": _UNSEEN,
    "10-rbac/26 watch with only watch (watch-list) - with the rule": _UNSEEN,
    "10-rbac/36 endpointslices list - with the rule": _UNSEEN,
    "10-rbac/45 SelfSubjectRulesReview": _TOKENS,
    "10-rbac/46 SelfSubjectReview (who am I)": _TOKENS,
    "11-errors/28 413 over 3 MiB": _BODY,
    "11-errors/29 ConfigMap over 1 MiB": _BODY,
    "11-errors/30 etcd's own limit (1.5 MiB)": _BODY,
    "11-errors/31 APF: a level with no seats": _FLOW,
    "11-errors/32 403 quota": _FLOW,
    "11-errors/33 403 namespace terminating": _FLOW,
    "11-errors/34 APF: one user goes there": _FLOW,
}
"""Entries that the server does not answer as recorded, each with the reason."""


async def test_every_recorded_answer_is_given_again_or_named_as_out_of_scope() -> None:
    async with ApiServer(namespaces=()) as api:
        replay = Replay(api, FILES, left_out=set(OUT_OF_SCOPE))
        outcomes = await replay.run()

    different = {outcome.entry.label: outcome.difference for outcome in outcomes if outcome.difference}
    assert different == {}
    replayed = {outcome.entry.label for outcome in outcomes}
    labels = {entry.label for entry in replay.entries}
    assert replayed | set(OUT_OF_SCOPE) == labels
    assert not replayed & set(OUT_OF_SCOPE)
    print(f"{len(replayed)} of {len(labels)} recorded entries replay exactly, {len(OUT_OF_SCOPE)} are out of scope")


async def test_an_answer_that_differs_in_one_field_is_told() -> None:
    async with ApiServer(namespaces=()) as api:
        api.given.now = lambda: "2026-02-01T00:00:59Z"  # type: ignore[method-assign]
        outcomes = await Replay(api, ["02-service-selector-switch"], left_out=set()).run()

    assert "creationTimestamp is 2026-02-01T00:00:59Z" in outcomes[0].difference or "time is" in outcomes[0].difference
