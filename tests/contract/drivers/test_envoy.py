"""The driver for Envoy against a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import Refused, Unavailable
from controlplane.traffic.driver import BackendObservation, Driver, EngineRefused, Placement
from tests.contract.drivers.cases import made
from tests.contract.drivers.real_envoy import RealEnvoy
from tests.contract.drivers.versions import Versions, clients

pytestmark = pytest.mark.needs("envoy")


class Rig:
    """A real Envoy before v1, v2 and v3."""

    def __init__(self, versions: Versions, folder: Path) -> None:
        self.versions = versions
        self.envoy = RealEnvoy(folder, {f"chat_{name}": versions.address(name) for name in versions.servers})
        self._made: list[Driver] = []

    def driver(self, *others: dict[str, str], **fields: Any) -> Driver:
        first = {"admin": self.envoy.admin, "routes": str(self.envoy.routes)}
        self._made.append(made(self.versions.section(driver="envoy", instances=[first, *others], **fields)))
        return self._made[-1]

    async def close(self) -> None:
        for driver in self._made:
            await driver.close()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Versions() as versions:
        found = Rig(versions, tmp_path)
        with found.envoy.running():
            yield found
        await found.close()


async def seen_by(driver: Driver) -> BackendObservation:
    return (await driver.observe()).backend("envoy")


def to(serve: str, *keep: str, share: float = 1.0) -> Placement:
    return Placement("chat", serve, keep, "", share)


async def test_the_file_keeps_all_but_the_weights_and_the_version(rig: Rig) -> None:
    before = rig.envoy.routes.read_text()
    await rig.driver().place("envoy", to("v2", "v1", share=0.05))
    after = rig.envoy.routes.read_text()
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert [line.strip() for line in changed[1:]] == ["weight: 9500", "weight: 500"]
    assert "timeout: 0s  # streams are long" in after


async def test_a_file_that_envoy_rejects_is_told_and_put_back_and_the_last_good_routes_serve(rig: Rig) -> None:
    driver = rig.driver()
    bad = rig.envoy.routes.read_text().replace("domains: [", "domains: [ '*', ")
    rig.envoy.routes.write_text(bad)
    with pytest.raises(EngineRefused, match=r"did not load .* rejected 1 files since its start, and its log says why"):
        await driver.place("envoy", to("v2"))
    seen = await seen_by(driver)
    assert (seen.serving, seen.pending) == ("v1", "")
    assert rig.envoy.routes.read_text() == bad  # a start of Envoy must not find the weights that were refused
    assert await clients(rig.envoy.url, 3) == {"v1": 3}


async def test_a_file_that_envoy_has_not_loaded_is_pending(rig: Rig) -> None:
    driver = rig.driver()
    text = rig.envoy.routes.read_text()
    rig.envoy.routes.write_text(text.replace('version_info: "0"', 'version_info: "mine"'))  # not moved into place
    assert (await seen_by(driver)).pending == f"{rig.envoy.admin} has routes 0, and {rig.envoy.routes} is mine"


async def test_orders_of_two_models_in_one_file_are_all_there(tmp_path: Path) -> None:
    async with Versions() as versions:
        names = [f"{model}_{version}" for model in ("chat", "other") for version in versions.servers]
        envoy = RealEnvoy(tmp_path, {name: versions.address(name.partition("_")[2]) for name in names}, "other")
        with envoy.running():
            instances = [{"admin": envoy.admin, "routes": str(envoy.routes)}]
            drivers = [
                made(
                    versions.section(
                        driver="envoy", instances=instances, clusters={v: f"{model}_{v}" for v in versions.servers}
                    )
                )
                for model in ("chat", "other")
            ]
            for share in (0.1, 0.2, 0.3, 0.4, 0.5):
                await asyncio.gather(
                    drivers[0].place("envoy", to("v2", "v1", share=share)),
                    drivers[1].place("envoy", to("v1", "v2", share=share)),
                )
                for driver, version in zip(drivers, ("v2", "v1"), strict=True):
                    seen = await seen_by(driver)
                    assert (seen.weights[version], seen.pending) == (share, "")
            for driver in drivers:
                await driver.close()


async def test_an_instance_that_does_not_answer_is_named_and_the_others_move(rig: Rig) -> None:
    driver = rig.driver({"admin": "http://127.0.0.1:1", "routes": str(rig.envoy.routes)})
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1 did not answer"):
        await driver.place("envoy", to("v2"))
    seen = await seen_by(driver)
    assert (seen.reachable, seen.serving) == (True, "v2")
    assert "http://127.0.0.1:1 did not answer" in seen.pending


async def test_planning_names_the_fault_of_the_set_up(rig: Rig) -> None:
    words = "no weighted_clusters of it has chat_v1, other, chat_v3; add them there"
    with pytest.raises(Refused, match=words):
        await rig.driver(clusters={"v2": "other"}).prepare("v2")
    rig.envoy.routes.unlink()
    with pytest.raises(Refused, match=r"cannot be read .* routes: is the file of Envoy's path_config_source"):
        await rig.driver().prepare("v2")


async def test_another_server_at_the_admin_address_is_not_believed(rig: Rig) -> None:
    server = rig.versions.servers["v1"]
    driver = made(
        rig.versions.section(driver="envoy", instances=[{"admin": server.url, "routes": str(rig.envoy.routes)}])
    )
    seen = await seen_by(driver)
    assert not seen.reachable
    assert "answered /config_dump?resource=dynamic_route_configs with no JSON (status 404)" in seen.error
    await driver.close()
