"""A running Scraping that takes over an edited fleet.yaml is as one that starts with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.catalogue.model import load_catalogue
from collectors.discovery.answers import Answer
from collectors.discovery.discovery import Discovery
from collectors.discovery.group import SdConfig
from collectors.target import Target
from controlplane.app.parts.part import Configuration
from controlplane.app.parts.scraping import Scraping
from controlplane.clock.system import SystemClock
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.pools import make_pools

Write = Callable[[str], LoadedFleet]

BASE = """
scrape: {interval: 15s, timeout: 10s}
targets:
  - {engine: vllm, addresses: ["127.0.0.1:1"]}
  - {engine: probe, urls: ["http://127.0.0.1:1/v1/chat/completions"], labels: {model: chat}}
  - {engine: vllm, file_sd: ["more.json"]}
models:
  - name: ranker
    stable: v1
    traffic: {driver: triton, backends: [{url: "http://127.0.0.1:2"}]}
    versions: {v1: {}}
"""
UNCONCERNED = "a rule that has nothing to do with targets"
EDITS = {
    "scrape.max_body_bytes": ("timeout: 10s}", "timeout: 10s, max_body_bytes: 12345}"),
    "scrape.max_samples": ("timeout: 10s}", "timeout: 10s, max_samples: 17}"),
    "scrape.interval": ("interval: 15s", "interval: 30s"),
    "scrape.timeout": ("timeout: 10s", "timeout: 3s"),
    "a probe's prompt": ("labels: {model: chat}", "labels: {model: chat}, prompt: 'Say hi.'"),
    "a probe's protocol": ("labels: {model: chat}", "labels: {model: chat}, protocol: openai"),
    "a probe's parameters": ("labels: {model: chat}", "labels: {model: chat}, parameters: {max_tokens: 5}"),
    "a probe's questions": ("labels: {model: chat}", "labels: {model: chat}, questions: [{prompt: a}, {prompt: b}]"),
    "a probe's model_name": ("labels: {model: chat}", "labels: {model: chat}, model_name: org/chat"),
    "a probe's labels": ("labels: {model: chat}", "labels: {model: other}"),
    "a probe's credentials": (
        "labels: {model: chat}",
        "labels: {model: chat}, authorization: {credentials_file: /k}",
    ),
    "a rule for targets": (
        "{engine: vllm, file_sd",
        "{engine: vllm, relabel_configs: [{target_label: a, replacement: b}], file_sd",
    ),
    "a rule for samples": (
        "{engine: vllm, addr",
        "{engine: vllm, metric_relabel_configs: [{action: labeldrop, regex: a}], addr",
    ),
    "an address": ('127.0.0.1:1"]}', '127.0.0.1:3"]}'),
    "the stable version that readiness expects": ("stable: v1", "stable: v2"),
    "what Triton calls the model": ("driver: triton,", "driver: triton, model: rank,"),
    UNCONCERNED: ("scrape:", "evaluation_interval: 7s\nscrape:"),
}


@asynccontextmanager
async def scraping(loaded: LoadedFleet) -> AsyncIterator[Scraping]:
    store = SeriesStore()
    found = Scraping(load_catalogue(), store, store, SystemClock(), "127.0.0.1:8080", make_pools(), rules=tuple)
    await configure(found, loaded)
    try:
        await found.discover()
        yield found
    finally:
        await found.close()


async def configure(running: Scraping, loaded: LoadedFleet) -> Sequence[str]:
    return await running.configure(running.settings(Configuration(loaded, "127.0.0.1:8080")))


def running_recipes(of: Scraping) -> dict[str, object]:
    """Return what each running scraper was made of, and the limits that its bodies are read with."""
    return {key: (s.setup, s._cache._limits) for key, s in of._manager._scrapers.items()}


@pytest.mark.parametrize("edit", EDITS)
async def test_an_edit_leaves_the_same_sources_as_a_fresh_start(fleet: Write, tmp_path: Path, edit: str) -> None:
    (tmp_path / "more.json").write_text('[{"targets": ["127.0.0.1:4"]}]')
    before, after = EDITS[edit]
    edited = BASE.replace(before, after, 1)
    assert edited != BASE
    if "stable: v2" in edited:
        edited = edited.replace("versions: {v1: {}}", "versions: {v1: {}, v2: {}}")
    async with scraping(fleet(BASE)) as running:
        kept = dict(running._manager._scrapers)
        recipes = running_recipes(running)
        loaded = fleet(edited)
        await configure(running, loaded)
        await running.discover()
        async with scraping(loaded) as fresh:
            assert running_recipes(running) == running_recipes(fresh)
        for key, scraper in running._manager._scrapers.items():
            # Who did not change goes on, with its schedule and what it compares with; whoever did starts anew.
            same = recipes.get(key) == running_recipes(running)[key]
            assert (kept.get(key) is scraper) == same
        # A field that both recipes lack would compare equal: whatever an edit concerns must have started anew.
        assert (running._manager._scrapers == kept) == (edit == UNCONCERNED)


async def test_a_list_that_is_broken_at_a_reload_keeps_its_targets(fleet: Write, tmp_path: Path) -> None:
    (tmp_path / "more.json").write_text('[{"targets": ["127.0.0.1:4", "127.0.0.1:5"]}]')
    async with scraping(fleet(BASE)) as running:
        before = dict(running._manager._scrapers)
        (tmp_path / "more.json").write_text("[{")
        await configure(running, fleet("evaluation_interval: 7s\n" + BASE))
        await running.discover()
        assert running._manager._scrapers == before
        assert {"127.0.0.1:4", "127.0.0.1:5"} <= {health.target.instance for health in running.health()}
        assert not running.all_known()


async def test_a_broken_list_keeps_its_targets_over_two_reloads_in_a_row(fleet: Write, tmp_path: Path) -> None:
    (tmp_path / "more.json").write_text('[{"targets": ["127.0.0.1:4", "127.0.0.1:5"]}]')
    async with scraping(fleet(BASE)) as running:
        before = dict(running._manager._scrapers)
        (tmp_path / "more.json").write_text("[{")
        for seconds in (7, 8):  # targets are read every few seconds, and fleet.yaml may be saved twice meanwhile
            await configure(running, fleet(f"evaluation_interval: {seconds}s\n{BASE}"))
        await running.discover()
        assert running._manager._scrapers == before


async def test_a_target_is_asked_as_before_until_the_new_targets_are_read(fleet: Write, tmp_path: Path) -> None:
    (tmp_path / "more.json").write_text("[]")
    async with scraping(fleet(BASE)) as running:
        (probe,) = (s for s in running._manager._scrapers.values() if s.target.engine == "probe")
        await configure(running, fleet(BASE.replace("labels: {model: chat}", "labels: {model: other}")))
        await probe.scrape(1.0)  # its first one, of a target that the new configuration does not have
        assert probe.health.health == "up"
        assert not running._manager.counters.failures


class _Interrupted(Discovery):
    """Reads targets, and lets something happen on the event loop before it returns them."""

    meanwhile: Callable[[], Awaitable[object]]
    loop: asyncio.AbstractEventLoop

    def refresh(self, list_of: Callable[[SdConfig], Answer] = lambda _: Answer()) -> list[Target]:
        targets = super().refresh(list_of)

        async def happen() -> None:
            await self.meanwhile()

        asyncio.run_coroutine_threadsafe(happen(), self.loop).result(30)
        return targets


async def test_targets_that_were_read_for_a_replaced_configuration_are_not_scraped(
    fleet: Write, tmp_path: Path
) -> None:
    (tmp_path / "more.json").write_text("[]")
    edited = fleet(BASE.replace("labels: {model: chat}", "labels: {model: other}"))
    loaded = fleet(BASE)
    async with scraping(loaded) as running:
        settings = running.settings(Configuration(loaded, "127.0.0.1:8080"))
        slow = _Interrupted(settings.plan.groups, tmp_path)
        slow.loop, slow.meanwhile = asyncio.get_running_loop(), lambda: configure(running, edited)
        await running.configure(replace(settings, discovery=slow))
        targets = await running.discover()
        assert [dict(t.labels) for t in targets if t.engine == "probe"] == [{"model": "other"}]
