"""Rollouts of a model behind gateways, as timelines: weights move, gateways lag or die, candidates fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from controlplane.errors import Refused
from controlplane.rollout import strategies
from controlplane.rollout.model import Check, Evidence, Gate, Step, StepKind
from controlplane.rollout.orders import Verb
from controlplane.rollout.strategies import STRATEGIES, Setting, Strategy
from controlplane.rollout.verification import Verification
from controlplane.rollout.words.step_words import step_sentences
from controlplane.store.assignments import AssignmentStore
from controlplane.traffic.driver import Question
from tests.fakes.gateway_world import GatewayWorld

QUESTION = Question("chat/completions", {"messages": [], "stream": True}, timeout_s=2.0)
ASKED = Verification(Check((QUESTION,), 3, 0, origin="`verify:` in fleet.yaml"))
NOT_TRIED = (
    "v2 is loaded, not tried (fleet.yaml has neither a `verify:` nor a probe for this model, and its numbers could not "
    "be read: no metrics were queried)"
)


def without_times(lines: list[str]) -> list[str]:
    """Return lines without the measured durations of answers."""
    return [line.split(", the slowest")[0] for line in lines]


async def test_a_switch_asks_the_candidate_before_it_gets_requests_and_waits_for_counted_ones(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2, verification=ASKED) as world:
        plan = await world.start()
        assert plan.plan.backends == ("gateway",)
        assert (
            await world.tick()
            == "preparing: v2 is ready on gateway and is asked 3 questions from `verify:` in fleet.yaml"
        )
        assert [path for path, _ in world.engines["v2"].asked] == ["chat/completions"] * 3
        assert {body["model"] for _, body in world.engines["v2"].asked} == {"llama"}
        assert world.weights() == {}  # nothing was assigned while it was asked
        assert await world.tick() == "switching: Sending requests to v2 on gateway"
        assert world.weights() == {"v2": 1000}
        lines = await world.timeline()
        assert [line.split(":")[0] for line in lines] == ["verifying", "draining", "succeeded"]
        assert lines[-1] == "succeeded: v2 serves, v1 has finished its requests and gets no more"
        latest = await world.latest()
        assert (latest.verified, latest.counted) == (True, True)
        assert (world.stable(), world.weights(), world.drift()) == ("v2", {"v2": 1000}, "")


async def test_a_candidate_that_answers_badly_never_gets_a_request(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, verification=ASKED) as world:
        world.engines["v2"].fault = "CUDA error"
        await world.start()
        lines = await world.timeline()
        assert lines[-1] == (
            f"failed: v2 failed 1 of 1 question on gateway: {world.engines['v2'].url} answered with an error: "
            "CUDA error. Nothing was changed"
        )
        assert (world.stable(), world.weights()) == ("v1", {})


async def test_a_candidate_that_clients_find_bad_loses_its_requests_at_once(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2, verification=ASKED) as world:
        await world.start()
        while not (await world.tick()).startswith("verifying"):
            pass
        world.evidence = Evidence(requests=400.0, failed=390.0, source="gateway")
        lines = await world.timeline()
        assert world.weights() == {"v1": 1000}
        assert lines[-1] == (
            "rolled-back: 390 of 400 requests to v2 failed, as the gateway counts them; the limit is 5%. "
            "v1 serves again (3 of 3 questions answered well)"
        )
        assert world.stable() == "v1"


async def test_a_rollback_moves_the_requests_back(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, verification=ASKED) as world:
        await world.start()
        await world.timeline()
        await world.service.rollback("chat", actor="ann")
        lines = await world.timeline()
        assert lines[-1] == "succeeded: v1 serves, v2 has finished its requests and gets no more"
        assert (world.stable(), world.weights()) == ("v1", {"v1": 1000})


async def test_without_a_live_gateway_nothing_begins_and_the_cure_is_told(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path) as world:
        with pytest.raises(Refused) as refused:
            await world.service.start("chat", "v2", actor="ann")
        assert refused.value.reasons == ("no gateway is live; start one: controlplane gateway -c fleet.yaml",)
        world.gateways[0].step(0)
        world.gateways[0].report(leaving=True)
        with pytest.raises(Refused, match="no gateway is live; start one"):
            await world.service.start("chat", "v2", actor="ann")


async def test_planning_names_every_reason(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2) as world:
        AssignmentStore(world.db).assign("chat", {"v1": 900, "v3": 100}, None, "rollout r-0", 0.0)
        for gateway in world.gateways:
            gateway.step(0)
        AssignmentStore(world.db).assign("chat", {"v1": 1000}, None, "rollout r-0", 0.0)
        world.gateways[0].step(0)
        world.engines["v2"].models = ["mistral"]
        url = world.engines["v2"].url
        with pytest.raises(Refused) as refused:
            await world.service.plan("chat", "v2")
        assert refused.value.reasons == (
            "gateway g2 applies generation 1, and 2 is assigned to chat; wait until it does",
            f"v2 is not ready on {url}: {url} serves mistral and not llama; set model: of the version",
        )


async def test_a_plan_says_what_will_happen(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, verification=ASKED) as world:
        world.gateways[0].step(0)
        plan = await world.service.plan("chat", "v2")
        assert step_sentences(plan) == (
            "have v2 ready beside v1 on gateway, within 1 min; it gets no requests yet",
            "ask v2 3 times with the question of `verify:` in fleet.yaml, within 2 s each; at most 0 bad answers are "
            "allowed; v1 stays loaded meanwhile",
            "send every request to v2 within 1 min, and wait until requests are counted there",
            "watch v2 for 5 s: it must serve without a break, and no alert may fire on it; it is rolled back when more "
            "than 5% of requests fail",
            "make v2 the stable version, also across a restart of the engine",
            "let v1 finish its requests and unload it where its server can, waiting at most 30 s",
        )


async def test_a_gateway_that_keeps_its_old_weights_is_waited_for_and_named(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2, verification=ASKED) as world:
        await world.start()
        world.gateways[1].follows = False
        await world.tick()
        await world.tick()
        for _ in range(10):
            assert await world.tick() == (
                "switching: v2 is getting requests on gateway: gateway g2 applies generation 0, and 1 is assigned to "
                "chat"
            )
        world.gateways[1].follows = True
        assert (await world.timeline())[-1].startswith("succeeded: v2 serves")


async def test_two_gateways_with_one_name_confirm_nothing(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2, verification=ASKED) as world:
        await world.start()
        world.gateways[1].name, world.gateways[1].incarnation = "g1", "i-2"
        for _ in range(3):
            await world.tick()
        for _ in range(10):
            assert await world.tick() == (
                "switching: v2 is getting requests on gateway: 2 processes report as gateway g1, so the weights that "
                "each applies are unknown; give each gateway a name of its own (gateway.name in its fleet.yaml) and "
                "restart it"
            )
        world.gateways[1].name = "g2"
        with world.db.transaction() as session:
            session.execute(text("UPDATE gateway SET seen_at = seen_at + 11 WHERE name = 'g1'"))
        world.gateways[0].reports = False
        assert (await world.timeline())[-1].startswith("succeeded: v2 serves")


async def test_a_gateway_that_never_follows_ends_the_switch_at_its_deadline(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2, verification=ASKED) as world:
        await world.start()
        world.gateways[1].follows = False
        lines = await world.timeline(most=200, seconds=5.0)
        assert world.weights() == {"v1": 1000}
        assert lines[-1] == (
            "failed: v2 did not get its requests on gateway within 60 s; now gateway g2 applies generation 0, and 1 is "
            "assigned to chat. Whether v1 serves again is unknown, and this needs a person: gateway g2 applies "
            "generation 0, and 2 is assigned to chat"
        )


async def test_a_gateway_that_dies_is_not_waited_for(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2, verification=ASKED) as world:
        await world.start()
        world.gateways[1].follows = False
        await world.tick()
        await world.tick()
        assert "g2 applies generation 0" in await world.tick()
        world.gateways[1].reports = False
        with world.db.transaction() as session:
            session.execute(text("UPDATE gateway SET seen_at = seen_at - 11 WHERE name = 'g2'"))
        assert (await world.timeline())[-1].startswith("succeeded: v2 serves")


async def test_all_gateways_gone_is_unknown_and_not_a_failure(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, verification=ASKED) as world:
        await world.start()
        while not (await world.tick()).startswith("verifying: v2 serves"):
            pass
        world.gateways[0].reports = False
        with world.db.transaction() as session:
            session.execute(text("UPDATE gateway SET seen_at = seen_at - 11"))
        for _ in range(5):
            assert await world.tick() == (
                "verifying: v2 serves, but cannot be verified while gateway does not answer: no gateway is live (g1 is "
                "silent); start one: controlplane gateway -c fleet.yaml"
            )
        world.gateways[0].reports = True
        assert (await world.timeline())[-1].startswith("succeeded: v2 serves")


async def test_a_rollback_is_assigned_even_while_no_gateway_is_live(tmp_path: Path) -> None:
    """The gateways that come back must not go on with the weights of a candidate that was given up."""
    async with GatewayWorld(tmp_path, verification=ASKED) as world:
        await world.start()
        while not (await world.tick()).startswith("verifying: v2 serves"):
            pass
        world.gateways[0].reports = False
        with world.db.transaction() as session:
            session.execute(text("UPDATE gateway SET seen_at = seen_at - 11"))
        await world.service.rollback("chat", actor="ann")
        await world.tick()
        assert world.weights() == {"v1": 1000}
        world.gateways[0].reports = True
        assert (await world.timeline())[
            -1
        ] == "rolled-back: Rollback by ann. v1 serves again (3 of 3 questions answered well)"


async def test_a_gateway_that_starts_anew_interrupts_nothing(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2, verification=ASKED) as world:
        await world.start()
        while not (await world.tick()).startswith("verifying: v2 serves"):
            pass
        world.gateways[0].restart()
        assert (await world.timeline())[-1].startswith("succeeded: v2 serves")


async def test_a_model_without_requests_is_switched_and_said_to_be_unconfirmed(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, verification=ASKED, requests=0) as world:
        await world.start()
        lines = without_times(await world.timeline())
        assert lines[2] == "verifying: v2 gets 100% of the requests on gateway; waiting for the first to be counted"
        assert lines[-1] == (
            "succeeded: v2 serves, v1 has finished its requests and gets no more; not confirmed by traffic, as no "
            "request was counted"
        )
        assert (await world.latest()).counted is False


async def test_the_old_version_finishes_its_streams_before_the_end(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2, verification=ASKED) as world:
        for gateway in world.gateways:
            gateway.open = {"v1": 3}
        await world.start()
        while not (line := await world.tick()).startswith("draining: v1 is finishing"):
            pass
        assert line == "draining: v1 is finishing 6 requests on gateway"
        for gateway in world.gateways:
            gateway.open = {}
        assert (await world.timeline())[-1] == "succeeded: v2 serves, v1 has finished its requests and gets no more"


async def test_streams_that_do_not_end_are_told_after_the_deadline(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, verification=ASKED) as world:
        world.gateways[0].open = {"v1": 1}
        await world.start()
        assert (await world.timeline(seconds=5.0))[-1] == (
            "succeeded: v2 serves; warning: after 30 s v1 is finishing 1 request on gateway"
        )


async def test_a_triton_behind_the_gateway_loads_before_it_gets_requests_and_unloads_after(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2, triton=True) as world:
        assert world.triton is not None
        await world.start()
        assert await world.tick() == "preparing: Loading v2 on gateway"
        assert world.triton.states == {1: "READY", 2: "READY"}
        assert world.weights() == {"v1": 1000}
        lines = await world.timeline()
        assert (
            lines[-1] == "succeeded: v2 serves, v1 has finished its requests and is unloaded; v2 is loaded, not tried"
        )
        assert world.triton.states == {1: "UNAVAILABLE", 2: "READY"}
        assert world.triton.loads == [[1, 2], [2]]
        assert world.weights() == {"v2": 1000}


async def test_a_triton_unloads_nothing_that_a_silent_gateway_may_still_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.traffic.gateway.driver.APPLY_S", 0.0)
    async with GatewayWorld(tmp_path, gateways=2, triton=True) as world:
        assert world.triton is not None
        await world.start()
        await world.tick()
        world.gateways[1].reports = False
        with world.db.transaction() as session:
            session.execute(text("UPDATE gateway SET seen_at = seen_at - 11 WHERE name = 'g2'"))
        lines = await world.timeline(seconds=2.0, most=100)
        assert world.triton.states == {1: "READY", 2: "READY"}
        assert lines[-1] == (
            "succeeded: v2 serves; v2 is loaded, not tried; warning: after 30 s v1 is still loaded on gateway: the "
            "weights are assigned and nothing is unloaded: gateway g2 is silent and may serve with its last weights"
        )


async def test_a_version_that_cannot_load_changes_no_weights(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, triton=True) as world:
        assert world.triton is not None
        world.triton.fails[2] = "Internal: out of memory"
        await world.start()
        lines = await world.timeline()
        assert lines[-1].startswith("failed: v2 could not be loaded")
        assert "out of memory" in lines[-1]
        assert lines[-1].endswith("v1 serves as before")
        assert world.weights() in ({}, {"v1": 1000})
        assert world.stable() == "v1"


@pytest.mark.parametrize("triton", [False, True], ids=["engines of their own", "a shared triton"])
@pytest.mark.parametrize("after", range(12))
async def test_a_crash_after_any_tick_only_costs_time(tmp_path: Path, after: int, triton: bool) -> None:
    verification = Verification() if triton else ASKED
    async with GatewayWorld(tmp_path, gateways=2, verification=verification, triton=triton) as world:
        await world.start()
        for _ in range(after):
            await world.tick()
        await world.crash()
        if not (await world.latest()).finished:
            await world.timeline()
        assert (await world.line()).startswith("succeeded: v2 serves, v1 has finished its requests")
        assert (world.stable(), world.weights()) == ("v2", {"v2": 1000})
        assert AssignmentStore(world.db).all()["chat"].generation <= 2


def weight_steps(setting: Setting) -> Iterator[Step]:
    assert setting.apart
    limits = setting.limits
    steps = [Step(StepKind.BRING_UP, verb=Verb.PLACE, weight=0.0, within_s=limits.load_s), Step(StepKind.ASK)]
    for share in (0.05, 0.25, 1.0):
        steps.append(Step(StepKind.SHIFT, verb=Verb.PLACE, weight=share, within_s=limits.load_s))
        steps.append(Step(StepKind.WATCH, hold_s=limits.verify_s, gate=Gate.EVIDENCE))
    steps.append(Step(StepKind.COMMIT, verb=Verb.COMMIT))
    steps.append(Step(StepKind.RETIRE, verb=Verb.PLACE, within_s=limits.drain_s))
    yield from steps


@pytest.fixture
def stepwise(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {**STRATEGIES, "canary": Strategy("canary", weight_steps)}
    monkeypatch.setattr(strategies, "STRATEGIES", steps)


@pytest.mark.usefixtures("stepwise")
async def test_a_plan_with_weight_steps_raises_the_share_step_by_step(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, gateways=2, verification=ASKED) as world:
        await world.start(strategy="canary")
        seen: list[tuple[str, dict[str, int]]] = []
        while not (await world.latest()).finished:
            await world.tick()
            now = ((await world.latest()).phase.value, world.weights())
            seen += [now] if not seen or seen[-1] != now else []
        assert seen == [
            ("preparing", {}),
            ("switching", {"v1": 950, "v2": 50}),
            ("switching", {"v1": 750, "v2": 250}),
            ("switching", {"v2": 1000}),
            ("verifying", {"v2": 1000}),
            ("draining", {"v2": 1000}),
            ("succeeded", {"v2": 1000}),
        ]
        told = await world.history()
        assert any("v2 serves 5% of the requests on gateway" in line for line in told)
        assert any("v2 serves 25% of the requests on gateway" in line for line in told)
        assert world.stable() == "v2"


@pytest.mark.usefixtures("stepwise")
async def test_a_bad_candidate_goes_back_from_its_first_share(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, verification=ASKED) as world:
        await world.start(strategy="canary")
        while world.weights() != {"v1": 950, "v2": 50}:
            await world.tick()
        world.evidence = Evidence(requests=50.0, failed=50.0, source="gateway")
        lines = await world.timeline()
        assert lines[-1].startswith("rolled-back: 50 of 50 requests to v2 failed")
        assert (world.weights(), world.stable()) == ({"v1": 1000}, "v1")


@pytest.mark.usefixtures("stepwise")
@pytest.mark.parametrize("after", range(0, 26, 2))
async def test_a_crash_between_weight_steps_goes_on_where_it_was(tmp_path: Path, after: int) -> None:
    async with GatewayWorld(tmp_path, verification=ASKED) as world:
        await world.start(strategy="canary")
        for _ in range(after):
            await world.tick()
        before = world.weights()
        await world.crash()
        await world.tick()
        assert world.weights().get("v2", 0) >= before.get("v2", 0)
        if not (await world.latest()).finished:
            await world.timeline()
        assert (world.stable(), world.weights()) == ("v2", {"v2": 1000})
        assert AssignmentStore(world.db).all()["chat"].generation == 3


async def test_weights_that_gateways_do_not_apply_are_told_without_a_rollout(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, verification=ASKED) as world:
        await world.start()
        await world.timeline()
        world.gateways[0].follows = False
        AssignmentStore(world.db).assign("chat", {"v2": 900, "v3": 100}, None, "somebody", 0.0)
        AssignmentStore(world.db).assign("chat", {"v2": 1000}, None, "somebody", 0.0)
        await world.tick()
        assert world.drift() == "gateway g1 applies generation 1, and 3 is assigned to chat"
        world.gateways[0].follows = True
        await world.tick()
        assert world.drift() == ""
        AssignmentStore(world.db).assign("chat", {"v2": 900, "v3": 100}, None, "somebody", 0.0)
        await world.tick()
        assert world.drift().startswith("The stable version of chat is v2, but gateway serves v2 90% and v3 10%.")


async def test_a_candidate_whose_only_engine_fails_its_health_check_goes_back(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path, verification=ASKED) as world:
        await world.start()
        while not (await world.tick()).startswith("verifying: v2 serves"):
            pass
        world.engines["v2"].health = 500
        line = await world.tick()
        assert line.startswith("rolling-back: v2 stopped serving on gateway while it was being verified")
        assert f"{world.engines['v2'].url}/health answers 500" in line
        assert world.weights() == {"v1": 1000}


async def test_a_database_that_is_away_is_unknown(tmp_path: Path) -> None:
    async with GatewayWorld(tmp_path) as world:
        world.gateways[0].step(0)
        (seen,) = (await world.driver.observe()).backends
        assert (seen.reachable, seen.weights, seen.pending) == (True, {"v1": 1.0}, "")
        await asyncio.to_thread(world.db.close)
        (tmp_path / "cp.db").rename(tmp_path / "away.db")
        (seen,) = (await world.driver.observe()).backends
        assert not seen.reachable
        assert "database" in seen.error
        (tmp_path / "cp.db").unlink(missing_ok=True)
        (tmp_path / "away.db").rename(tmp_path / "cp.db")
