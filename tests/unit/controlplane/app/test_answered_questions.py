"""A question that a server has answered once fits it, also after a reload and after a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.scraping.scrape import ScrapeManager
from controlplane.app.targets.plan import discovery_of, plan_scraping
from controlplane.app.targets.sources import SourceFactory
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.folder import Folder
from tests.fakes.scrape_once import scrape_once
from tests.unit.collectors.probe.test_source import DONE, chat, serving, streaming

Write = Callable[[str], LoadedFleet]
CATALOGUE = load_catalogue()
T0 = 1_800_000_000.0
ONE = "{prompt: one}"


class World:
    """A probe of a server that answers the prompts in `answers` and refuses the others, scraped every 15 s."""

    def __init__(self, folder: Path, write: Write) -> None:
        self.folder, self.write, self.time, self.url = folder, write, T0, ""
        self.answers: set[str] = set()
        self.store = self._opened()
        self.manager: ScrapeManager | None = None

    def _opened(self) -> SeriesStore:
        return SeriesStore.in_folder(self.folder, 86_400.0, None, 86_400.0)

    def now(self) -> float:
        return self.time

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if (await request.json())["messages"][0]["content"] in self.answers:
            return await streaming(chat("pong", "stop"), DONE)(request)
        return web.json_response({"error": "no"}, status=422)

    async def load(self, *questions: str, patience: str = "5s") -> None:
        """Read a configuration with these questions, as a start or a reload does."""
        await self.stop()
        target = f'engine: probe, urls: ["{self.url}"], labels: {{model: chat}}, timeout: {patience}'
        loaded = self.write(f"scrape: {{interval: 15s}}\ntargets: [{{{target}, questions: [{', '.join(questions)}]}}]")
        plan = plan_scraping(loaded)
        (self.target,) = discovery_of(plan, loaded).refresh()
        factory = SourceFactory(plan, 10**6, self.store)
        self.manager = ScrapeManager(
            self.store,
            factory.recipe,
            lambda target, parsed: canonical_layout(parsed.series, parsed.metadata, target, CATALOGUE),
            self,
            monotonic=lambda: self.time,
        )

    async def stop(self) -> None:
        """Stop scraping."""
        if self.manager:
            await self.manager.close()

    async def restart(self) -> None:
        await self.stop()
        self.close()
        self.store = self._opened()

    def close(self) -> None:
        assert isinstance(self.store.space, Folder)
        self.store.space.close()

    async def outcomes(self, scrapes: int = 1) -> dict[str, float]:
        """Scrape, and return the requests so far by outcome. Outcomes without a request are left out."""
        assert self.manager
        for _ in range(scrapes):
            self.time += 15
            await scrape_once(self.manager, self.target)
        value = PromqlEngine(self.store).instant("sum by (outcome) (llm_requests_total) > 0", self.time)
        assert isinstance(value, Vector)
        return {dict(sample.labels)["outcome"]: sample.value for sample in value.samples}


@pytest.fixture
async def world(tmp_path: Path, fleet: Write) -> AsyncIterator[World]:
    made = World(tmp_path / "metrics", fleet)
    async with serving("/v1/chat/completions", made.answer) as made.url:
        yield made
        await made.stop()
    made.close()


async def test_a_refusal_before_the_first_answer_is_a_misfit_however_often_the_control_plane_restarts(
    world: World,
) -> None:
    await world.load(ONE)
    assert await world.outcomes(2) == {"invalid": 2}
    await world.load(ONE, patience="6s")
    assert await world.outcomes() == {"invalid": 1}
    await world.restart()
    await world.load(ONE)
    assert await world.outcomes() == {"invalid": 1}


async def test_an_answered_question_that_is_refused_is_an_outage_also_after_a_reload_and_a_restart(
    world: World,
) -> None:
    world.answers = {"one"}
    await world.load(ONE)
    assert await world.outcomes() == {"success": 1}
    world.answers = set()
    assert await world.outcomes() == {"success": 1, "error": 1}
    await world.load(ONE, patience="6s")
    assert await world.outcomes() == {"error": 1}
    await world.restart()
    await world.load(ONE)
    assert await world.outcomes() == {"error": 1}
    await world.restart()
    await world.load(ONE)
    assert await world.outcomes() == {"error": 1}, "a run without an answer does not forget those before it"


async def test_an_answer_to_one_question_says_nothing_about_another_one(world: World) -> None:
    world.answers = {"one"}
    await world.load(ONE, "{prompt: two}")
    assert await world.outcomes(2) == {"success": 1, "invalid": 1}
    await world.restart()
    world.answers = set()
    await world.load("{prompt: two}", ONE)
    assert await world.outcomes(2) == {"invalid": 1, "error": 1}


@pytest.mark.parametrize(
    "changed", ["{prompt: other}", "{prompt: one, max_tokens: 3}", "{prompt: one, parameters: {n: 2}}"]
)
async def test_a_changed_question_is_another_one(world: World, changed: str) -> None:
    world.answers = {"one"}
    await world.load(ONE)
    assert await world.outcomes() == {"success": 1}
    world.answers = set()
    await world.load(changed)
    assert await world.outcomes() == {"invalid": 1}


async def test_another_expected_answer_leaves_the_question_the_same(world: World) -> None:
    world.answers = {"one"}
    await world.load(ONE)
    assert await world.outcomes() == {"success": 1}
    world.answers = set()
    await world.load("{prompt: one, expect: {contains: pong}}")
    assert await world.outcomes() == {"error": 1}


async def test_the_same_configuration_makes_an_equal_recipe(world: World) -> None:
    await world.load(ONE)
    assert world.manager
    before = world.manager._setup(world.target)
    await world.load(ONE)
    assert world.manager._setup(world.target) == before
