"""Rollouts on a fake Triton that misbehaves: all sentences that an operator would read, second by second."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.rollout.model import Phase
from controlplane.traffic.driver import TrafficObservation
from tests.fakes.rollout_world import World

LOADED = (
    "draining: v2 is loaded, not tried (fleet.yaml has neither a `verify:` nor a probe for this model, and its "
    "numbers could not be read: no metrics were queried); making it survive a restart"
)


async def stable(world: World) -> tuple[str, str | None]:
    status = await world.service.model("model")
    return status.stable, status.previous


async def test_a_promotion_second_by_second(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        assert await world.line() == "planned: ann asked to promote model from v1 to v2"
        assert await world.tick() == "preparing: Loading v2 on A"
        assert world.triton.loads == [[1, 2]]
        assert await world.tick() == "verifying: v2 serves on A; it must serve without a break for 5 s"
        assert await stable(world) == ("v1", None)
        assert await world.tick(4.9) == "verifying: v2 serves on A; it must serve without a break for 5 s"
        assert await world.tick(0.1) == LOADED
        assert (await world.latest()).switched
        assert await stable(world) == ("v2", "v1")
        assert await world.tick() == "draining: Unloading v1 on A as soon as its requests are finished"
        assert world.triton.loads == [[1, 2], [2]]
        assert await world.tick() == "draining: v1 is finishing its requests on A"
        assert (
            await world.tick()
            == "succeeded: v2 serves, v1 has finished its requests and is unloaded; v2 is loaded, not tried"
        )
        assert (await world.latest()).ok is True
        assert world.triton.states == {1: "UNAVAILABLE", 2: "READY"}


async def test_a_rollback_goes_to_the_previous_version_and_cannot_be_repeated_by_accident(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.finish()
        rollout = await world.service.rollback("model", actor="bob")
        assert (rollout.plan.from_version, rollout.plan.to_version, rollout.plan.resident) == ("v2", "v1", False)
        assert (await world.service.rollback("model", actor="bob")).id == rollout.id
        assert await world.tick() == "preparing: Loading v1 on A"
        assert world.triton.loads[-1] == [1]
        assert (await world.finish()).ok is True
        assert await stable(world) == ("v1", None)
        assert world.triton.serving == 1
        with pytest.raises(Exception, match="model has nothing to roll back to: v1 is the first version or"):
            await world.service.rollback("model", actor="bob")


async def test_a_slow_load_is_waited_for_while_the_old_version_serves(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.hold_loads()
        await world.promote()
        await world.tick(settle=False)
        for _ in range(5):
            assert await world.tick(10, settle=False) == "preparing: v2 is loading on A; v1 serves meanwhile"
        assert world.triton.loads == [[1, 2]]
        world.triton.finish_loads()
        await world.settle()
        assert (await world.finish()).ok is True


async def test_a_load_that_takes_too_long_is_given_up_and_undone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.hold_loads()
        await world.promote()
        await world.tick(settle=False)
        await world.tick(60, settle=False)
        assert await world.tick(1, settle=False) == (
            "rolling-back: v2 was not ready on A within 60 s; now v2 is loading. Rolling back to v1: ordering v1 on A"
        )
        await world.tick(1, settle=False)
        assert world.triton.loads == [[1, 2], [1]]
        world.triton.finish_loads()
        latest = await world.finish()
        assert latest.phase is Phase.FAILED
        assert latest.sentence == (
            f"v2 was not ready on {world.triton.url} within 60 s; now v2 is loading. v1 serves as before"
        )
        assert world.triton.serving == 1
        assert await stable(world) == ("v1", None)


@pytest.mark.parametrize("by", [1.0, -1.0, 30.0, -30.0, 300.0, -300.0, 3600.0, -3600.0])
async def test_a_clock_that_is_set_moves_no_deadline(tmp_path: Path, by: float) -> None:
    async with World(tmp_path) as world:
        world.triton.hold_loads()
        await world.promote()
        await world.tick(settle=False)
        await world.tick(30, settle=False)
        world.clock.time += by
        world.engine.clock_was_set(by)
        assert "loading" in await world.tick(29, settle=False)
        assert (await world.tick(2, settle=False)).startswith("rolling-back: v2 was not ready on A within 60 s")
        world.triton.finish_loads()
        assert (await world.finish()).phase is Phase.FAILED


async def test_a_failed_load_ends_the_rollout_with_the_engines_own_words(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.fails[2] = "Internal: RuntimeError: weights are corrupt"
        await world.promote()
        await world.tick()
        line = await world.tick()
        assert line.startswith(
            "failed: v2 could not be loaded: A answered: load failed for model 'model': version 2 is at UNAVAILABLE "
            "state: Internal: RuntimeError: weights are corrupt. Triton's /v2/health/ready now answers 400 until"
        )
        assert "--strict-readiness=false" in line
        assert line.endswith("v1 serves as before")
        assert world.triton.loads == [[1, 2]]
        assert world.triton.serving == 1


async def test_an_old_failure_in_the_index_does_not_fail_a_new_attempt(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.fails[2] = "Internal: out of memory"
        await world.promote()
        assert (await world.finish()).phase is Phase.FAILED
        del world.triton.fails[2]
        await world.promote()
        assert (await world.finish()).ok is True


async def test_a_lost_reply_is_not_a_failure(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.hold_loads()
        world.triton.drop_replies = 1
        await world.promote()
        await world.tick()
        assert await world.tick() == "preparing: v2 is loading on A; v1 serves meanwhile"
        world.triton.finish_loads()
        assert (await world.finish()).ok is True
        assert world.triton.loads == [[1, 2], [2]]


async def test_an_order_that_never_arrived_is_given_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.swallow = 2
        await world.promote()
        await world.tick()
        assert (await world.tick()).startswith("preparing: Loading v2 on A again: the reply was lost (A did not answer")
        await world.tick()
        assert (await world.finish()).ok is True
        assert world.triton.loads == [[1, 2], [1, 2], [1, 2], [2]]


async def test_200_without_loading_is_found_out_by_the_index(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.service.start("model", "v9", actor="ann")
        await world.tick()
        assert (
            await world.tick() == "preparing: Loading v9 on A again: the order was answered 200, and v9 is unavailable"
        )
        await world.tick()
        assert await world.tick() == (
            "failed: A answered 200 to 3 load orders but v9 is unavailable: the version's directory may be missing "
            "there, or something else unloads it. v1 serves as before"
        )


async def test_ready_in_the_index_is_not_enough(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.not_ready = {2}
        await world.promote()
        await world.tick()
        assert await world.tick() == "preparing: v2 is loading on A; v1 serves meanwhile"
        world.triton.not_ready = set()
        assert (await world.finish()).ok is True


async def test_unreachable_while_loading_is_neither_ready_nor_failed(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        world.triton.reachable = False
        for _ in range(5):
            assert (await world.tick(10)).startswith(
                "preparing: Waiting for A, whose state is unknown: A did not answer"
            )
        world.triton.reachable = True
        assert await world.tick() == "verifying: v2 serves on A; it must serve without a break for 5 s"


async def test_something_else_answering_is_unknown_too(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        world.triton.garbage = True
        line = await world.tick()
        assert line.startswith("preparing: Waiting for A, whose state is unknown: A answered the repository index with")
        assert "not JSON: '<html>502 Bad Gateway</html>'" in line


async def test_unreachable_while_verifying_restarts_the_wait(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        await world.tick()
        world.triton.reachable = False
        assert (await world.tick(10)).startswith("verifying: v2 serves, but cannot be verified while A does not answer")
        world.triton.reachable = True
        assert await world.tick(1) == "verifying: v2 serves on A; it must serve without a break for 5 s"
        assert await world.tick(4) == "verifying: v2 serves on A; it must serve without a break for 5 s"
        world.triton.reachable = False
        await world.tick(40)
        world.triton.reachable = True
        assert (await world.finish()).ok is True


async def test_a_server_that_never_comes_back_ends_in_words_not_in_a_guess(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        await world.tick()
        world.triton.reachable = False
        await world.tick()
        await world.tick(60)
        assert "Rolling back to v1: A does not answer, what it serves is unknown" in await world.tick(1)
        line = await world.tick(61)
        assert line.startswith("failed: v2 could not be verified within 60 s: A did not answer")
        assert (
            "Whether v1 serves again is unknown, and this needs a person: A does not answer, what it serves is" in line
        )
        assert await stable(world) == ("v1", None)


async def test_a_version_that_dies_while_it_is_verified_is_rolled_back_at_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        await world.tick()
        world.triton.states[2] = "UNAVAILABLE"
        world.triton.reasons[2] = "out of memory"
        assert await world.tick() == (
            "rolled-back: v2 stopped serving on A while it was being verified: v2 is unavailable (out of memory). "
            "v1 serves again"
        )
        assert world.triton.serving == 1
        assert await stable(world) == ("v1", None)


async def test_a_server_that_restarts_while_verifying_comes_back_with_its_disk(tmp_path: Path) -> None:
    """The override was in memory only, and config.pbtxt still names v1: the engine must detect that."""
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        await world.tick()
        world.triton.restart()
        assert (await world.tick()).startswith("rolled-back: v2 stopped serving on A while it was being verified")
        assert await world.phases() == ["planned", "preparing", "verifying", "rolled-back"]


async def test_a_stuck_unload_ends_as_succeeded_with_a_warning(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.stuck_unloading = True
        await world.promote()
        for _ in range(10):
            await world.tick()
        assert await world.line() == "draining: v1 is finishing its requests on A"
        assert await world.tick(31) == (
            "succeeded: v2 serves; v2 is loaded, not tried; warning: after 30 s v1 is finishing its requests on A"
        )


async def test_a_load_that_races_an_unload_is_repeated(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.race_unload = 1
        await world.promote()
        await world.tick()
        assert await world.tick() == "preparing: Loading v2 on A again: the order was answered 200, and v2 is unloading"
        assert (await world.finish()).ok is True


async def test_someone_elses_change_is_said_but_not_undone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.finish()
        world.triton.restart()
        await world.engine.tick(world.clock.now())
        status = await world.service.model("model")
        assert status.drift == (
            f"The stable version of model is v2, but {world.triton.url} serves v1. No rollout of this control plane "
            "did that; it changes nothing by itself: promote the version that is wanted"
        )
        assert world.triton.loads == [[1, 2], [2]]
        await world.service.rollback("model", actor="ann")
        assert (await world.finish()).ok is True
        await world.engine.tick(world.clock.now())
        status = await world.service.model("model")
        assert (status.stable, status.drift) == ("v1", "")


async def test_abort_while_loading_moves_no_traffic(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.hold_loads()
        rollout = await world.promote()
        await world.tick(settle=False)
        await world.tick(settle=False)
        await world.service.abort(rollout.id, actor="bob")
        await world.service.abort(rollout.id, actor="bob")
        assert (await world.tick(settle=False)) == "rolling-back: Aborted by bob. Rolling back to v1: ordering v1 on A"
        world.triton.finish_loads()
        latest = await world.finish()
        assert (latest.phase, latest.sentence) == (Phase.FAILED, "Aborted by bob. v1 serves as before")
        assert world.triton.loads == [[1, 2], [1]]
        assert world.triton.serving == 1


async def test_abort_before_anything_happened(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        rollout = await world.promote()
        await world.service.abort(rollout.id, actor="bob")
        assert await world.tick() == "failed: Aborted by bob. Nothing was changed"
        assert world.triton.loads == []


async def test_rollback_while_verifying_and_while_draining(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        await world.tick()
        await world.service.rollback("model", actor="bob")
        assert await world.tick() == "rolling-back: Rollback by bob. Rolling back to v1: ordering v1 on A"
        assert await world.tick() == "rolled-back: Rollback by bob. v1 serves again"
        await world.lift()
        await world.promote()
        for _ in range(8):
            await world.tick()
        assert (await world.latest()).phase is Phase.DRAINING
        assert await stable(world) == ("v2", "v1")
        with pytest.raises(Exception, match="has switched model to v2 already and is draining; `cp rollback model`"):
            await world.service.abort((await world.latest()).id, actor="bob")
        await world.service.rollback("model", actor="bob")
        assert (await world.finish()).sentence == "Rollback by bob. v1 serves again"
        assert await stable(world) == ("v1", None)
        assert (world.triton.serving, world.triton.loads[-1]) == (1, [1])


async def test_two_servers_are_switched_one_after_another(tmp_path: Path) -> None:
    async with World(tmp_path, backends=2) as world:
        await world.promote()
        assert await world.tick() == "preparing: Loading v2 on A"
        assert await world.tick() == "switching: Loading v2 on B"
        assert [s.serving for s in world.servers] == [2, 2]
        assert await world.tick() == "verifying: v2 serves on all 2 backends; it must serve without a break for 5 s"
        assert (await world.finish()).ok is True
        assert [s.loads for s in world.servers] == [[[1, 2], [2]]] * 2


async def test_the_first_server_that_fails_stops_the_rollout_and_the_switched_ones_go_back(tmp_path: Path) -> None:
    async with World(tmp_path, backends=3) as world:
        world.servers[1].fails[2] = "Internal: CUDA out of memory"
        await world.promote()
        latest = await world.finish()
        assert latest.phase is Phase.ROLLED_BACK
        assert latest.sentence.endswith("v1 serves again")
        assert "CUDA out of memory" in latest.sentence
        assert [s.serving for s in world.servers] == [1, 1, 1]
        assert [s.loads for s in world.servers] == [[[1, 2], [1]], [[1, 2]], []]
        assert await stable(world) == ("v1", None)


async def test_one_unreachable_server_holds_the_rollout_and_is_not_switched_blindly(tmp_path: Path) -> None:
    async with World(tmp_path, backends=2) as world:
        await world.promote()
        await world.tick()
        world.servers[1].reachable = False
        assert (await world.tick()).startswith("switching: Waiting for B, whose state is unknown")
        assert world.servers[1].loads == []
        world.servers[1].reachable = True
        assert (await world.finish()).ok is True


async def test_a_rollout_whose_model_leaves_the_configuration_says_so_and_goes_on_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        world.engine.update({}, {})
        waiting = "preparing: Waiting: model is no longer a model of fleet.yaml that can be switched; nothing moves"
        assert await world.tick() == waiting
        assert await world.tick() == waiting
        world.engine.update({"model": world.section}, {"model": world.driver})
        assert await world.tick() == "verifying: v2 serves on A; it must serve without a break for 5 s"
        view = await world.service.show((await world.latest()).id)
        assert [event.sentence for event in view.events].count(waiting.removeprefix("preparing: ")) == 1
        assert (await world.finish()).ok is True


async def test_a_driver_that_was_closed_by_a_reload_leaves_the_state_unknown(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.driver.close()
        (backend,) = (await world.driver.observe()).backends
        assert not backend.reachable
        assert "the configuration has just changed" in backend.error


async def test_a_control_plane_that_was_away_for_the_whole_drain_still_unloads_the_old_version(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        while "making it survive" not in await world.tick():
            pass
        await world.crash()
        assert await world.tick(3600) == LOADED
        assert await world.tick() == "draining: Unloading v1 on A as soon as its requests are finished"
        assert (await world.finish()).ok is True
        assert world.triton.states == {1: "UNAVAILABLE", 2: "READY"}


async def test_a_reply_that_comes_while_observing_is_not_held_against_what_was_seen_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The observation is older than the reply. Combined, the two would look like a call without effect."""
    async with World(tmp_path) as world:
        world.triton.hold_orders()
        await world.promote()
        await world.tick(settle=False)
        observe = world.driver.observe

        async def reply_comes_meanwhile() -> TrafficObservation:
            seen = await observe()
            world.triton.take_orders()
            await world.settle()
            return seen

        with monkeypatch.context() as patched:
            patched.setattr(world.driver, "observe", reply_comes_meanwhile)
            assert await world.tick() == "preparing: v2 is loading on A; v1 serves meanwhile"
        assert (await world.finish()).ok is True
        assert world.triton.loads == [[1, 2], [2]], "the order was given once"
