"""Errors as documents: ours by RFC 9457, Prometheus's API in Prometheus's envelope."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from alerts.errors import DeliveryFailed
from controlplane import errors
from controlplane.access.roles import Role
from controlplane.access.throttle import Throttled
from controlplane.api.problems import TABLE, problem_of


def subclasses(cls: type[Exception]) -> set[type[Exception]]:
    return {cls} | {s for direct in cls.__subclasses__() for s in subclasses(direct)}


def test_every_error_of_the_tree_has_a_row_of_its_own() -> None:
    tree = {cls for cls in subclasses(errors.ControlPlaneError) if cls.__module__ == "controlplane.errors"}
    assert tree <= TABLE.keys()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotFound("x"), 404),
        (errors.Conflict("x"), 409),
        (errors.Refused("x"), 409),
        (errors.Unauthenticated("x"), 401),
        (errors.Forbidden("x"), 403),
        (errors.Unavailable("x"), 503),
        (errors.LeaseLost("x"), 503),
        (errors.Unreadable("x"), 500),
        (errors.ConfigError("x"), 422),
        (errors.ConfigErrors([]), 422),
        (errors.QueryError("bad_data", "x"), 400),
        (errors.QueryError("execution", "x"), 422),
        (errors.QueryError("timeout", "x"), 503),
        (errors.ControlPlaneError("x"), 500),
        (Throttled(1.5), 429),
        (DeliveryFailed("x"), 502),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else str(v),
)
def test_status_of_an_error(error: Exception, status: int) -> None:
    assert problem_of(error).status == status


def test_an_error_declared_elsewhere_has_its_parents_status() -> None:
    class EngineRefused(errors.Refused):
        pass

    assert problem_of(EngineRefused("no")).status == 409


async def test_a_refusal_carries_its_reasons(operator: httpx.AsyncClient) -> None:
    answer = await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v3"})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:controlplane:problem:refused",
        "title": "Refused; nothing was changed",
        "status": 409,
        "detail": "version directory 3 is empty; copy the model there",
        "reasons": ["version directory 3 is empty", "copy the model there"],
    }


async def test_bad_input_names_every_field(operator: httpx.AsyncClient) -> None:
    answer = await operator.post("/cp/v1/rollouts", json={"model": "no spaces please", "vresion": "v2"})
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["type"] == "urn:controlplane:problem:bad-request"
    assert sorted(reason.partition(":")[0] for reason in problem["reasons"]) == [
        "model",
        "version",
        "vresion",
    ]


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("x\ny", "comment: expected one line without control characters"),
        ("  ", "comment: expected a text that is not blank"),
    ],
)
async def test_what_is_no_single_line_is_told_in_words(operator: httpx.AsyncClient, comment: str, said: str) -> None:
    body = {"matchers": ["model=chat"], "for": "1h", "comment": comment}
    answer = await operator.post("/cp/v1/silences", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (400, said)


async def test_every_fault_of_a_configuration_is_told(rig: Any, admin: httpx.AsyncClient) -> None:
    faults = [errors.ConfigError("expected a name", file="fleet.yaml", line=3, field="fleet.name")]
    rig.reload_error = errors.ConfigErrors(faults)
    answer = await admin.post("/cp/v1/config/reload")
    assert answer.status_code == 422
    assert answer.json()["reasons"] == ["fleet.yaml:3: fleet.name: expected a name"]


@pytest.mark.parametrize("path", ["/nothing", "/cp/v1/nothing", "/cp/v1/fleet/"])
async def test_an_unknown_path_is_a_problem_too(viewer: httpx.AsyncClient, path: str) -> None:
    answer = await viewer.get(path)
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:controlplane:problem:not-found"


async def test_a_wrong_method_names_the_right_ones(viewer: httpx.AsyncClient) -> None:
    answer = await viewer.delete("/cp/v1/fleet")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.json()["type"] == "urn:controlplane:problem:method-not-allowed"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/cp/v1/rollouts", "GET, HEAD, POST"),
        ("/cp/v1/tokens/0123456789ab", "DELETE"),
        ("/api/v1/query", "GET, HEAD, POST"),
        ("/healthz", "GET, HEAD"),
    ],
)
async def test_allow_names_the_methods_of_every_route_of_the_path(
    viewer: httpx.AsyncClient, path: str, methods: str
) -> None:
    for method in ("PATCH", "OPTIONS", "TRACE"):
        answer = await viewer.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)


async def test_a_stranger_is_not_told_what_there_is_not(rig: Any) -> None:
    async with rig.client(None) as client:
        assert (await client.get("/nothing")).status_code == 401
        assert (await client.put("/cp/v1/fleet")).status_code == 401
        assert (await client.post("/healthz")).status_code == 405  # anybody may know of it


async def test_a_fault_of_ours_is_logged_and_not_shown(
    rig: Any, viewer: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash() -> None:
        raise RuntimeError("a fault of ours, with /secret/path in it")

    app = rig.app()
    app.state.services.fleet.fleet = crash
    with caplog.at_level(logging.ERROR, "controlplane.api.problems"):
        async with rig.client(Role.VIEWER, app) as client:
            answer = await client.get("/cp/v1/fleet")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    incident = answer.json()["detail"].rpartition(" ")[2]
    assert f"incident {incident}: GET /cp/v1/fleet failed" in caplog.text


async def test_prometheus_clients_get_prometheus_errors(rig: Any, viewer: httpx.AsyncClient) -> None:
    async with rig.client(None) as stranger:
        refused = await stranger.get("/api/v1/query?query=up")
    assert refused.status_code == 401
    assert refused.json()["status"] == "error"
    assert refused.json()["errorType"] == "unauthorized"
    unknown = await viewer.get("/api/v1/nothing")
    assert unknown.json() == {"status": "error", "errorType": "not_found", "error": "GET /api/v1/nothing: Not Found"}
    crashed = await viewer.get("/api/v1/query?query=crash")
    assert crashed.status_code == 500
    assert crashed.json()["errorType"] == "internal"
    assert "secret" not in crashed.text


async def test_unavailable_says_when_to_come_back(rig: Any, viewer: httpx.AsyncClient) -> None:
    rig.queries.asked.clear()
    answer = await viewer.get("/api/v1/query?query=timeout")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
