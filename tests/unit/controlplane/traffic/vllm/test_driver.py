from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from controlplane.errors import Refused
from controlplane.traffic.driver import BackendObservation, Driver, EngineRefused, Placement, Question, VersionState
from tests.contract.drivers.cases import made, on_vllm
from tests.fakes.vllm_adapters import FakeVllm

READY, UNAVAILABLE = VersionState.READY, VersionState.UNAVAILABLE
ASK = Question("chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, timeout_s=10.0)


@pytest.fixture
async def vllm() -> AsyncIterator[FakeVllm]:
    async with FakeVllm({"chat": "/adapters/v1"}) as fake:
        yield fake


@pytest.fixture
async def driver(vllm: FakeVllm) -> AsyncIterator[Driver]:
    found = made(on_vllm(vllm.url))
    yield found
    await found.close()


async def seen_by(driver: Driver) -> BackendObservation:
    (seen,) = (await driver.observe()).backends
    return seen


async def test_a_candidate_is_loaded_beside_and_the_name_then_changes_its_adapter(
    vllm: FakeVllm, driver: Driver
) -> None:
    await driver.place(vllm.url, Placement("chat", "v2", ("v1",), "", 0.0))
    seen = await seen_by(driver)
    assert (seen.serving, seen.versions["v2"]) == ("v1", READY)
    assert (await driver.ask(vllm.url, "v2", ASK)).fault == ""
    assert vllm.asked == ["chat-v2"]
    await driver.place(vllm.url, Placement("chat", "v2", ("v1",), ""))
    assert vllm.adapters == {"chat": "/adapters/v2", "chat-v1": "/adapters/v1", "chat-v2": "/adapters/v2"}
    assert vllm.orders[-1] == ("load", {"lora_name": "chat", "lora_path": "/adapters/v2", "load_inplace": True})
    before = len(vllm.orders)
    await driver.place(vllm.url, Placement("chat", "v2", ("v1",), ""))
    assert len(vllm.orders) == before
    await driver.place(vllm.url, Placement("chat", "v2", (), ""))
    assert vllm.adapters == {"chat": "/adapters/v2", "chat-v2": "/adapters/v2"}
    assert (await seen_by(driver)).versions["v1"] is UNAVAILABLE


async def test_a_restart_that_forgot_the_adapters_is_seen(vllm: FakeVllm, driver: Driver) -> None:
    vllm.adapters.clear()
    seen = await seen_by(driver)
    assert (seen.serving, seen.served) == (None, "no version")
    (sentence,) = await driver.commit(Placement("chat", "v2", (), ""))
    assert sentence.endswith("start vLLM with --lora-modules chat=/adapters/v2")


async def test_a_name_with_another_adapter_is_no_version(vllm: FakeVllm, driver: Driver) -> None:
    vllm.adapters = {"chat": "/adapters/other", "chat-v2": "/adapters/v1"}
    seen = await seen_by(driver)
    assert (seen.serving, seen.versions["v2"]) == (None, UNAVAILABLE)
    assert (await driver.ask(vllm.url, "v2", ASK)).fault == f"{vllm.url} has no adapter of v2"
    await driver.place(vllm.url, Placement("chat", "v2", (), ""))
    assert (await seen_by(driver)).serving == "v2"


async def test_a_server_that_sleeps_serves_nothing_and_is_woken_by_an_order(vllm: FakeVllm, driver: Driver) -> None:
    vllm.asleep = True
    seen = await seen_by(driver)
    assert (seen.serving, seen.versions["v1"]) == (None, UNAVAILABLE)
    assert "sleeps; POST /wake_up wakes it" in seen.reasons["v1"]
    with pytest.raises(Refused, match="sleeps; wake it first"):
        await driver.prepare("v2")
    await driver.place(vllm.url, Placement("chat", "v1", (), ""))
    assert (await seen_by(driver)).serving == "v1"


async def test_a_server_without_updates_is_refused_with_the_cure() -> None:
    fake = FakeVllm({"chat": "/adapters/v1"})
    fake.updates = False
    async with fake:
        driver = made(on_vllm(fake.url))
        with pytest.raises(Refused, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"):
            await driver.prepare("v2")
        with pytest.raises(EngineRefused, match="answered /v1/load_lora_adapter with status 404; start vLLM with"):
            await driver.place(fake.url, Placement("chat", "v2", (), ""))
        await driver.close()


async def test_shares_and_unknown_versions_are_refused(vllm: FakeVllm, driver: Driver) -> None:
    with pytest.raises(EngineRefused, match="requests cannot be split by weight"):
        await driver.place(vllm.url, Placement("chat", "v2", ("v1",), "", 0.5))
    with pytest.raises(EngineRefused, match=r"v9 has no adapter in fleet\.yaml"):
        await driver.place(vllm.url, Placement("chat", "v9", (), ""))
    assert vllm.adapters == {"chat": "/adapters/v1"}
