"""Every captured page, read with `engine: auto`, gives the canonical series that it gives with its engine by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.catalogue.recognition import recognition
from collectors.engines.kinds import AUTO
from collectors.gpu.exporters import GpuExporterSource
from collectors.samples import Series
from collectors.scraping.report import report_key
from collectors.scraping.scrape import ScrapeManager
from collectors.target import Target
from controlplane.app.targets.plan import ScrapePlan
from controlplane.app.targets.sources import SourceFactory
from controlplane.metrics.series.series_store import SeriesStore
from tests.fakes.canonical_rows import CanonicalRows
from tests.fakes.recipes import ready
from tests.fakes.scrape_once import scrape_once

CATALOGUE = load_catalogue()
FIXTURES = Path(__file__).parents[3] / "fixtures"
PAGES = sorted(
    str(path.relative_to(FIXTURES))
    for folder in (".", "captures", "field")
    for path in (FIXTURES / folder).glob("*.prom")
)
HANDMADE = {"gateway.prom": "gateway", "field/ray-vllm.prom": "vllm", "captures/ray-serve-2.60.prom": "ray"}
"""Pages whose names do not begin with that of their engine."""
ROUTERS = ("sglang-router", "vllm-router", "envoy-ai-gateway")


def engine_of(page: str) -> str:
    name = page.rpartition("/")[2].removesuffix(".prom")
    return HANDMADE.get(page) or next((r for r in ROUTERS if name.startswith(r)), name.partition("-")[0])


class Page:
    def __init__(self, body: bytes) -> None:
        self.body = body

    async def read(self, timeout_s: float) -> bytes:
        return self.body

    async def close(self) -> None:
        pass


class Clock:
    def now(self) -> float:
        return 1_800_000_000.0


async def canonical(page: str, engine: str) -> tuple[dict[Series, float], dict[Series, float], str]:
    """Return the canonical series of a page, the view of its report, and its engine."""
    target, rows = Target(engine, "http://a:1/metrics", "job", "a:1", models=(("m", "chat"),)), CanonicalRows(CATALOGUE)
    source = GpuExporterSource(Page((FIXTURES / page).read_bytes()))
    manager = ScrapeManager(
        rows,
        lambda _target: ready(source),
        lambda found, parsed: canonical_layout(parsed.series, parsed.metadata, found, CATALOGUE),
        Clock(),
        recognise=lambda names, known: recognition(names, CATALOGUE, known),
    )
    health = await scrape_once(manager, target)
    assert health.health == "up", health.last_error
    return rows.canonical[target.key], rows.canonical[report_key(target)], health.engine


@pytest.mark.parametrize("page", PAGES)
async def test_each_page_gives_the_series_of_its_engine(page: str) -> None:
    named = await canonical(page, engine_of(page))
    assert await canonical(page, AUTO) == named
    assert named[0], "the page has canonical series"


@pytest.mark.parametrize(("engine", "filtered"), [("dcgm", True), (AUTO, True), ("vllm", False)])
async def test_blank_values_of_dcgm_are_left_out_before_the_engine_is_known(engine: str, filtered: bool) -> None:
    target = Target(engine, "http://a:1/metrics", "job", "a:1")
    source = SourceFactory(ScrapePlan(()), 1000, SeriesStore(retention_s=60.0)).recipe(target).made()
    assert isinstance(source, GpuExporterSource) == filtered
    await source.close()
