"""Engines with answers that no database and no parser accepts: a rollout goes on, or is rolled back if necessary."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from controlplane.rollout.model import Phase
from controlplane.traffic.words import MAX_CHARS
from tests.fakes.rollout_world import World, asking

HOSTILE = "half \ud83d of a pair, \0 and \x1b[2J" + "x" * 100_000


async def test_a_candidate_whose_error_no_database_stores_is_turned_back(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(5)) as world:
        world.triton.raises[2] = HOSTILE
        await world.promote()
        latest = await world.finish()
        assert latest.phase is Phase.ROLLED_BACK
        assert r"half \ud83d of a pair, \x00 and \x1b[2J" in latest.sentence
        assert latest.sentence.endswith("v1 serves again (5 of 5 questions answered well)")


async def test_a_load_that_is_refused_with_such_words_ends_the_rollout(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(5)) as world:
        world.triton.fails[2] = HOSTILE
        await world.promote()
        latest = await world.finish()
        assert (latest.phase, latest.needs_person) == (Phase.FAILED, False)
        assert r"half \ud83d of a pair" in latest.sentence
        assert len(latest.sentence) < 2 * MAX_CHARS
        assert (await world.promote("v3")).model == "model", "the model is free again"


@pytest.mark.parametrize(
    "index",
    [
        "[" * 200_000,
        '[{"name": "model", "version": "²", "state": "READY"}]',
        '[{"name": "model", "version": "%s", "state": "READY"}]' % ("9" * 5000),
    ],
    ids=["nested", "no digit", "long"],
)
async def test_an_index_that_cannot_be_read_fails_no_tick(
    tmp_path: Path, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path) as world:

        async def answer(request: web.Request, handler: object) -> web.Response:
            return web.Response(text=index, content_type="application/json")

        await world.promote()
        monkeypatch.setattr(world.triton, "hostile", answer)
        line = await world.tick()
        assert line.startswith(("planned", "preparing"))
        monkeypatch.setattr(world.triton, "hostile", None)
        assert (await world.finish()).ok
