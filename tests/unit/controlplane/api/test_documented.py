"""docs/reference/http-api.md says what is there, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from prometheus_client.parser import text_string_to_metric_families

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, Public
from controlplane.api.openapi import complete
from controlplane.api.problems import TABLE
from controlplane.api.prometheus_document import PARAMETERS

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "http-api.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_every_route_is_documented_with_its_role(rig: Any, page: str) -> None:
    documented = {
        (method, path, role)
        for cell, role in re.findall(r"^\| (`(?:GET|POST|DELETE) [^|]+) \| ([a-z–-]+) \|", page, re.MULTILINE)
        for method, path in re.findall(r"`(GET|POST|DELETE) ([^`]+)`", cell)
    }
    routes = [route for route in rig.app().routes if isinstance(route, GuardedRoute)]
    actual = {
        (method, route.path, "–" if isinstance(route.access, Public) else route.access.value)
        for route in routes
        for method in route.methods or ()
    }
    assert documented == actual


def test_every_problem_is_documented(page: str) -> None:
    rows = set(re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", page, re.MULTILINE))
    query_errors_are_prometheus_own = {"query-failed"}
    for problem in TABLE.values():
        if problem.word not in query_errors_are_prometheus_own:
            assert (str(problem.status), problem.word) in rows


def test_every_parameter_of_a_query_string_is_documented(rig: Any, page: str) -> None:
    for route in rig.app().routes:
        if isinstance(route, APIRoute):
            for field in route.dependant.query_params:
                assert f"`{field.alias}`" in page, f"{route.path}: {field.alias}"


async def test_every_own_metric_is_documented_with_its_type(rig: Any, page: str) -> None:
    documented = dict(re.findall(r"^\| `((?:controlplane|process)_\w+)` \| (\w+) \|", page, re.MULTILINE))
    async with rig.client(Role.VIEWER) as client:
        await client.get("/healthz")
        text = (await client.get("/metrics")).text
    families = text_string_to_metric_families(text)
    actual = {f.name + ("_total" if f.type == "counter" else ""): f.type for f in families}
    actual = {name: kind for name, kind in actual.items() if not name.endswith("_created")}
    assert documented == actual


def test_prometheus_parameters_are_the_same_on_the_page_and_in_the_document(rig: Any, page: str) -> None:
    rows = re.findall(r"^\| (`(?:GET|POST) /(?:api/v1/|federate)[^|]+) \| viewer \| ([^|]+) \|$", page, re.MULTILINE)
    documented = {
        path: set(re.findall(r"`([^`]+)`", parameters.partition(";")[0]))
        for cell, parameters in rows
        for path in re.findall(r"`GET ([^`]+)`", cell)
    }
    documented["/api/v1/status/tsdb"] = {"limit"}  # its row has the bounds too
    for path, parameters in PARAMETERS.items():
        assert {parameter.name for parameter in parameters} == documented[path], path
    document = complete(rig.app().openapi())["paths"]
    asked = document["/api/v1/query_range"]
    assert [p["name"] for p in asked["get"]["parameters"] if p["required"]] == ["query", "start", "end", "step"]
    form = asked["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    assert form["required"] == ["query", "start", "end", "step"]


def test_the_document_tells_errors_as_they_are_answered(rig: Any) -> None:
    for path, operations in complete(rig.app().openapi())["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"], path
            kinds = set(operation["responses"]["default"]["content"])
            expected = (
                {"application/json"} if path.startswith(("/api/v1/", "/api/v2/")) else {"application/problem+json"}
            )
            assert kinds - {"text/plain; charset=utf-8"} == expected, path
