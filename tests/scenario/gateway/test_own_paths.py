"""Paths of an engine's own, on the wire: what passes, and to whom."""

from __future__ import annotations

import socket

import pytest

from controlplane.gateway.dialects.dialects import AllDialects
from tests.fakes.engine import FakeEngine, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.raw_http import post


def named(target: str) -> bytes:
    """Return a request that names its model in the header."""
    return post({"x": 1}, target, "x-model: chat")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/generate", 200),
        ("/generate?a=b", 200),
        ("/custom/predict", 200),
        ("http://somewhere/custom/predict", 200),
        ("/sleep", 403),
        ("http://somewhere/sleep", 403),
        ("/custom/../sleep", 404),
        ("/custom/%2e%2e/sleep", 404),
        ("/custom/%252e%252e/sleep", 403),
        ("/custom/..;/sleep", 403),
        ("/custom//predict", 404),
        ("/custom/pr%65dict", 404),
        ("/custom/predict.", 404),
        ("/api/custom", 404),
    ],
)
async def test_only_listed_paths_reach_the_engine(target: str, status: int) -> None:
    async with FakeEngine(whole()) as engine:
        gateway = Gateway(model(backend(engine.url), paths=("/custom/*",)))
        gateway.dialects = AllDialects()  # type: ignore[assignment]
        async with gateway, await gateway.connect() as client:
            assert (await client.ask(named(target))).status == status
        assert len(engine.requests) == (status == 200)


@pytest.mark.parametrize("listed", [True, False])
async def test_a_fallback_that_does_not_list_the_path_does_not_answer(listed: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}"
    async with FakeEngine(whole()) as engine:
        small = model(backend(engine.url), name="small", paths=("/custom",) if listed else ())
        gateway = Gateway(model(backend(gone), fallbacks=("small",), paths=("/custom",)), small)
        gateway.dialects = AllDialects()  # type: ignore[assignment]
        async with gateway, await gateway.connect() as client:
            assert (await client.ask(named("/custom"))).status == (200 if listed else 502)
        assert len(engine.requests) == listed
