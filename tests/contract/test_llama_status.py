"""A real llama-server, with one model and as a router: reading its state loads nothing and wakes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.engines.kinds import Api
from collectors.engines.readiness import ReadinessSource
from collectors.status.llamacpp import LlamaCppSource
from tests.contract.real_servers import llama_router, llama_server
from tests.fakes.status_reading import Numbers, numbers
from tests.patience import HANG_S, until

pytestmark = pytest.mark.needs("llama-server")

TOKENS = "llamacpp:tokens_predicted_total"


@pytest.fixture
def router(tmp_path: Path) -> Iterator[str]:
    with llama_router(tmp_path, ("a", "b", "c"), at_most=2) as url:
        yield url


async def read(url: str) -> tuple[Numbers, str]:
    source = LlamaCppSource(url)
    try:
        return numbers(await source.read(HANG_S)), source.remark
    finally:
        await source.close()


def states(seen: Numbers) -> dict[str, str]:
    return {k[1]: k[2] for k, v in seen.items() if k[0] == "llm_model_state" and v}


def told(url: str) -> dict[str, str]:
    """Return what the router itself says of its models."""
    return {m["id"]: m["status"]["value"] for m in httpx.get(f"{url}/models", timeout=HANG_S).json()["data"]}


def post(url: str, **body: Any) -> None:
    httpx.post(url, json=body, timeout=HANG_S).raise_for_status()


def sleeps(url: str) -> bool:
    return bool(httpx.get(f"{url}/props", timeout=HANG_S).json()["is_sleeping"])


async def test_a_router_read_again_and_again_loads_nothing(router: str) -> None:
    nothing = dict.fromkeys(("a", "b", "c", "broken"), "unloaded")
    for path in ("/metrics", "/metrics?model=a", "/props"):
        for _ in range(3):
            seen, _ = await read(router + path)
            assert states(seen) == nothing == told(router)

    post(f"{router}/v1/completions", model="b", prompt="hi", max_tokens=5)
    seen, remark = await read(f"{router}/metrics")
    assert (states(seen), remark) == (nothing | {"b": "loaded"}, "")
    assert {k: v for k, v in seen.items() if k[0] == TOKENS} == {(TOKENS, "b"): 5}
    assert told(router) == nothing | {"b": "loaded"}


async def test_reading_a_model_does_not_save_it_from_being_unloaded(router: str) -> None:
    for name in ("a", "b"):
        post(f"{router}/v1/completions", model=name, prompt="hi", max_tokens=2)
    for _ in range(3):
        await read(f"{router}/metrics?model=a")
    post(f"{router}/v1/completions", model="c", prompt="hi", max_tokens=2)
    assert told(router) == {"a": "unloaded", "b": "loaded", "c": "loaded", "broken": "unloaded"}, (
        "the one that was used longest ago"
    )


async def test_a_model_that_is_unloaded_between_the_list_and_its_page(
    router: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(f"{router}/v1/completions", model="a", prompt="hi", max_tokens=2)
    source = LlamaCppSource(f"{router}/metrics")
    api = source._status._api
    get: Callable[[str], Any] = api.get

    async def get_and_unload(path: str) -> Any:
        listed = await get(path)
        post(f"{router}/models/unload", model="a")
        await until(lambda: told(router)["a"] == "unloaded")
        return listed

    monkeypatch.setattr(api, "get", get_and_unload)
    seen = numbers(await source.read(HANG_S))
    await source.close()
    assert states(seen)["a"] == "loaded" and not [key for key in seen if key[0] == TOKENS]
    assert told(router)["a"] == "unloaded", "the read has not loaded it again"
    assert source.remark.startswith("no numbers of a (/metrics answered 400")


async def test_a_model_that_cannot_be_loaded(router: str) -> None:
    post(f"{router}/models/load", model="broken")
    await until(lambda: told(router).get("broken") == "unloaded")
    seen: Numbers = {}
    while states(seen).get("broken") != "failed":
        seen, _ = await read(f"{router}/metrics")


async def test_readiness_of_a_router_is_that_of_the_named_models(router: str) -> None:
    expected = [("a", "v1"), ("nowhere", "v2")]
    source = ReadinessSource(Api.OPENAI, router, expected=expected)
    seen = numbers(await source.read(HANG_S))
    await source.close()
    ready = {k[2]: v for k, v in seen.items() if k[0] == "llm_backend_ready"}
    assert ready == {"a": 1, "nowhere": 0}
    assert told(router)["a"] == "unloaded"


async def test_a_server_that_falls_asleep_stays_asleep_while_it_is_read(tmp_path: Path) -> None:
    with llama_server(tmp_path, "--sleep-idle-seconds", "5") as server:
        await until(lambda: sleeps(server.url))
        for path in ("/metrics", "/props", "/metrics"):
            seen, _ = await read(server.url + path)
            assert states(seen) == {"tiny": "sleeping"} and sleeps(server.url)
        post(f"{server.url}/v1/completions", prompt="hi", max_tokens=2)
        seen, _ = await read(f"{server.url}/props")
        assert states(seen) == {"tiny": "loaded"}


async def test_one_model(tmp_path: Path) -> None:
    with llama_server(tmp_path) as server:
        post(f"{server.url}/v1/completions", prompt="hi", max_tokens=7)
        seen, remark = await read(f"{server.url}/metrics")
    assert (states(seen), seen[(TOKENS,)], remark) == ({"tiny": "loaded"}, 7, "")
