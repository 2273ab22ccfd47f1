"""The driver of models behind gateways: what it makes of several engines and gateways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from controlplane.config.models import ModelSection
from controlplane.errors import Refused
from controlplane.traffic.driver import NotSent, Placement, Question, VersionState
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.gateway.driver import GATEWAY, GatewayDriver
from tests.fakes.gateways import FakeGateways
from tests.fakes.openai_server import OpenAiServer
from tests.fakes.triton import FakeTriton
from tests.patience import HANG_S

GONE = "http://127.0.0.1:1"
READY, LOADING, UNAVAILABLE, UNKNOWN = (
    VersionState.READY,
    VersionState.LOADING,
    VersionState.UNAVAILABLE,
    VersionState.UNKNOWN,
)
ASK = Question("chat/completions", {"stream": True}, timeout_s=HANG_S)


class Rig:
    """v1 on engine a, v2 on engines b and c; two gateways."""

    def __init__(self) -> None:
        self.a, self.b, self.c = OpenAiServer("llama"), OpenAiServer("llama"), OpenAiServer("llama")
        self.gateways = FakeGateways(names=("g1", "g2"))

    def driver(self, **versions: list[str]) -> GatewayDriver:
        urls = {"v1": [self.a.url], "v2": [self.b.url, self.c.url], **versions}
        section = ModelSection.model_validate(
            {
                "name": "chat",
                "stable": "v1",
                "traffic": {"driver": "gateway", "model": "llama"},
                "versions": {v: {"backends": [{"url": u, "engine": "vllm"} for u in us]} for v, us in urls.items()},
            }
        )
        return GatewayDriver(section, open_session(), self.gateways, timeout_s=HANG_S)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    async with made.a, made.b, made.c:
        yield made


async def observed(driver: GatewayDriver) -> Any:
    (seen,) = (await driver.observe()).backends
    await driver.close()
    return seen


async def test_what_gateways_report_is_added_up_and_only_for_the_assigned_generation(rig: Rig) -> None:
    first, second = rig.gateways.each["g1"], rig.gateways.each["g2"]
    first.requests, second.requests = {"v1": 10}, {"v1": 5, "v2": 1}
    first.open, second.open = {"v1": 2}, {"v1": 1}
    seen = await observed(rig.driver())
    assert (seen.url, seen.reachable, seen.pending, seen.serving) == (GATEWAY, True, "", "v1")
    assert (seen.requests, seen.open, seen.stays) == ({"v1": 15, "v2": 1}, {"v1": 3}, ("v1", "v2"))
    rig.gateways.generation, first.generation = 1, 1
    second.fault = "models.chat: no"
    seen = await observed(rig.driver())
    assert seen.pending == "gateway g2 applies generation 0, and 1 is assigned to chat (models.chat: no)"
    assert seen.requests == {"v1": 10}
    second.generation = None
    assert (await observed(rig.driver())).pending.startswith("gateway g2 does not serve it, and 1 is assigned")


async def test_a_silent_gateway_is_not_part_of_the_observation(rig: Rig) -> None:
    rig.gateways.each["g2"].live, rig.gateways.each["g2"].generation = False, 7
    seen = await observed(rig.driver())
    assert (seen.reachable, seen.pending) == (True, "")
    rig.gateways.each["g1"].live = False
    seen = await observed(rig.driver())
    words = "no gateway is live (g1, g2 are silent); start one: controlplane gateway -c fleet.yaml"
    assert (seen.reachable, seen.versions, seen.error, seen.holds) == (False, {}, words, True)


async def test_a_version_is_ready_while_one_of_its_own_engines_is(rig: Rig) -> None:
    rig.c.health = 503
    assert (await observed(rig.driver())).versions["v2"] is READY
    rig.b.health = 500
    assert (await observed(rig.driver())).versions["v2"] is UNAVAILABLE
    rig.b.health = 503
    assert (await observed(rig.driver())).versions["v2"] is LOADING
    seen = await observed(rig.driver(v2=[GONE]))
    assert (seen.versions["v2"], GONE in seen.reasons["v2"]) == (UNKNOWN, True)


async def test_every_engine_of_a_candidate_must_be_ready_before_a_switch(rig: Rig) -> None:
    driver = rig.driver(v2=[rig.b.url, rig.c.url, GONE])
    rig.c.models = ["mistral"]
    rig.gateways.each["g2"].live = False
    with pytest.raises(Refused) as refused:
        await driver.prepare("v2")
    assert [reason.split(": ")[0] for reason in refused.value.reasons] == [
        f"v2 is not ready on {rig.c.url}",
        f"v2 is not ready on {GONE}",
    ]
    rig.c.models = ["llama"]
    await driver.close()
    driver = rig.driver()
    assert (await driver.prepare("v2")).notes == ("gateway g2 is silent: it may serve with its last weights",)
    await driver.close()


async def test_every_engine_of_a_candidate_is_asked_and_the_worst_answer_counts(rig: Rig) -> None:
    driver = rig.driver()
    answer = await driver.ask(GATEWAY, "v2", ASK)
    assert (answer.fault, len(rig.a.asked), len(rig.b.asked), len(rig.c.asked)) == ("", 0, 1, 1)
    rig.c.fault = "CUDA error"
    assert (await driver.ask(GATEWAY, "v2", ASK)).fault == f"{rig.c.url} answered with an error: CUDA error"
    rig.c.hangs = True
    assert "within 1 s" in (await driver.ask(GATEWAY, "v2", replace(ASK, timeout_s=1.0))).fault
    await driver.close()
    driver = rig.driver(v2=[rig.b.url, GONE])
    with pytest.raises(NotSent):
        await driver.ask(GATEWAY, "v2", ASK)
    await driver.close()


async def test_a_placement_assigns_its_shares_for_its_author(rig: Rig) -> None:
    driver = rig.driver()
    tenure = object()
    await driver.place(GATEWAY, Placement("chat", "v2", ("v1",), "", 0.05, "rollout r-1", tenure))
    await driver.place(GATEWAY, Placement("chat", "v2", ("v1",), "", 0.0, "rollout r-1"))
    await driver.place(GATEWAY, Placement("chat", "v2", (), "", by="rollout r-1"))
    assert rig.gateways.assigned == [
        ({"v2": 0.05, "v1": 0.95}, "rollout r-1", tenure),
        ({"v1": 1.0}, "rollout r-1", None),
        ({"v2": 1.0}, "rollout r-1", None),
    ]
    assert await driver.commit(Placement("chat", "v2", (), "")) == (
        "the weights of chat are in the database, and each gateway keeps them on its disk",
    )
    await driver.close()


def shared(*tritons: FakeTriton, gateways: FakeGateways) -> GatewayDriver:
    section = ModelSection.model_validate(
        {
            "name": "chat",
            "stable": "v1",
            "traffic": {"driver": "gateway", "model": "model", "backends": [{"url": t.url} for t in tritons]},
            "versions": {"v1": {}, "v2": {}},
        }
    )
    return GatewayDriver(section, open_session(), gateways, timeout_s=HANG_S)


async def test_weights_move_away_from_a_triton_that_does_not_answer(rig: Rig) -> None:
    async with FakeTriton() as one, FakeTriton() as two:
        driver = shared(one, two, gateways=rig.gateways)
        config = (await driver.prepare("v2")).config
        await driver.place(GATEWAY, Placement("chat", "v2", ("v1",), config, 0.5))
        assert one.states == two.states == {1: "READY", 2: "READY"}
        two.reachable = False
        (seen,) = (await driver.observe()).backends
        assert (seen.versions["v1"], two.url in seen.reasons["v1"]) == (UNKNOWN, True)
        await driver.place(GATEWAY, Placement("chat", "v1", (), config))
        assert rig.gateways.weights == {"v1": 1.0}
        assert one.loads[-1] == [1]
        assert one.states[1] == "READY"
        await driver.close()


async def test_a_shared_version_is_ready_when_every_triton_has_it(rig: Rig) -> None:
    async with FakeTriton(policy=(1, 2)) as one, FakeTriton() as two:
        seen = await observed(shared(one, two, gateways=rig.gateways))
        assert (seen.versions, seen.stays) == ({"v1": READY, "v2": UNAVAILABLE}, ())


async def test_a_triton_that_takes_no_orders_serves_what_it_has(rig: Rig) -> None:
    async with FakeTriton(policy=(1, 2)) as triton:
        triton.mode = "none"
        driver = shared(triton, gateways=rig.gateways)
        prepared = await driver.prepare("v2")
        assert prepared.config == ""
        assert "v2 is loaded on the Tritons already, and no load order is sent" in prepared.notes[0]
        await driver.place(GATEWAY, Placement("chat", "v2", ("v1",), ""))
        assert (rig.gateways.weights, triton.loads) == ({"v2": 1.0}, [])
        await driver.close()
    async with FakeTriton() as triton:
        triton.mode = "none"
        driver = shared(triton, gateways=rig.gateways)
        with pytest.raises(Refused, match="explicit"):
            await driver.prepare("v2")
        await driver.close()


async def test_copies_are_ordered_and_seen_with_the_weights(rig: Rig) -> None:
    driver = rig.driver()
    assert driver.capabilities.mirror and driver.capabilities.testers
    await driver.place(GATEWAY, Placement("chat", "v2", ("v1",), "", share=0.0, mirror=0.1))
    (seen,) = (await driver.observe()).backends
    assert (seen.weights, seen.mirror, seen.pending) == ({"v1": 1.0}, {"v2": 0.1}, "")
    rig.gateways.each["g2"].applies = False
    await driver.place(GATEWAY, Placement("chat", "v2", ("v1",), "", share=0.0))
    (seen,) = (await driver.observe()).backends
    assert seen.mirror == {} and "gateway g2 applies generation 1, and 2 is assigned" in seen.pending
    await driver.close()
