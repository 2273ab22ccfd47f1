"""`case` is each driver in turn, `weighted` each that takes weights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.drivers.cases import DRIVERS, NEEDS, WEIGHTED, Case


def _params(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.needs(NEEDS[name])) if name in NEEDS else name for name in names]


async def _case(name: str, folder: Path) -> AsyncIterator[Case]:
    async with DRIVERS[name](folder) as case:
        try:
            case.config = (await case.driver.prepare("v2")).config
            yield case
        finally:
            await case.driver.close()


@pytest.fixture(params=_params(DRIVERS))
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async for made in _case(request.param, tmp_path):
        yield made


@pytest.fixture(params=_params(WEIGHTED))
async def weighted(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async for made in _case(request.param, tmp_path):
        yield made
