"""A request leaves no objects that hold each other: a search of the garbage collector would stop all open streams."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.fakes.engine import DONE, TOKEN, FakeEngine, dies_after, stream, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.raw_http import Broken, post

REQUESTS = 20


@pytest.fixture
def collector() -> Iterator[None]:
    """Let nothing be collected but by the test."""
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize(
    ("body", "behaviour"),
    [
        ({"model": "chat"}, whole()),
        ({"model": "chat", "stream": True}, stream(TOKEN, DONE)),
        ({"model": "chat"}, whole(503)),
        ({"model": "nothing"}, whole()),
        ({"model": "chat", "stream": True}, dies_after(TOKEN)),
    ],
    ids=["answer", "stream", "busy", "refusal", "cut"],
)
async def test_a_request_leaves_nothing_to_collect(collector: None, body: dict[str, Any], behaviour: Any) -> None:
    async with FakeEngine(behaviour) as engine, Gateway(model(backend(engine.url))) as gateway:
        for _ in range(REQUESTS):
            async with await gateway.connect() as client:
                with suppress(Broken):
                    await client.ask(post(body))
        await gateway.record(REQUESTS)
        gc.collect()
        for _ in range(REQUESTS):
            async with await gateway.connect() as client:
                with suppress(Broken):
                    await client.ask(post(body))
        await gateway.record(2 * REQUESTS)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        ours = Counter(type(one).__name__ for one in gc.garbage if type(one).__module__.startswith("controlplane"))
        assert not {name: count for name, count in ours.items() if count >= REQUESTS}, ours
