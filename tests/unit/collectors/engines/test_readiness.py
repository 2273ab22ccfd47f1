"""Readiness, with real servers on loopback that have Triton's and vLLM's health APIs, correct or faulty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.engines.kinds import Api
from collectors.engines.readiness import ReadinessSource
from collectors.errors import ExpositionError, ScrapeTimeout, UnexpectedStatus, Unreachable
from collectors.exposition.parser import parse
from collectors.target import Target
from tests.fakes.api_server import ApiServer, api_server

SLOW_S = 30.0


@pytest.fixture
async def backend() -> AsyncIterator[ApiServer]:
    async with api_server() as server:
        yield server


@asynccontextmanager
async def polling(api: Api, backend: ApiServer, **options: Any) -> AsyncIterator[ReadinessSource]:
    source = ReadinessSource(api, backend.url + "/", **options)
    try:
        yield source
    finally:
        await source.close()


async def observe(source: ReadinessSource, timeout_s: float = SLOW_S) -> dict[tuple[str, ...], float]:
    """Return the samples: (name, label values in the order of label names, without backend) -> value."""
    parsed = parse(await source.read(timeout_s))
    return {
        (s.name, *(v for n, v in s.labels if n != "backend")): float(x)
        for s, x in zip(parsed.series, parsed.values, strict=True)
    }


INDEX = "POST /v2/repository/index"
V1, V2 = "GET /v2/models/llm/versions/1/ready", "GET /v2/models/llm/versions/2/ready"


def version(number: str, state: str, reason: str = "") -> dict[str, str]:
    return {"name": "llm", "version": number, "state": state, "reason": reason}


async def test_triton_versions_by_state_and_their_own_readiness(backend: ApiServer) -> None:
    backend.answers = {INDEX: [version("1", "READY"), version("2", "LOADING"), {"name": "never-loaded"}], V1: 200}
    async with polling(Api.TRITON, backend) as source:
        seen = await observe(source)

    assert seen[("llm_backend_ready", "llm", "v1")] == 1
    assert seen[("llm_backend_ready", "llm", "v2")] == 0
    states = {k[2]: v for k, v in seen.items() if k[0] == "llm_model_state" and k[3] == "v1"}
    assert states == {"ready": 1, "loading": 0, "unloading": 0, "unavailable": 0}
    assert seen[("llm_model_state", "llm", "loading", "v2")] == 1
    assert not [key for key in seen if "never-loaded" in key]


@pytest.mark.parametrize(("answer", "ready"), [(200, 1), (400, 0)])
async def test_tritons_own_readiness_is_told_beside_its_versions(backend: ApiServer, answer: int, ready: int) -> None:
    backend.answers = {INDEX: [version("1", "READY")], V1: 200, "GET /v2/health/ready": answer}
    async with polling(Api.TRITON, backend) as source:
        seen = await observe(source)
    assert (seen[("llm_engine_ready",)], seen[("llm_backend_ready", "llm", "v1")]) == (ready, 1)


async def test_a_version_that_the_index_calls_ready_and_that_says_it_is_not_is_not(backend: ApiServer) -> None:
    backend.answers = {INDEX: [version("1", "READY")], V1: 400}
    async with polling(Api.TRITON, backend) as source:
        seen = await observe(source)

    assert seen[("llm_backend_ready", "llm", "v1")] == 0
    assert seen[("llm_model_state", "llm", "ready", "v1")] == 1


async def test_a_switch_of_versions_reads_as_a_timeline(backend: ApiServer) -> None:
    ready = [("llm_backend_ready", "llm", v) for v in ("v1", "v2")]
    async with polling(Api.TRITON, backend) as source:
        timeline = []
        for one, two, answers in (
            ("READY", "UNAVAILABLE", {V1: 200}),
            ("READY", "LOADING", {V1: 200}),
            ("READY", "READY", {V1: 200, V2: 200}),
            ("UNLOADING", "READY", {V2: 200}),
            ("UNAVAILABLE", "READY", {V2: 200}),
        ):
            backend.answers = {INDEX: [version("1", one), version("2", two)], **answers}
            seen = await observe(source)
            timeline.append(tuple(seen[key] for key in ready))

    assert timeline == [(1, 0), (1, 0), (1, 1), (0, 1), (0, 1)]


async def test_a_backend_that_dies_is_not_ready_and_its_states_are_unknown(backend: ApiServer) -> None:
    backend.answers = {INDEX: [version("1", "READY")], V1: 200}
    async with polling(Api.TRITON, backend) as source:
        assert (await observe(source))[("llm_backend_ready", "llm", "v1")] == 1
        await backend.stop()
        assert await observe(source) == {("llm_backend_ready", "llm", "v1"): 0}
        await backend.start()
        assert (await observe(source))[("llm_backend_ready", "llm", "v1")] == 1


async def test_a_backend_that_hangs_is_not_ready(backend: ApiServer) -> None:
    backend.answers = {INDEX: "hang"}
    async with polling(Api.TRITON, backend, expected=[("llm", "v1")]) as source:
        assert await observe(source, timeout_s=0.2) == {("llm_backend_ready", "llm", "v1"): 0}


async def test_with_nothing_known_a_dead_backend_is_a_failed_scrape(backend: ApiServer) -> None:
    backend.answers = {INDEX: "hang"}
    async with polling(Api.TRITON, backend) as source:
        with pytest.raises(ScrapeTimeout, match="did not answer"):
            await source.read(0.2)
        await backend.stop()
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
            await source.read(SLOW_S)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (500, UnexpectedStatus),
        (404, UnexpectedStatus),
        ("<html>", ExpositionError),
        ({"models": []}, ExpositionError),
        ([1], ExpositionError),
        ("x" * (4 * 2**20 + 1), ExpositionError),
    ],
    ids=["500", "404", "not JSON", "not a list", "not entries", "endless"],
)
async def test_what_is_not_a_repository_index_is_an_error_and_never_a_zero(
    backend: ApiServer, answer: Any, error: type[Exception]
) -> None:
    backend.answers = {INDEX: answer}
    async with polling(Api.TRITON, backend, expected=[("llm", "v1")]) as source:
        with pytest.raises(error, match="/v2/repository/index"):
            await source.read(SLOW_S)


async def test_what_is_not_http_is_an_error() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(script, "127.0.0.1", 0)
    async with server:
        source = ReadinessSource(Api.OPENAI, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            with pytest.raises(ExpositionError, match="not an HTTP answer"):
                await source.read(SLOW_S)
        finally:
            await source.close()


MODELS = {"data": [{"id": "chat"}, {"id": "chat-alias"}]}


async def test_vllm_is_ready_under_the_name_that_its_metrics_bear(backend: ApiServer) -> None:
    backend.answers = {"GET /health": 200, "GET /v1/models": MODELS}
    async with polling(Api.OPENAI, backend) as source:
        assert await observe(source) == {("llm_backend_ready", "chat"): 1, ("llm_engine_ready",): 1}
        backend.answers = {"GET /health": 503}
        assert await observe(source) == {("llm_backend_ready", "chat"): 0, ("llm_engine_ready",): 0}


async def test_vllm_keeps_the_version_that_it_is_expected_to_serve(backend: ApiServer) -> None:
    backend.answers = {"GET /health": 200, "GET /v1/models": MODELS}
    async with polling(Api.OPENAI, backend, expected=[("chat", "v1")]) as source:
        assert await observe(source) == {("llm_backend_ready", "chat", "v1"): 1, ("llm_engine_ready",): 1}


@pytest.mark.parametrize("models", [401, {"data": []}, {"data": [{}]}, []])
async def test_vllm_without_a_model_list_is_ready_without_a_name(backend: ApiServer, models: Any) -> None:
    backend.answers = {"GET /health": 200, "GET /v1/models": models}
    async with polling(Api.OPENAI, backend) as source:
        assert await observe(source) == {("llm_backend_ready",): 1, ("llm_engine_ready",): 1}


OLLAMA = {"health_path": "/api/version", "on_demand": True}


async def test_ollama_can_serve_what_is_on_its_disk(backend: ApiServer) -> None:
    models = {"data": [{"id": "other:7b"}, {"id": "chat:latest"}]}
    backend.answers = {"GET /api/version": {"version": "0.12.6"}, "GET /v1/models": models}
    expected = [("chat", "v1"), ("chat:latest", "v2"), ("chat:7b", "v3")]
    async with polling(Api.OPENAI, backend, expected=expected, **OLLAMA) as source:
        seen = await observe(source)
        assert set(backend.asked) == {"GET /api/version", "GET /v1/models"}
        backend.answers["GET /v1/models"] = {"data": None}  # what it says with an empty disk
        emptied = await observe(source)
        await backend.stop()
        gone = await observe(source)

    assert seen == {
        ("llm_backend_ready", "chat", "v1"): 1,
        ("llm_backend_ready", "chat:latest", "v2"): 1,
        ("llm_backend_ready", "chat:7b", "v3"): 0,
        ("llm_engine_ready",): 1,
    }
    assert {key: value for key, value in emptied.items() if value} == {("llm_engine_ready",): 1}
    assert gone == {key: 0 for key in seen if key != ("llm_engine_ready",)}


async def test_ollama_without_expectations_serves_all_that_it_lists(backend: ApiServer) -> None:
    backend.answers = {"GET /api/version": 200, "GET /v1/models": {"data": [{"id": "b"}, {"id": "a"}]}}
    async with polling(Api.OPENAI, backend, **OLLAMA) as source:
        assert await observe(source) == {
            ("llm_backend_ready", "a"): 1,
            ("llm_backend_ready", "b"): 1,
            ("llm_engine_ready",): 1,
        }


async def test_a_router_serves_the_models_that_have_not_failed(backend: ApiServer) -> None:
    states = [("other", {"value": "loaded"}), ("chat", {"value": "unloaded"}), ("bad", {"failed": True})]
    models = {"data": [{"id": name, "status": status} for name, status in states]}
    backend.answers = {"GET /health": 200, "GET /v1/models": models}
    async with polling(Api.OPENAI, backend, expected=[("chat", "v1"), ("bad", "v2")]) as source:
        assert await observe(source) == {
            ("llm_backend_ready", "chat", "v1"): 1,
            ("llm_backend_ready", "bad", "v2"): 0,
            ("llm_engine_ready",): 1,
        }


async def test_something_else_on_vllms_port_is_an_error(backend: ApiServer) -> None:
    async with polling(Api.OPENAI, backend) as source:
        with pytest.raises(UnexpectedStatus, match="/health: status 404"):
            await source.read(SLOW_S)


async def test_readiness_arrives_under_fleet_names_with_its_backend(backend: ApiServer) -> None:
    backend.answers = {INDEX: [version("1", "READY")], V1: 200}
    async with polling(Api.TRITON, backend) as source:
        parsed = parse(await source.read(SLOW_S))
    target = Target("readiness", backend.url, job="readiness", instance="t:8000", models=(("llm", "model"),))
    layout = canonical_layout(parsed.series, parsed.metadata, target, load_catalogue())

    labels = dict(next(s for s in layout.raw if s.name == "llm_backend_ready").labels)
    assert labels == {
        "backend": backend.url,
        "engine": "readiness",
        "instance": "t:8000",
        "job": "readiness",
        "model": "model",
        "node": "t",
        "served_model": "llm",
        "source": "engine",
        "version": "v1",
    }
