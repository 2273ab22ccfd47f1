"""The answers of a real API server as errors of this product: the kind, the place and the cure."""

from __future__ import annotations

import json

import pytest

from controlplane.errors import ControlPlaneError, Unavailable
from controlplane.traffic.driver import EngineRefused, NotSent
from controlplane.traffic.kubernetes.refusals import Changed, Gone, Missing, error_of, event_error
from controlplane.traffic.kubernetes.resource import Resource, endpoint_slices, http_route, service
from tests.fakes.kubernetes.errors import Cause, conflict, expired, invalid
from tests.fakes.kubernetes.recorded.entries import entries

ROUTE = http_route("llm", "chat")


def recorded(file: str, name: str) -> tuple[int, bytes]:
    """Return status and body of a recorded answer."""
    (found,) = [one.response for one in entries(file) if one.name == name]
    body = json.dumps(found["body"]) if "body" in found else found["body_text"]
    return found["status"], body.encode()


@pytest.mark.parametrize(
    ("file", "name", "verb", "resource", "kind", "message"),
    [
        (
            "11-errors",
            "401 wrong token on patch",
            "patch",
            service("llm", "rb"),
            NotSent,
            "the API server does not know this account (401) at patch of Service llm/rb; is its token valid?",
        ),
        (
            "11-errors",
            "401 no token",
            "list",
            service("llm", "rb"),
            NotSent,
            "the API server got no credentials at list of Service llm/rb: services is forbidden: User "
            '"system:anonymous" cannot list resource "services" in API group "" in the namespace "llm"; '
            "does the account have any?",
        ),
        (
            "10-rbac",
            "merge patch of a service - without",
            "patch",
            service("llm", "rb"),
            EngineRefused,
            'services "rb" is forbidden: User "system:serviceaccount:llm:driver" cannot patch resource "services" in '
            'API group "" in the namespace "llm"; allow the verb patch on services rb in namespace llm '
            "(deploy/kubernetes/rollouts.yaml has the rules)",
        ),
        (
            "10-rbac",
            "endpointslices list - without",
            "list",
            endpoint_slices("llm"),
            EngineRefused,
            'endpointslices.discovery.k8s.io is forbidden: User "system:serviceaccount:llm:driver" cannot list '
            'resource "endpointslices" in API group "discovery.k8s.io" in the namespace "llm"; allow the verb list on '
            "endpointslices.discovery.k8s.io in namespace llm (deploy/kubernetes/rollouts.yaml has the rules)",
        ),
        (
            "11-errors",
            "403 quota",
            "patch",
            service("llm", "rb"),
            EngineRefused,
            'configmaps "qq" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=0, limited: '
            "configmaps=0; the account has the right, but an admission rule, a quota or the namespace's deletion "
            "forbids it",
        ),
        (
            "11-errors",
            "404 custom object",
            "get",
            http_route("llm", "none"),
            Missing,
            "namespace llm has no HTTPRoute none",
        ),
        (
            "11-errors",
            "404 path",
            "get",
            ROUTE,
            Missing,
            "the cluster knows no httproutes.gateway.networking.k8s.io of version v1: install its "
            "CustomResourceDefinitions, or name another kind of object under traffic:",
        ),
        (
            "11-errors",
            "404 subresource",
            "get",
            ROUTE,
            Missing,
            "the cluster knows no httproutes.gateway.networking.k8s.io of version v1: install its "
            "CustomResourceDefinitions, or name another kind of object under traffic:",
        ),
        (
            "11-errors",
            "429 patch",
            "patch",
            ROUTE,
            NotSent,
            "the API server has too many requests and did not patch HTTPRoute llm/chat: Too many requests, please try "
            "again later.",
        ),
        (
            "11-errors",
            "415 content type",
            "patch",
            ROUTE,
            EngineRefused,
            "the API server refused to patch HTTPRoute llm/chat: 415: Unsupported Media Type",
        ),
        (
            "11-errors",
            "etcd's own limit (1.5 MiB)",
            "patch",
            ROUTE,
            Unavailable,
            "the API server could not patch HTTPRoute llm/chat (500): etcdserver: request is too large",
        ),
    ],
)
def test_recorded_answer(
    file: str, name: str, verb: str, resource: Resource, kind: type[ControlPlaneError], message: str
) -> None:
    status, body = recorded(file, name)
    found = error_of(status, body, verb, resource)
    assert (type(found), str(found)) == (kind, message)


def test_conflict_is_the_change_of_another_writer() -> None:
    found = error_of(409, json.dumps(conflict("httproutes", ROUTE.group, "chat").body).encode(), "patch", ROUTE)
    assert type(found) is Changed
    assert str(found) == (
        "HTTPRoute llm/chat was changed by another writer in between: Operation cannot be fulfilled on "
        'httproutes.gateway.networking.k8s.io "chat": the object has been modified; please apply your changes to the '
        "latest version and try again"
    )


def test_webhook_that_speaks_of_a_verb_is_no_missing_rule() -> None:
    said = {"kind": "Status", "message": 'admission webhook "freeze" denied the request: you cannot patch on Fridays'}
    found = error_of(403, json.dumps(said).encode(), "patch", ROUTE)
    assert str(found) == (
        'admission webhook "freeze" denied the request: you cannot patch on Fridays; the account has the right, but an '
        "admission rule, a quota or the namespace's deletion forbids it"
    )


def test_504_without_kind_is_told_by_its_message() -> None:
    said = {"metadata": {}, "status": "Failure", "message": "Timeout: request did not complete", "code": 504}
    found = error_of(504, json.dumps(said).encode(), "patch", ROUTE)
    assert type(found) is Unavailable
    assert str(found) == "the API server could not patch HTTPRoute llm/chat (504): Timeout: request did not complete"


def test_long_message_keeps_the_reason_at_its_end() -> None:
    cause = Cause.invalid("patch", f'"{"x" * 100_000}": strict decoding error: unknown field "spec.rulez"')
    body = json.dumps(invalid("", "", "", [cause]).body).encode()
    found = str(error_of(422, body, "patch", ROUTE))
    assert found.startswith('the API server refused to patch HTTPRoute llm/chat: "" is invalid: patch: ')
    assert found.endswith('x": strict decoding error: unknown field "spec.rulez"')
    assert len(found) < 1000


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"\x00\xff", b"<html>", b"[" * 100_000, b'{"kind": "Status"}'])
@pytest.mark.parametrize("status", [302, 408, 500, 502, 503, 504])
def test_answer_that_is_no_status_leaves_the_outcome_unknown(status: int, body: bytes) -> None:
    found = error_of(status, body, "patch", ROUTE)
    assert type(found) is Unavailable
    assert str(found).startswith(f"the API server could not patch HTTPRoute llm/chat ({status}): ")
    assert str(found).isprintable()


def test_error_event_of_a_watch() -> None:
    gone = event_error(expired(5, 9).body, ROUTE)
    assert type(gone) is Gone
    assert str(gone) == (
        "the API server has forgotten the history of HTTPRoute llm/chat: too old resource version: 5 (9)"
    )
    for said in (
        {"code": 500, "message": "etcd leader changed"},
        {"code": "no number", "message": "etcd leader changed"},
    ):
        failed = event_error(said, ROUTE)
        assert type(failed) is Unavailable
        assert str(failed) == "the API server could not watch HTTPRoute llm/chat (500): etcd leader changed"
