"""Steps of Triton's ensembles beside the readiness of its models."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.engines.kinds import Api
from collectors.engines.readiness import ReadinessSource
from collectors.exposition.parser import parse
from tests.fakes.api_server import ApiServer, api_server

SLOW_S = 30.0
INDEX = "POST /v2/repository/index"


def ensemble(*steps: str) -> dict[str, Any]:
    return {"platform": "ensemble", "ensemble_scheduling": {"step": [{"model_name": name} for name in steps]}}


def serve(server: ApiServer, **configs: Any) -> None:
    """Make these models ready in version 1, with these configurations."""
    server.answers = {INDEX: [{"name": name, "version": "1", "state": "READY"} for name in configs]}
    for name, config in configs.items():
        server.answers[f"GET /v2/models/{name}/versions/1/ready"] = 200
        server.answers[f"GET /v2/models/{name}/versions/1/config"] = config


async def steps(source: ReadinessSource, timeout_s: float = SLOW_S) -> list[tuple[str, str]]:
    """Return the pairs (ensemble, step) of a read."""
    parsed = parse(await source.read(timeout_s))
    found = [dict(s.labels) for s in parsed.series if s.name == "llm_ensemble_step"]
    return [(labels["ensemble"], labels["served_model"]) for labels in found]


def configs(server: ApiServer) -> list[str]:
    return [path for path in server.asked if path.endswith("/config")]


async def test_each_step_of_an_ensemble_has_a_series_and_is_asked_once() -> None:
    async with api_server() as server:
        serve(server, ens=ensemble("pre", "llm", "llm"), pre={"platform": ""}, llm={"backend": "python"})
        source = ReadinessSource(Api.TRITON, server.url)
        try:
            assert await steps(source) == [("ens", "llm"), ("ens", "pre")]
            assert await steps(source) == [("ens", "llm"), ("ens", "pre")]
            assert len(configs(server)) == 3

            # Loaded again with other steps: while it loads it has none.
            server.answers[INDEX][0]["state"] = "LOADING"
            assert await steps(source) == []
            serve(server, ens=ensemble("post"), post={})
            assert await steps(source) == [("ens", "post")]
        finally:
            await source.close()


@pytest.mark.parametrize(
    "config",
    [
        404,
        [],
        {"ensemble_scheduling": None},
        {"ensemble_scheduling": {"step": {"model_name": "a"}}},
        {"ensemble_scheduling": {"step": [1, {"model_name": 3}, {"model_name": ""}, {}]}},
    ],
)
async def test_other_configurations_have_no_steps(config: Any) -> None:
    async with api_server() as server:
        serve(server, llm=config)
        source = ReadinessSource(Api.TRITON, server.url)
        try:
            assert await steps(source) == []
            assert await steps(source) == []
            assert len(configs(server)) == 1
        finally:
            await source.close()


@pytest.mark.parametrize("config", [500, "hang", "<html>"])
async def test_a_configuration_that_does_not_come_costs_no_readiness_and_is_asked_again(config: Any) -> None:
    async with api_server() as server:
        serve(server, ens=config)
        source = ReadinessSource(Api.TRITON, server.url)
        try:
            parsed = parse(await source.read(1.0))
            ready = [
                float(value)
                for series, value in zip(parsed.series, parsed.values, strict=True)
                if series.name == "llm_backend_ready"
            ]
            assert ready == [1.0]
            server.answers["GET /v2/models/ens/versions/1/config"] = ensemble("llm")
            assert await steps(source) == [("ens", "llm")]
        finally:
            await source.close()


async def test_a_server_with_many_models_is_asked_a_few_at_a_time() -> None:
    async with api_server() as server:
        serve(server, **{f"m{n:02}": {} for n in range(40)})
        source = ReadinessSource(Api.TRITON, server.url)
        try:
            asked = []
            for _ in range(4):
                await source.read(SLOW_S)
                asked.append(len(configs(server)))
            assert asked == [16, 32, 40, 40]
        finally:
            await source.close()
