"""A gateway with small limits and one engine, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.engine import FakeEngine, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.raw_http import RawClient

SMALL: dict[str, Any] = {"max_head_bytes": 4096, "max_body_bytes": 100_000}


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with FakeEngine(whole()) as engine:
        yield engine


@pytest.fixture
async def gateway(engine: FakeEngine) -> AsyncIterator[Gateway]:
    async with Gateway(model(backend(engine.url)), **SMALL) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[RawClient]:
    async with await gateway.connect() as client:
        yield client
