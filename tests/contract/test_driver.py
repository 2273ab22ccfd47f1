"""One suite that every driver passes: the verbs are idempotent, planning changes nothing, unknown is never a guess."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.config.models import ModelSection
from controlplane.demo.repository import write_repository
from controlplane.demo.triton import TritonServer
from controlplane.errors import Refused, Unavailable
from controlplane.traffic.driver import (
    BackendObservation,
    Driver,
    EngineRefused,
    Placement,
    TrafficObservation,
    VersionState,
)
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.gateway.driver import GATEWAY, GatewayDriver
from controlplane.traffic.triton.driver import TritonDriver
from tests.fakes.failing_version import write_failing_version
from tests.fakes.gateways import FakeGateways
from tests.fakes.triton import FakeTriton
from tests.patience import HANG_S


@dataclass
class Case:
    """A driver over one backend that serves v1, can serve v2, and fails to start v3."""

    driver: Driver
    backend: str
    gone: Callable[[str], Driver]
    """Makes the driver on a backend at another address."""
    config: str = ""

    async def place(self, serve: str, *keep: str) -> None:
        await self.driver.place(self.backend, Placement("chat", serve, keep, self.config))

    async def observe(self) -> BackendObservation:
        return (await self.driver.observe()).backend(self.backend)

    async def until(self, reached: Callable[[BackendObservation], bool]) -> BackendObservation:
        async with asyncio.timeout(HANG_S):
            while True:
                seen = await self.observe()
                if reached(seen):
                    return seen
                await asyncio.sleep(0.05)


def section(url: str, repository: Path | None = None, driver: str = "triton") -> ModelSection:
    backend = {"url": url} | ({"repository": str(repository)} if repository else {})
    return ModelSection.model_validate(
        {
            "name": "chat",
            "stable": "v1",
            "versions": {"v1": {}, "v2": {}, "v3": {}},
            "traffic": {"driver": driver, "model": "model", "backends": [backend]},
        }
    )


async def fake_triton(folder: Path) -> AsyncIterator[Case]:
    async with FakeTriton(on_disk=(1, 2, 3)) as fake:
        fake.fails[3] = "Internal: out of memory"
        yield Case(triton_at(fake.url), fake.url, triton_at)


def triton_at(url: str) -> Driver:
    return TritonDriver(section(url), open_session())


def gateway_at(url: str, repository: Path | None = None) -> Driver:
    return GatewayDriver(section(url, repository, "gateway"), open_session(), FakeGateways())


def behind_nobody(url: str) -> Driver:
    gateways = FakeGateways()
    gateways.fault = f"database {url}: connection refused"
    return GatewayDriver(section(url, driver="gateway"), open_session(), gateways)


async def gateway_before_fake_triton(folder: Path) -> AsyncIterator[Case]:
    async with FakeTriton(on_disk=(1, 2, 3)) as fake:
        fake.fails[3] = "Internal: out of memory"
        yield Case(gateway_at(fake.url), GATEWAY, behind_nobody)


async def gateway_before_triton(folder: Path) -> AsyncIterator[Case]:
    write_repository(folder / "models")
    write_failing_version(folder / "models", 3, reason="out of memory")
    async with TritonServer(folder / "models", folder / "triton") as server:
        yield Case(gateway_at(server.http_url, folder / "models"), GATEWAY, behind_nobody)


async def real_triton(folder: Path) -> AsyncIterator[Case]:
    write_repository(folder / "models")
    write_failing_version(folder / "models", 3, reason="out of memory")
    async with TritonServer(folder / "models", folder / "triton") as server:
        url = server.http_url
        yield Case(TritonDriver(section(url, folder / "models"), open_session()), url, triton_at)


DRIVERS = {
    "triton on a fake": fake_triton,
    "triton": real_triton,
    "gateway before a fake triton": gateway_before_fake_triton,
    "gateway before a triton": gateway_before_triton,
}
REAL = {"triton", "gateway before a triton"}


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.needs("triton")) if name in REAL else name for name in DRIVERS]
)
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async for made in DRIVERS[request.param](tmp_path):
        try:
            made.config = (await made.driver.prepare("v2")).config
            yield made
        finally:
            await made.driver.close()


def serves(version: str) -> Callable[[BackendObservation], bool]:
    return lambda seen: seen.serving == version and seen.versions[version] is VersionState.READY


async def test_planning_changes_nothing(case: Case) -> None:
    before = await case.driver.observe()
    assert (await case.driver.prepare("v2")).config == case.config
    assert await case.driver.observe() == before == TrafficObservation("chat", before.backends)


async def test_every_declared_version_has_a_state(case: Case) -> None:
    seen = await case.observe()
    assert seen.reachable
    assert seen.error == ""
    assert seen.serving == "v1"
    assert set(seen.versions) >= {"v1", "v2", "v3"}
    assert VersionState.UNKNOWN not in seen.versions.values()


async def test_placing_is_idempotent_and_keeps_what_it_said_it_can_keep(case: Case) -> None:
    assert case.driver.can_keep("v2", "v1")
    for _ in range(2):
        await case.place("v2", "v1")
        seen = await case.until(serves("v2"))
        assert seen.versions["v1"] is VersionState.READY
    for _ in range(2):
        await case.place("v2")
        await case.until(lambda seen: serves("v2")(seen) and seen.versions["v1"] is VersionState.UNAVAILABLE)
    await case.place("v1")
    await case.until(lambda seen: serves("v1")(seen) and seen.versions["v2"] is VersionState.UNAVAILABLE)


async def test_a_version_that_cannot_start_is_refused_in_the_engines_words_and_the_old_one_serves(case: Case) -> None:
    with pytest.raises(EngineRefused, match="out of memory"):
        await case.place("v3", "v1")
    seen = await case.until(lambda seen: seen.versions["v3"] is VersionState.UNAVAILABLE)
    assert seen.serving == "v1"
    assert "out of memory" in seen.reasons["v3"]


async def test_committing_is_idempotent_and_says_what_it_did(case: Case) -> None:
    placement = Placement("chat", "v1", (), case.config)
    await case.driver.commit(placement)
    again = await case.driver.commit(placement)
    assert again
    assert await case.driver.commit(placement) == again


async def test_a_backend_that_is_not_there_is_reported_not_raised_and_never_called_unavailable(case: Case) -> None:
    """Port 1 answers nothing; the driver under test is rebuilt on it."""
    gone = "http://127.0.0.1:1"
    driver = case.gone(gone)
    try:
        (seen,) = (await driver.observe()).backends
        assert (seen.reachable, seen.versions, seen.serving) == (False, {}, None)
        assert gone in seen.error
        with pytest.raises(Refused, match=gone):
            await driver.prepare("v2")
        config = json.dumps({gone: next(iter(json.loads(case.config).values()))})
        with pytest.raises(Unavailable, match=gone):
            await driver.place(gone, Placement("chat", "v2", (), config))
    finally:
        await driver.close()
