"""Every target that a page shows is one that can be read: its source is made, as at the start of a control plane."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collectors.discovery.discovery import Discovery
from controlplane.app.targets.plan import plan_scraping
from controlplane.app.targets.sources import SourceFactory
from controlplane.config.loader import load_fleet
from controlplane.metrics.series.series_store import SeriesStore

ROOT = Path(__file__).parents[3]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "guide").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    if re.search(r"^targets:", block, re.MULTILINE)
]


async def made(path: Path) -> int:
    """Make the source of each target that is known without asking anybody; return how many there are."""
    plan = plan_scraping(load_fleet(path))
    factory = SourceFactory(plan, 10**6, SeriesStore(retention_s=60.0))
    targets = Discovery(plan.groups, path.parent).refresh()
    for target in targets:
        await factory.recipe(target).made().close()
    return len(targets)


@pytest.mark.parametrize("block", BLOCKS)
async def test_the_targets_of_a_page_can_be_read(block: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(block if re.search(r"^fleet:", block, re.MULTILINE) else "fleet: {name: x}\n" + block)
    found = await made(path)
    assert found or re.search(r"_sd:|prometheus_(config|operator):", block)


async def test_the_targets_of_the_annotated_example_can_be_read() -> None:
    assert await made(ROOT / "examples" / "fleet.yaml") > 5
