"""A retry by another person: what is copied stays its author's, and what was for its moment is not copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.config.rollout.section import RolloutsSection
from controlplane.errors import Refused
from controlplane.rollout.planning.overrides import Overrides
from controlplane.store.audit import AuditStore
from tests.fakes.rollout_world import START
from tests.fakes.rollouts.strategy_world import StrategyWorld
from tests.unit.controlplane.rollout.planning.planner_rig import FREEZE


async def test_an_attestation_keeps_its_author_and_time_over_retries(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"checklist": ["scan"]}) as world:
        world.driver.bad = {"v2"}
        overrides = Overrides(attest={"scan": "ticket 7"})
        first = await world.service.start("m", "v2", overrides=overrides, actor="ann", role="operator")
        assert (await world.finish()).ok is False
        origin = f"attested by ann at 1970-01-12 13:46 UTC for rollout {first.id}"
        for actor in ("bob", "eve"):
            retried = await world.service.retry((await world.latest()).id, actor=actor)
            assert retried.plan.options.checklist[0].attested == f"ticket 7 ({origin})"
            note = f"scan was {origin}, copied by {actor}: ticket 7"
            assert retried.plan.options.notes == (note,)
            audited = [(e.actor, e.detail) for e in AuditStore(world.db).recent(3) if e.action == "rollout.option"]
            assert audited == [(actor, f"rollout {retried.id}: {note}")]
            assert (await world.finish()).ok is False


async def test_an_override_of_a_freeze_is_not_copied(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path) as world:
        frozen = RolloutsSection.model_validate(FREEZE)
        world.service.update(world.sections, world.drivers, {"m": world.verification}, shared=frozen)
        world.driver.bad = {"v2"}
        overrides = Overrides(override_freeze="outage 12")
        first = await world.service.start("m", "v2", overrides=overrides, actor="ann", role="admin")
        assert (await world.finish()).ok is False
        with pytest.raises(Refused, match="freeze window feast holds until"):
            await world.service.retry(first.id, actor="bob", role="admin")
        assert world.clock.now() > START
