"""Rollouts that another release stored, or that are damaged: read where they can be, and nobody else's trouble."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from controlplane.errors import Conflict, Unreadable
from controlplane.rollout.records import FORMAT
from controlplane.store.tables.rollouts import RolloutRow
from tests.fakes.rollout_world import World

State = dict[str, Any]


def edit(world: World, change: Callable[[State], State]) -> None:
    with world.db.transaction() as session:
        row = session.exec(select(RolloutRow)).one()
        row.state = change(dict(row.state))


def without(*names: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if name not in names}


async def test_a_rollout_of_before_formats_were_counted_goes_on_to_its_end(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        new = ("format", "known", "check", "endless_load", "trials", "verified", "evidence")
        edit(world, without(*new, "needs_person", "told_stuck", "standing"))
        await world.crash()
        assert (await world.finish()).ok is True
        with world.db.reading() as session:
            assert session.exec(select(RolloutRow)).one().state["format"] == FORMAT


DAMAGE: dict[str, tuple[Callable[[State], State], str]] = {
    "a key is missing": (without("steps"), "KeyError: 'steps'"),
    "a part is of another kind": (lambda state: state | {"limits": {"unheard_of": 1}}, "TypeError"),
    "it is of a newer release": (
        lambda state: state | {"format": FORMAT + 1},
        f"it is of format {FORMAT + 1}, and this release knows {FORMAT}",
    ),
    "the format is no number": (lambda state: state | {"format": "new"}, "ValueError"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE)
async def test_a_rollout_that_cannot_be_read_stands_still_and_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[State], State], told: str
) -> None:
    async with World(tmp_path) as world:
        started = await world.promote()
        edit(world, damage)
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                world.clock.time += 1
                await world.engine.tick(world.clock.now())
        (line,) = [record.getMessage() for record in caplog.records]
        assert (
            line.startswith(f"rollout {started.id} of model model cannot be read and is left as it is") and told in line
        )
        # The model is watched on, and what can be listed is listed.
        assert (await world.service.model("model")).observed_at == world.clock.now()
        assert not (await world.service.model("model")).can_promote
        assert await world.service.list() == []
        assert world.service.attention() == ()
        with pytest.raises(Unreadable, match=started.id):
            await world.service.show(started.id)
        # Nothing begins beside it.
        with pytest.raises((Conflict, Unreadable), match=started.id):
            await world.promote("v3")


async def test_a_rollout_that_can_be_read_again_goes_on(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        kept: list[State] = []
        edit(world, lambda state: kept.append(state) or without("steps")(state))  # type: ignore[func-returns-value]
        world.clock.time += 1
        await world.engine.tick(world.clock.now())
        edit(world, lambda _: kept[0])
        assert (await world.finish()).ok is True
