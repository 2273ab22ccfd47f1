"""A running Scraping that takes over an edited fleet.yaml is as one that starts with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collectors.catalogue import load_catalogue
from controlplane.app.scraping import Scraping
from controlplane.app.targets import discovery_of, plan_scraping
from controlplane.clock.system import SystemClock
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.series.series_store import SeriesStore

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
EDITS = {
    "scrape.max_body_bytes": ("timeout: 10s}", "timeout: 10s, max_body_bytes: 12345}"),
    "scrape.max_samples": ("timeout: 10s}", "timeout: 10s, max_samples: 17}"),
    "scrape.interval": ("interval: 15s", "interval: 30s"),
    "scrape.timeout": ("timeout: 10s", "timeout: 3s"),
    "a probe's prompt": ("labels: {model: chat}", "labels: {model: chat}, prompt: 'Say hi.'"),
    "a probe's protocol": ("labels: {model: chat}", "labels: {model: chat}, protocol: openai"),
    "a probe's model_name": ("labels: {model: chat}", "labels: {model: chat}, model_name: org/chat"),
    "a probe's labels": ("labels: {model: chat}", "labels: {model: other}"),
    "a probe's credentials": (
        "labels: {model: chat}",
        "labels: {model: chat}, authorization: {credentials_file: /k}",
    ),
    "an address": ('127.0.0.1:1"]}', '127.0.0.1:3"]}'),
    "the stable version that readiness expects": ("stable: v1", "stable: v2"),
    "what Triton calls the model": ("driver: triton,", "driver: triton, model: rank,"),
    "a rule that has nothing to do with targets": ("scrape:", "evaluation_interval: 7s\nscrape:"),
}


@asynccontextmanager
async def scraping(loaded: LoadedFleet) -> AsyncIterator[Scraping]:
    found = Scraping(loaded, load_catalogue(), SeriesStore(), SystemClock(), "127.0.0.1:8080")
    configure(found, loaded)
    try:
        await found.discover()
        yield found
    finally:
        await found.close()


def configure(running: Scraping, loaded: LoadedFleet) -> None:
    plan = plan_scraping(loaded)
    running.configure(loaded, plan, discovery_of(plan, loaded))


def running_recipes(of: Scraping) -> dict[str, object]:
    """Return what each running scraper was made of."""
    return {key: (s.target, s.recipe) for key, s in of._manager._scrapers.items()}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
async def test_an_edit_leaves_the_same_sources_as_a_fresh_start(
    fleet: Write, tmp_path: Path, edit: tuple[str, str]
) -> None:
    (tmp_path / "more.json").write_text('[{"targets": ["127.0.0.1:4"]}]')
    before, after = edit
    edited = BASE.replace(before, after, 1)
    assert edited != BASE
    if "stable: v2" in edited:
        edited = edited.replace("versions: {v1: {}}", "versions: {v1: {}, v2: {}}")
    async with scraping(fleet(BASE)) as running:
        kept = dict(running._manager._scrapers)
        recipes = running_recipes(running)
        loaded = fleet(edited)
        configure(running, loaded)
        await running.discover()
        async with scraping(loaded) as fresh:
            assert running_recipes(running) == running_recipes(fresh)
        for key, scraper in running._manager._scrapers.items():
            # Who did not change goes on, with its schedule and what it compares with; whoever did starts anew.
            same = recipes.get(key) == (scraper.target, scraper.recipe)
            assert (kept.get(key) is scraper) == same


async def test_a_list_that_is_broken_at_a_reload_keeps_its_targets(fleet: Write, tmp_path: Path) -> None:
    (tmp_path / "more.json").write_text('[{"targets": ["127.0.0.1:4", "127.0.0.1:5"]}]')
    async with scraping(fleet(BASE)) as running:
        before = dict(running._manager._scrapers)
        (tmp_path / "more.json").write_text("[{")
        configure(running, fleet("evaluation_interval: 7s\n" + BASE))
        await running.discover()
        assert running._manager._scrapers == before
        assert {"127.0.0.1:4", "127.0.0.1:5"} <= {health.target.instance for health in running.health()}
        assert not running.all_known()
