"""The service on a real database: idempotency, races, audit, revisions, and what it shows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controlplane.errors import Conflict, LeaseLost, NotFound, Refused
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.model import Phase, Rollout
from controlplane.rollout.stored import records
from controlplane.rollout.stored.observations import observation_from_json, observation_to_json
from controlplane.store.audit import AuditStore
from controlplane.store.lease import LeaseStore
from controlplane.store.revision import RevisionStore
from controlplane.traffic.driver import VersionState
from tests.fakes.rollout_world import START, World


async def test_planning_changes_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        plan = await world.service.plan("model", "v2")
        assert (plan.from_version, plan.to_version, plan.resident) == ("v1", "v2", True)
        assert await world.service.list() == []
        assert world.triton.loads == []
        with pytest.raises(Refused, match="nothing to roll back to"):
            await world.service.plan_rollback("model")


async def test_the_same_key_gives_the_same_rollout_even_after_its_end(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        first = await world.service.start("model", "v2", actor="ann", idempotency_key="k1")
        again = await world.service.start("model", "v2", actor="ann", idempotency_key="k1")
        assert again == first
        await world.finish()
        again = await world.service.start("model", "v2", actor="ann", idempotency_key="k1")
        assert (again.id, again.phase) == (first.id, Phase.SUCCEEDED)
        with pytest.raises(Conflict, match="idempotency key 'k1' was used for another request"):
            await world.service.start("model", "v3", actor="ann", idempotency_key="k1")
        back = await world.service.rollback("model", actor="ann", idempotency_key="k2")
        await world.finish()
        assert (await world.service.rollback("model", actor="ann", idempotency_key="k2")).id == back.id


async def test_two_starts_at_once_are_one_rollout(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        start = world.service.start
        same = await asyncio.gather(*(start("model", "v2", actor="ann", idempotency_key="k") for _ in range(3)))
        assert len({rollout.id for rollout in same}) == 1
        with pytest.raises(Refused, match=f"rollout {same[0].id} of model to v2 is running"):
            await start("model", "v3", actor="bob")


async def test_a_repeat_that_is_planned_while_the_first_is_recorded_is_the_same_rollout(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        look, seen, recorded = world.service._repeated, asyncio.Event(), asyncio.Event()

        async def looks_too_early(idempotency_key: str | None, request: str) -> Rollout | None:
            found = await look(idempotency_key, request)
            if not seen.is_set():
                seen.set()
                await recorded.wait()
            return found

        world.service._repeated = looks_too_early  # type: ignore[method-assign]  # the moment between two reads
        late = asyncio.create_task(world.service.start("model", "v2", actor="ann", idempotency_key="k"))
        await seen.wait()
        first = await world.service.start("model", "v2", actor="ann", idempotency_key="k")
        recorded.set()
        assert (await late).id == first.id


async def test_two_different_starts_at_once_leave_one_conflict(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        starts = [world.service.start("model", v, actor="ann") for v in ("v2", "v3")]
        results = await asyncio.gather(*starts, return_exceptions=True)
        # Refused where the other was recorded before this one was planned, Conflict where it was after.
        assert sorted(type(r).__name__ for r in results) in (["Conflict", "Rollout"], ["Refused", "Rollout"])


async def test_everything_is_audited_and_revised(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        rollout = await world.promote()
        await world.finish()
        done = [(e.actor, e.action, e.subject) for e in reversed(AuditStore(world.db).recent(10))]
        assert done == [
            ("ann", "rollout.promote", "model/model"),
            ("rollout-engine", "rollout.finish", "model/model"),
        ]
        touched = {(r.kind, r.ref) for r in RevisionStore(world.db).since(0)}
        assert touched == {("rollouts", rollout.id), ("models", "model")}


async def test_observe_only_refuses_every_act(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.observe_only = True
    async with world:
        with pytest.raises(Refused, match="only observes"):
            await world.promote()
        with pytest.raises(Refused, match="only observes"):
            await world.service.abort("r-1", actor="ann")
        assert (await world.service.model("model")).can_promote is False
        assert (await world.service.plan("model", "v2")).steps  # asking what it would do is no act


async def test_what_a_model_looks_like_before_and_after_the_first_tick(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        before = await world.service.model("model")
        assert (before.stable, before.observation, before.observed_at) == ("v1", None, None)
        await world.engine.tick(START + 7)
        (after,) = await world.service.models()
        assert after == await world.service.model("model")
        assert after.observed_at == START + 7
        assert after.observation is not None
        assert after.observation.backend(world.triton.url).versions["v1"] is VersionState.READY
        assert after.can_promote is True
        await world.promote()
        during = await world.service.model("model")
        assert during.rollout is not None
        assert during.can_promote is False


async def test_fleet_yaml_only_seeds_a_fresh_database(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.finish()
        await world.crash()
        assert world.section.stable == "v1"
        assert (await world.service.model("model")).stable == "v2"


async def test_unknown_names(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        for asked in (
            world.service.plan("chat", "v2"),
            world.service.start("chat", "v2", actor="ann"),
            world.service.rollback("chat", actor="ann"),
            world.service.model("chat"),
            world.service.list("chat"),
            world.service.show("r-0"),
            world.service.abort("r-0", actor="ann"),
        ):
            with pytest.raises(NotFound, match="there is no"):
                await asked


async def test_aborting_what_has_ended_is_a_conflict(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        rollout = await world.promote()
        await world.finish()
        with pytest.raises(Conflict, match=r"has ended \(succeeded: v2 serves"):
            await world.service.abort(rollout.id, actor="ann")


async def test_an_engine_without_its_lease_writes_and_orders_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        leases = LeaseStore(world.db)
        lease = leases.acquire("rollouts", "one", 60)
        engine = RolloutEngine(world.db, {"model": world.section}, {"model": world.driver}, lease=lambda: lease)
        await engine.tick(START)
        await world.promote()
        assert lease is not None
        leases.release(lease)
        leases.acquire("rollouts", "two", 60)
        with pytest.raises(LeaseLost):
            await engine.tick(START + 1)
        assert world.triton.loads == []
        assert (await world.latest()).phase is Phase.PLANNED
        await engine.close()


async def test_past_its_deadline_an_engine_orders_nothing_and_what_it_wrote_down_is_ordered_later(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        seconds = [0.0]
        leases = LeaseStore(world.db, lambda: seconds[0])
        lease = leases.acquire("rollouts", "one", 60)
        assert lease is not None
        engine = RolloutEngine(world.db, {"model": world.section}, {"model": world.driver}, lease=lambda: lease)
        await engine.tick(START)
        await world.promote()
        seconds[0] += 48  # four fifths of the lease: another process may soon hold it
        for second in range(1, 6):
            await engine.tick(START + second)
        assert world.triton.loads == []
        leases.renew(lease, 60)
        for second in range(6, 12):
            await engine.tick(START + second)
        assert len(world.triton.loads) == 1
        await engine.close()


async def test_rollouts_and_observations_survive_the_database_unchanged(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        latest = await world.latest()
        assert latest.intents
        assert records.from_record(records.to_record(latest)) == latest
        seen = await world.driver.observe()
        assert observation_from_json(observation_to_json(seen)) == seen


async def test_a_fault_in_a_driver_ends_in_the_history_not_in_the_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("url")

    async with World(tmp_path) as world:
        monkeypatch.setattr(world.driver, "place", broken)
        await world.promote()
        await world.tick()
        assert await world.tick() == (
            "preparing: Loading v2 on A again: the reply was lost (KeyError: 'url'), and v2 is unavailable"
        )
