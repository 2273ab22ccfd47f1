"""A gateway with one engine or two, which answer as the test says, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.engine import (
    FakeEngine,
    whole,
)
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.raw_http import RawClient


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with FakeEngine(whole()) as engine:
        yield engine


@pytest.fixture
async def second() -> AsyncIterator[FakeEngine]:
    async with FakeEngine(whole()) as engine:
        yield engine


@pytest.fixture
async def gateway(engine: FakeEngine) -> AsyncIterator[Gateway]:
    """A gateway with one engine."""
    async with Gateway(model(backend(engine.url))) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[RawClient]:
    async with await gateway.connect() as client:
        yield client


@pytest.fixture
async def pair(engine: FakeEngine, second: FakeEngine) -> AsyncIterator[Gateway]:
    """A gateway with two engines."""
    async with Gateway(model(backend(engine.url), backend(second.url))) as gateway:
        yield gateway


@pytest.fixture
async def pair_client(pair: Gateway) -> AsyncIterator[RawClient]:
    async with await pair.connect() as client:
        yield client
