"""DeepSpeed-MII's servers, read over the wire. The answers are written by hand from its source."""

from __future__ import annotations

import pytest

from collectors.errors import UnexpectedStatus
from tests.fakes.api_server import api_server
from tests.fakes.status_reading import read_once

HEALTH, MODELS = "GET /health", "GET /v1/models"
OK = {"status": "ok"}


async def test_the_openai_server_names_its_model() -> None:
    async with api_server() as server:
        server.answers = {HEALTH: OK, MODELS: {"object": "list", "data": [{"id": "mistralai/Mistral-7B"}]}}
        seen = await read_once("mii", f"{server.url}/")
        assert server.asked == [HEALTH, MODELS]
    assert seen == {("llm_engine_ready", server.url): 1, ("mii_model_info", "mistralai/Mistral-7B"): 1}


async def test_the_api_server_and_one_whose_models_need_a_key_name_none() -> None:
    async with api_server() as server:
        for models in (404, 401):
            server.answers = {HEALTH: OK, MODELS: models}
            assert await read_once("mii", server.url) == {("llm_engine_ready", server.url): 1}


async def test_another_name_of_the_health_check() -> None:
    async with api_server() as server:
        server.answers = {"GET /healthz": "ok"}
        assert await read_once("mii", server.url) == {("llm_engine_ready", server.url): 1}
        assert server.asked == [HEALTH, "GET /healthz", MODELS]


async def test_the_rest_gateway_is_never_told_to_terminate() -> None:
    async with api_server() as server:
        server.answers = {"GET /terminate": "Shutting down RESTful API gateway server"}
        with pytest.raises(UnexpectedStatus, match=r"^has no /health: .*REST gateway.*probe"):
            await read_once("mii", server.url)
        assert server.asked == [HEALTH, "GET /healthz"]


async def test_a_health_check_that_fails() -> None:
    async with api_server() as server:
        server.answers = {HEALTH: 500}
        with pytest.raises(UnexpectedStatus, match=r"^/health answered 500 Internal Server Error, expected 200$"):
            await read_once("mii", server.url)
