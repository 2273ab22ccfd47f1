"""Weights of a route: what is read, what is written, and when gateways have said that it holds."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from controlplane.traffic.kubernetes.resource import http_route
from controlplane.traffic.kubernetes.route import RouteSplit
from controlplane.traffic.kubernetes.splitting import Unfit

Json = dict[str, Any]
ROUTE = http_route("llm", "chat")
SERVICES = {"v1": "chat-v1", "v2": "chat-v2"}


def backend(name: str, weight: object = ..., **fields: object) -> Json:
    """Return a backendRef. Without `weight` it has none."""
    return {"name": name, "port": 8000, **({} if weight is ... else {"weight": weight}), **fields}


def rule(*backends: Json, **fields: object) -> Json:
    return {"backendRefs": list(backends), **fields}


def route(*rules: Json, **fields: object) -> Json:
    """Return a route of generation 3 with one gateway."""
    spec = {"parentRefs": [{"name": "gw"}], "rules": list(rules), **fields}
    return {"metadata": {"name": "chat", "resourceVersion": "77", "generation": 3}, "spec": spec}


def said(name: str = "Accepted", status: str = "True", generation: int | None = 3, **fields: str) -> Json:
    seen = {} if generation is None else {"observedGeneration": generation}
    return {"type": name, "status": status, **seen, **fields}


GOOD = [said("Accepted"), said("ResolvedRefs")]


def parent(*conditions: Json, controller: str = "a.example/gw", **ref: object) -> Json:
    """Return the status of one gateway by one controller."""
    return {"parentRef": {"name": "gw", **ref}, "controllerName": controller, "conditions": list(conditions)}


def split(kind: str = "Service", name: str | None = None) -> RouteSplit:
    return RouteSplit(ROUTE, SERVICES, kind, name)


def pending(found: Json) -> str:
    return split().pending({ROUTE: found})


def told(found: Json, *statuses: Json) -> Json:
    return {**found, "status": {"parents": list(statuses)}}


TWO = rule(backend("chat-v1", 90), backend("chat-v2", 10))


@pytest.mark.parametrize(
    ("backends", "shares"),
    [
        ([backend("chat-v1", 90), backend("chat-v2", 10)], {"v1": 0.9, "v2": 0.1}),
        ([backend("chat-v1"), backend("chat-v2", 3)], {"v1": 0.25, "v2": 0.75}),
        ([backend("chat-v1", None), backend("chat-v2", 3)], {"v1": 0.25, "v2": 0.75}),
        ([backend("chat-v1", 10.0), backend("chat-v2", 30.0)], {"v1": 0.25, "v2": 0.75}),
        ([backend("chat-v1", 0), backend("chat-v2", 0)], {}),
        ([backend("chat-v1", 1), backend("chat-v1", 2), backend("chat-v2", 1)], {"v1": 0.75, "v2": 0.25}),
        (
            [backend("chat-v1", 1), backend("chat-v2", 0), backend("chat-v2", 1, namespace="other")],
            {"v1": 0.5, "Service chat-v2": 0.5},
        ),
        ([backend("chat-v1", 1, namespace="llm"), backend("chat-v2", 0)], {"v1": 1.0}),
        (
            [backend("chat-v1", 1), backend("chat-v2", 0), backend("chat-v2", 1, kind="InferencePool")],
            {"v1": 0.5, "InferencePool chat-v2": 0.5},
        ),
    ],
)
def test_shares(backends: list[Json], shares: dict[str, float]) -> None:
    assert split().shares({ROUTE: route(rule(*backends))}) == shares


def test_pools_are_backends_of_their_kind() -> None:
    pools = [backend("chat-v1", 1, kind="InferencePool"), backend("chat-v2", 1, kind="InferencePool")]
    assert split("InferencePool").shares({ROUTE: route(rule(*pools))}) == {"v1": 0.5, "v2": 0.5}
    with pytest.raises(
        Unfit, match="no rule of HTTPRoute llm/chat has the Service chat-v1, chat-v2 in its backendRefs"
    ):
        split().shares({ROUTE: route(rule(*pools))})


@pytest.mark.parametrize(
    ("found", "name", "words"),
    [
        (route(rule(backend("chat-v1"))), None, "a rule of HTTPRoute llm/chat lacks the Service chat-v2; add it to "
         "backendRefs with weight: 0"),
        (route(TWO, rule(backend("chat-v2"))), None, "a rule of HTTPRoute llm/chat lacks the Service chat-v1; add it "
         "to backendRefs with weight: 0"),
        (route(TWO), "main", "HTTPRoute llm/chat has no rule with the name main"),
        (route(), None, "no rule of HTTPRoute llm/chat has the Service chat-v1, chat-v2 in its backendRefs"),
        ({"metadata": {}}, None, "no rule of HTTPRoute llm/chat has the Service chat-v1, chat-v2 in its backendRefs"),
        (
            {"metadata": {}, "spec": {"rules": None}},
            None,
            "no rule of HTTPRoute llm/chat has the Service chat-v1, chat-v2 in its backendRefs",
        ),
    ],
)  # fmt: skip
def test_route_that_cannot_split(found: Json, name: str | None, words: str) -> None:
    with pytest.raises(Unfit) as caught:
        split(name=name).shares({ROUTE: found})
    assert str(caught.value) == words
    assert split(name=name).setup({ROUTE: found}).reasons == (words,)


def test_change_keeps_everything_but_the_weights() -> None:
    filters = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "y"}]}}]
    found = route(
        rule(backend("docs", 5), matches=[{"path": {"type": "PathPrefix", "value": "/docs"}}]),
        rule(
            backend("chat-v1", 1, filters=filters, unknown={"a": [1]}),
            backend("chat-v2", 0),
            backend("shadow", 0),
            timeouts={"request": "600s"},
            filters=filters,
            sessionPersistence={"sessionName": "s"},
        ),
        hostnames=["chat.example"],
    )
    before = copy.deepcopy(found)
    ((resource, patch),) = split().changes({ROUTE: found}, {"v1": 0.75, "v2": 0.25})
    wanted = copy.deepcopy(before["spec"]["rules"])
    wanted[1]["backendRefs"][0]["weight"], wanted[1]["backendRefs"][1]["weight"] = 75, 25
    assert (resource, patch) == (ROUTE, {"metadata": {"resourceVersion": "77"}, "spec": {"rules": wanted}})
    assert found == before


def test_every_rule_with_the_versions_is_written_although_the_first_has_the_shares() -> None:
    found = route(TWO, rule(backend("chat-v1", 1), backend("chat-v2", 0)))
    ((_, patch),) = split().changes({ROUTE: found}, {"v1": 0.9, "v2": 0.1})
    assert patch["spec"]["rules"] == [TWO, TWO]
    assert pending(found) == (
        "rules of HTTPRoute llm/chat have different weights; name one by rule:, or wait for the next order"
    )


def test_only_the_named_rule_is_written() -> None:
    named = rule(backend("chat-v1", 1), backend("chat-v2", 0), name="main")
    ((_, patch),) = split(name="main").changes({ROUTE: route(TWO, named)}, {"v2": 1.0})
    assert [[ref["weight"] for ref in one["backendRefs"]] for one in patch["spec"]["rules"]] == [[90, 10], [0, 100]]


def test_weights_of_the_same_shares_are_not_written_again() -> None:
    states = {ROUTE: route(rule(backend("chat-v1", 9), backend("chat-v2", 1)))}
    assert split().changes(states, {"v1": 0.9, "v2": 0.1}) == []


def test_least_share_of_another_writer_is_taken_away() -> None:
    states = {ROUTE: route(rule(backend("chat-v1", 9999), backend("chat-v2", 1)))}
    ((_, patch),) = split().changes(states, {"v1": 1.0})
    assert [ref["weight"] for ref in patch["spec"]["rules"][0]["backendRefs"]] == [100, 0]


def test_shares_that_are_no_whole_percent() -> None:
    states = {ROUTE: route(rule(backend("chat-v1", 1), backend("chat-v2", 0)))}
    ((_, patch),) = split().changes(states, {"v1": 0.995, "v2": 0.005})
    assert [ref["weight"] for ref in patch["spec"]["rules"][0]["backendRefs"]] == [9950, 50]


def test_backend_twice_in_a_rule_gets_its_share_once() -> None:
    found = route(rule(backend("chat-v1", 50), backend("chat-v2", 0), backend("chat-v1", 50, port=9000)))
    ((_, patch),) = split().changes({ROUTE: found}, {"v1": 0.9, "v2": 0.1})
    assert [ref["weight"] for ref in patch["spec"]["rules"][0]["backendRefs"]] == [90, 10, 0]
    assert split().shares({ROUTE: {**found, "spec": patch["spec"]}}) == {"v1": 0.9, "v2": 0.1}


@pytest.mark.parametrize("weight", [..., None, 1])
def test_foreign_backend_with_a_weight_is_a_reason(weight: object) -> None:
    found = route(rule(backend("chat-v1", 1), backend("chat-v2", 0), backend("old", weight)))
    assert split().setup({ROUTE: found}).reasons == (
        "old in HTTPRoute llm/chat gets requests and is no version; take it out of the rule's backendRefs, or set its "
        "weight to 0",
    )
    assert split().shares({ROUTE: found}) == {"v1": 0.5, "Service old": 0.5}


def test_foreign_backend_without_requests_is_no_reason() -> None:
    found = route(rule(backend("chat-v1", 1), backend("chat-v2", 0), backend("old", 0)))
    assert split().setup({ROUTE: found}).reasons == ()


def test_other_writer_of_the_rules_is_named() -> None:
    def entry(manager: str, operation: str, fields: object) -> Json:
        return {"manager": manager, "operation": operation, "fieldsV1": fields}

    found = route(TWO)
    found["metadata"]["managedFields"] = [
        entry("gitops", "Apply", {"f:spec": {"f:rules": {}}}),
        entry("kubectl", "Update", {"f:spec": {"f:rules": {}}}),
        entry("argocd-controller", "Update", {"f:spec": {"f:rules": {}}}),
        entry("helm", "Update", {"f:metadata": {}}),
        entry("flux", "Apply", {"f:spec": {"f:hostnames": {}}}),
        entry("controlplane", "Apply", {"f:spec": {"f:rules": {}}}),
        entry("labels", "Apply", {"f:metadata": {}}),
        entry("status", "Apply", {"f:spec": None}),
        "rubbish",
    ]
    assert split().setup({ROUTE: found}).known == (
        "argocd-controller applies /spec/rules of HTTPRoute llm/chat too, and may set it back; let argocd-controller "
        "ignore that field",
        "gitops applies /spec/rules of HTTPRoute llm/chat too, and may set it back; let gitops ignore that field",
        "the gateway draws the version of each request by chance or in turns, as its maker decided",
    )


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ([parent(*GOOD)], ""),
        ([], "gateway gw has not taken HTTPRoute llm/chat"),
        ([parent(*GOOD, sectionName="https")], "gateway gw has not taken HTTPRoute llm/chat"),
        ([parent(*GOOD, port=443)], "gateway gw has not taken HTTPRoute llm/chat"),
        ([parent(*GOOD, namespace="other")], "gateway gw has not taken HTTPRoute llm/chat"),
        ([parent(*GOOD, group="gateway.networking.k8s.io", kind="Gateway", namespace="llm")], ""),
        ([parent(*GOOD, kind="Service", group="")], "gateway gw has not taken HTTPRoute llm/chat"),
        ([parent()], "gateway gw has not Accepted for HTTPRoute llm/chat: nothing was said about it"),
        (
            [parent(said("Accepted", "False", reason="NoMatchingParent"), said("ResolvedRefs"))],
            "gateway gw has not Accepted for HTTPRoute llm/chat: NoMatchingParent",
        ),
        (
            [parent(said("Accepted"), said("ResolvedRefs", "False", reason="BackendNotFound", message="no chat-v2"))],
            "gateway gw has not ResolvedRefs for HTTPRoute llm/chat: no chat-v2",
        ),
        (
            [parent(said("Accepted", generation=2), said("ResolvedRefs"))],
            "gateway gw has not seen the last change of HTTPRoute llm/chat",
        ),
        (
            [parent(said("Accepted"), said("ResolvedRefs", generation=None))],
            "gateway gw has not seen the last change of HTTPRoute llm/chat",
        ),
        (
            [parent(*GOOD), parent(said("Accepted", generation=2), controller="b.example/gw")],
            "gateway gw has not seen the last change of HTTPRoute llm/chat",
        ),
    ],
)
def test_pending_until_every_controller_of_the_gateway_has_said_it(statuses: list[Json], words: str) -> None:
    assert pending(told(route(TWO), *statuses)) == words


def test_pending_of_several_parents_names_each() -> None:
    found = route(TWO, parentRefs=[{"name": "gw", "sectionName": "https"}, {"name": "mesh", "port": 80}])
    assert pending(found) == (
        "gateway gw has not taken HTTPRoute llm/chat; gateway mesh has not taken HTTPRoute llm/chat"
    )
    mesh = {**parent(*GOOD), "parentRef": {"name": "mesh", "port": 80}}
    assert pending(told(found, parent(*GOOD, sectionName="https"), mesh)) == ""


def test_pending_without_parents_or_status() -> None:
    assert pending(route(TWO, parentRefs=[])) == "HTTPRoute llm/chat has no parentRefs, so no gateway serves it"
    assert pending({**route(TWO), "status": None}) == "gateway gw has not taken HTTPRoute llm/chat"
