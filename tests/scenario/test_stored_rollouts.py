"""Stored rollouts of another release, or damaged ones: they are read if possible, and never disturb other models."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import select

from controlplane.errors import Conflict, Unreadable
from controlplane.rollout.attention import Need
from controlplane.rollout.model import Phase
from controlplane.rollout.stored.records import FORMAT
from controlplane.store.audit import AuditStore
from controlplane.store.tables.rollouts import ModelStateRow, RolloutRow
from tests.fakes.rollout_world import World

State = dict[str, Any]


def edit(world: World, change: Callable[[State], State]) -> None:
    with world.db.transaction() as session:
        row = session.exec(select(RolloutRow).where(RolloutRow.model == "model", RolloutRow.finished_at == None)).one()  # noqa: E711 - SQL
        row.state = change(dict(row.state))


def write_no_json(world: World) -> None:
    """Store a text that is not JSON: SQLite does not check it, and a damaged disk may return it."""
    with world.db.transaction() as session:
        session.execute(text("UPDATE rollout SET state = '{\"format\": 1, \"steps\"' WHERE model = 'model'"))


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
    "the format is no number": (lambda state: state | {"format": "new"}, "its format is 'new' and not a number"),
    "a value is of another type": (
        lambda state: state | {"limits": state["limits"] | {"load_s": "a"}},
        "plan.limits.load_s is 'a' and not a number",
    ),
    "a list is a text": (lambda state: state | {"steps": "abc"}, "'abc' is not a list"),
    "a word is unknown": (
        lambda state: state | {"intents": [{"order": {"verb": "dance", "backend": "b", "serve": "v2", "keep": []}}]},
        "'dance' is not a valid Verb",
    ),
    "a key is unknown": (lambda state: state | {"weights": {}}, "this release does not know weights"),
    "it is a list": (lambda state: list(state), "and not an object"),  # type: ignore[return-value,dict-item]
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
        # The model is still watched, and the readable rollouts are listed.
        assert (await world.service.model("model")).observed_at == world.clock.now()
        assert not (await world.service.model("model")).can_promote
        (shown,) = await world.service.list()
        assert shown.rollout.id == started.id
        assert told in shown.rollout.sentence
        assert (await world.service.show(started.id)).rollout == shown.rollout
        (needs,) = world.service.attention()
        assert (needs.model, needs.rollout, needs.need) == ("model", started.id, Need.PERSON)
        assert f"cp rollouts close {started.id}" in needs.sentence
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


async def tick(world: World) -> None:
    world.clock.time += 1
    await world.engine.tick(world.clock.now())
    await world.settle()


def write_no_time(world: World) -> None:
    """SQLite reads a number that is too large for a float as infinity."""
    with world.db.transaction() as session:
        session.execute(text("UPDATE rollout SET created_at = 1e999 WHERE model = 'model'"))


@pytest.mark.parametrize("damage", [write_no_json, write_no_time])
async def test_the_rollouts_of_other_models_go_on(tmp_path: Path, damage: Callable[[World], None]) -> None:
    async with World(tmp_path, another=True) as world:
        standing, going = await world.promote(), await world.promote(model="another")
        damage(world)
        for _ in range(60):
            await tick(world)
        listed = {found.rollout.id: found.rollout for found in await world.service.list()}
        assert listed[going.id].phase is Phase.SUCCEEDED
        assert [needs.rollout for needs in world.service.attention()] == [standing.id]
        assert [seen.stable for seen in await world.service.models()] == ["v1", "v2"]
        assert world.triton.loads == []


async def test_a_rollout_that_cannot_be_read_is_closed_by_an_operator_and_another_one_begins(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        started = await world.promote()
        with pytest.raises(Conflict, match="can be read; `cp rollouts abort` undoes it"):
            await world.service.close(started.id, actor="bob")
        write_no_json(world)
        await tick(world)
        with pytest.raises(Unreadable, match=f"cp rollouts close {started.id}"):
            await world.service.abort(started.id, actor="bob")
        with pytest.raises(Unreadable, match=f"cp rollouts close {started.id}"):
            await world.service.rollback("model", actor="bob")

        closed = await world.service.close(started.id, actor="bob")

        assert (closed.phase, closed.finished, closed.ok) == (Phase.FAILED, True, False)
        assert closed.sentence.startswith("Closed by bob because it could not be read; nothing was ordered")
        assert [e.sentence for e in (await world.service.show(started.id)).events][-1] == closed.sentence
        act = AuditStore(world.db).recent(1)[0]
        assert (act.actor, act.action, act.subject) == ("bob", "rollout.close", "model/model")
        with world.db.reading() as session:
            kept = session.connection().execute(text("SELECT state FROM rollout")).scalar_one()
        assert kept == '{"format": 1, "steps"'
        assert world.service.attention() == ()
        with pytest.raises(Conflict, match="has ended"):
            await world.service.close(started.id, actor="bob")
        assert world.triton.loads == []

        assert (await world.promote("v3")).plan.to_version == "v3"
        assert (await world.finish()).ok is True


async def test_what_an_engine_finds_when_it_saves_a_closed_rollout_is_that_it_is_over(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        kept: list[State] = []
        edit(world, lambda state: kept.append(state) or without("steps")(state))  # type: ignore[func-returns-value]
        log = world.service._log
        (record,) = log.active()
        await world.service.close(record.id, actor="bob")
        with pytest.raises(Conflict, match="was closed by an operator, or is to go back; nothing is done"):
            log.save(record, [], None, None)
        assert log.active() == []


async def test_an_observation_that_cannot_be_read_is_no_observation_until_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for damage in ("'{}'", "'no json'", '\'{"model": 1, "backends": []}\''):
        async with World(tmp_path) as world:
            await tick(world)
            with world.db.transaction() as session:
                session.execute(text(f"UPDATE model_state SET observation = {damage}"))
            status = await world.service.model("model")
            assert (status.observation, status.observed_at) == (None, None)
            assert [row.key for row in world.db.unread.rows()] == ["model"]
            await tick(world)
            assert (await world.service.model("model")).observation is not None
            assert world.db.unread.rows() == []
            with world.db.transaction() as session:
                session.delete(session.exec(select(ModelStateRow)).one())
    assert len([r for r in caplog.records if "row model of table model_state cannot be read" in r.message]) == 3
