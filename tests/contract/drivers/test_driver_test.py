"""`controlplane driver test` against real targets: what it finds, and that it leaves no changed share behind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from controlplane.traffic import conformance
from controlplane.traffic.conformance import StepResult, exercise
from controlplane.traffic.driver import Driver, EngineRefused, Placement, TrafficObservation
from tests.contract.drivers.cases import SCRIPT, Case, made
from tests.contract.drivers.versions import Versions
from tests.patience import PROCESS_S


class Rig:
    """A model on driver exec with the example's program, and its fleet.yaml."""

    def __init__(self, versions: Versions, folder: Path) -> None:
        self.versions, self.file, self.fleet = versions, folder / "chat.json", folder / "fleet.yaml"
        self.file.write_text('{"v1": 1.0}')
        self.write(command=[str(SCRIPT), str(self.file)], weights=True)

    def write(self, **fields: object) -> None:
        backends = {n: {"backends": [{"url": s.url, "engine": "vllm"}]} for n, s in self.versions.servers.items()}
        traffic = {"driver": "exec", "model": "llama", **fields}
        model = {"name": "chat", "stable": "v1", "traffic": traffic, "versions": backends}
        with self.fleet.open("w") as file:
            YAML().dump({"fleet": {"name": "f"}, "models": [model]}, file)

    async def test(self, *words: str) -> tuple[int | None, list[str]]:
        command = [sys.executable, "-m", "controlplane", "driver", "test", "chat", "-c", str(self.fleet), *words]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(PROCESS_S):
            output, _ = await process.communicate()
        return process.returncode, output.decode().splitlines()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Versions() as versions:
        yield Rig(versions, tmp_path)


async def test_every_step_is_told_and_the_old_share_comes_back(rig: Rig) -> None:
    code, lines = await rig.test("--yes", "--share", "5")
    assert code == 0, lines
    assert [line.split(":")[0] for line in lines] == [
        "good      observe",
        "good      capabilities",
        "good      prepare",
        "good      planning",
        "good      set",
        "good      set again",
        "good      restore",
    ]
    assert "exec serves v1 (v1 ready, v2 ready, v3 loading); requests are not counted" in lines[0]
    assert "exec has v2 5% and v1 95%, read back after" in lines[4]
    assert rig.file.read_text() == '{"v1": 1.0}'


async def test_without_consent_nothing_is_set(rig: Rig) -> None:
    code, lines = await rig.test()
    assert (code, lines[-1]) == (0, "left out  set: no share was set, as you wished")


async def test_a_fault_of_the_set_up_is_told_and_ends_with_1(rig: Rig) -> None:
    rig.write(command=["/none/program"], weights=True)
    code, lines = await rig.test("--yes")
    assert code == 1
    assert lines[0].startswith("FAILED    observe: exec: /none/program could not be started")
    assert lines[-1].endswith("the driver of chat does not work with its backend as it is set up")


async def test_the_old_share_comes_back_on_every_real_target(weighted: Case) -> None:
    found = [each async for each in exercise(weighted.driver, "chat", "v2", 0.05, asyncio.get_running_loop().time)]
    assert [(each.step, each.ok) for each in found] == [("set", True), ("set again", True), ("restore", True)], found
    assert (await weighted.observe()).serving == "v1"


async def test_a_large_share_is_counted_on_every_real_target_while_clients_ask(weighted: Case) -> None:
    assert weighted.clients is not None
    going, clients = True, weighted.clients

    async def crowd() -> None:
        while going:
            await clients(20)

    asking = asyncio.create_task(crowd())
    found = [each async for each in exercise(weighted.driver, "chat", "v2", 0.5, asyncio.get_running_loop().time)]
    going = False
    await asking
    assert [(each.step, each.ok) for each in found] == [
        ("set", True),
        ("set again", True),
        ("count", True),
        ("restore", True),
    ], found


class Stepping:
    """A clock that moves by one second a look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Counting:
    """A driver whose backend has counted so many requests at each look after the first."""

    def __init__(self, driver: Driver, **requests: int) -> None:
        self._driver, self.capabilities, self._requests = driver, driver.capabilities, requests
        self.place, self.prepare = driver.place, driver.prepare
        self._looks = 0

    async def observe(self) -> TrafficObservation:
        seen = await self._driver.observe()
        self._looks += 1
        counted = {version: count * self._looks for version, count in self._requests.items()}
        return replace(seen, backends=tuple(replace(one, requests=counted or None) for one in seen.backends))


@pytest.mark.parametrize(
    ("requests", "ok", "words"),
    [
        ({"v1": 40, "v2": 0}, False, "v2 got 0 of the 200 requests that exec had in 5 s; 50% were ordered: the target"),
        ({"v1": 20, "v2": 20}, True, "v2 got 100 of the 200 requests that exec had in 5 s; 50% were ordered"),
        ({"v1": 0, "v2": 0}, None, "v2 got 0 of the 0 requests that exec had in 21 s; 50% were ordered: too few"),
        ({}, None, "exec counts no requests, so nobody knows whether the share holds"),
    ],
)
async def test_a_count_is_judged_by_chance(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, requests: dict[str, int], ok: bool | None, words: str
) -> None:
    monkeypatch.setattr(conformance, "LOOK_S", 0.0)
    driver = made(rig.versions.section(driver="exec", command=[str(SCRIPT), str(rig.file)], weights=True))
    counting = Counting(driver, **requests)
    found = [each async for each in exercise(counting, "chat", "v2", 0.5, Stepping())]  # type: ignore[arg-type]
    (count,) = [each for each in found if each.step == "count"]
    assert count.ok is ok
    assert count.words.startswith(words), count.words
    await driver.close()


class Halting:
    """A driver whose first order is carried out and then hangs."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self.capabilities, self.hangs = driver, driver.capabilities, asyncio.Event()
        self.observe, self.prepare = driver.observe, driver.prepare

    async def place(self, backend: str, placement: Placement) -> None:
        await self._driver.place(backend, placement)
        if not self.hangs.is_set():
            self.hangs.set()
            await asyncio.Event().wait()


async def test_the_old_share_comes_back_after_an_interruption(rig: Rig) -> None:
    driver = made(rig.versions.section(driver="exec", command=[str(SCRIPT), str(rig.file)], weights=True))
    halting = Halting(driver)

    async def test() -> None:
        async for _ in exercise(halting, "chat", "v2", 0.05, asyncio.get_running_loop().time):  # type: ignore[arg-type]
            pass

    task = asyncio.create_task(test())
    await halting.hangs.wait()
    assert rig.file.read_text() == '{"v2": 0.05, "v1": 0.95}'
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert rig.file.read_text() == '{"v1": 1.0}'
    await driver.close()


class Broken(Halting):
    """A driver that carries out its first order and refuses every other."""

    async def place(self, backend: str, placement: Placement) -> None:
        if self.hangs.is_set():
            raise EngineRefused("out of order")
        self.hangs.set()
        await self._driver.place(backend, placement)


async def test_a_share_that_could_not_be_taken_back_is_told_with_the_cure(rig: Rig) -> None:
    driver = made(rig.versions.section(driver="exec", command=[str(SCRIPT), str(rig.file)], weights=True))
    found: list[StepResult] = []
    async for each in exercise(Broken(driver), "chat", "v2", 0.05, asyncio.get_running_loop().time):  # type: ignore[arg-type]
        found.append(each)
    assert [(each.step, each.ok) for each in found] == [("set", True), ("set again", False), ("restore", False)]
    assert found[-1].words == (
        "exec may still have the test's share: give v1 all requests there by hand (exec: out of order)"
    )
    await driver.close()
