"""Every page of the console over a fleet that has seen a bad day: its look, its errors and its width.

`SCREENSHOTS=FOLDER` keeps the pictures: NAME-light.png, NAME-dark.png and NAME-375.png.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.bad_day.world import World
from tests.e2e.console_pages import PAGES, Console, open_console

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

LOOKS = {"light": ("light", 1440, 900), "dark": ("dark", 1440, 900), "375": ("light", 375, 812)}
"""Name to colour scheme, width and height."""
TOO_WIDE = """[...document.querySelectorAll('.table')]
  .filter((table) => table.scrollWidth > table.clientWidth + 1) // both are rounded
  .map((table) => table.querySelector('table')?.getAttribute('aria-label') || table.className)"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    async with World(tmp_path_factory.mktemp("bad-day")) as world, open_console(world) as console:
        yield console


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_whole_at_every_width(console: Console, tmp_path: Path, name: str, look: str) -> None:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)  # playwright makes it
    scheme, width, height = LOOKS[look]
    async with console.page(name, scheme, width, height) as visit:
        await visit.page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
        assert visit.faults == []
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert await visit.page.evaluate(TOO_WIDE) == []
