"""Every page of the console over a fleet that has seen a bad day: its look, its errors, its width, its accessibility.

axe-core finds nothing on any page, light or dark: WCAG 2.2 level AA, and axe's best practices. It is a devDependency of
controlplane/web/package.json. `make test` installs it by the lock file; wheels lack it.

`SCREENSHOTS=FOLDER` keeps the pictures: NAME-light.png, NAME-dark.png and NAME-375.png.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

import controlplane.web
from tests.e2e.bad_day.world import World
from tests.e2e.console_pages import PAGES, Console, open_console

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

LOOKS = {"light": ("light", 1440, 900), "dark": ("dark", 1440, 900), "375": ("light", 375, 812)}
"""Name to colour scheme, width and height."""
JUDGED = ("light", "dark")
"""The looks that axe-core judges."""
TOO_WIDE = """[...document.querySelectorAll('.table')]
  .filter((table) => table.scrollWidth > table.clientWidth + 1) // both are rounded
  .map((table) => table.querySelector('table')?.getAttribute('aria-label') || table.className)"""
AXE = Path(controlplane.web.__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
MOST = 5
"""Elements that a message names for each rule."""


@pytest.fixture(scope="module")
def axe() -> str:
    assert AXE.exists(), f"{AXE} is missing; `make .venv/.dev` installs it after a change of package-lock.json"
    return AXE.read_text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    async with World(tmp_path_factory.mktemp("bad-day")) as world, open_console(world) as console:
        yield console


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_whole_at_every_width_and_accessible(
    console: Console, axe: str, tmp_path: Path, name: str, look: str
) -> None:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)  # playwright makes it
    scheme, width, height = LOOKS[look]
    async with console.page(name, scheme, width, height) as visit:
        await visit.page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
        assert visit.faults == []
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert await visit.page.evaluate(TOO_WIDE) == []
        if look in JUDGED:
            assert await _violations(visit.page, axe, TAGS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["fleet", "model", "alerts", "alert", "rollout-failed", "system"])
async def test_a_page_that_is_not_current_keeps_its_contrast(
    console: Console, axe: str, name: str, scheme: str
) -> None:
    async with console.page(name, scheme, 1440, 900) as visit:
        page = visit.page
        await page.route("**/*", lambda route: route.abort())
        await page.evaluate("htmx.trigger('#live', 'refresh')")
        await expect(page.locator("#stale")).to_contain_text("cannot be reached")
        live = page.locator("body.stale #live")
        for style, value in (("opacity", "1"), ("filter", "none")):
            await expect(live).to_have_css(style, value)  # axe knows no filters
        assert await _violations(page, axe, ["color-contrast"]) == []


@pytest.mark.parametrize("width", [375, 1440])
async def test_badges_stay_large_enough_to_press_however_they_wrap(console: Console, axe: str, width: int) -> None:
    """A card shows as many badges as its model has alerts, so the rows that they make depend on the day."""
    async with console.page("fleet", "light", width, 900) as visit:
        badges = visit.page.locator(".badges").first
        await badges.evaluate("""badges => {
            const one = badges.querySelector("a");
            for (let name = 1; name <= 12; name += 1) {
                const more = one.cloneNode();
                more.textContent = "LLM" + "Rule".repeat(1 + name % 5);
                badges.append(more);
            }
        }""")
        assert await _violations(visit.page, axe, ["target-size"]) == []


async def test_what_no_version_was_chosen_for_is_named_in_a_charts_legend(console: Console) -> None:
    """A request that the gateway refuses before it chooses a version counts for none."""
    now = time.time() - 120
    answer = {
        "status": "success",
        "data": {
            "resultType": "matrix",
            "result": [
                {"metric": {"version": name} if name else {}, "values": [[now, "1"], [now - 60, "1"]]}
                for name in ("v1", "")
            ],
        },
    }
    async with console.page("fleet", "light", 1440, 900) as visit:
        await visit.page.route("**/api/v1/query_range", lambda route: route.fulfill(json=answer))
        await visit.page.goto("/models/chat")
        names = visit.page.locator("figure").first.locator(".legend button")
        await expect(names).to_have_count(2)
        await expect(names.filter(has_text="no version")).to_have_count(1)


async def test_the_tiles_of_a_node_are_of_one_height_whether_they_have_an_alert_or_not(console: Console) -> None:
    async with console.page("fleet", "light", 1440, 900) as visit:
        name = visit.page.locator(".node:has(.alarm) h3").first
        await name.evaluate("name => { name.textContent = 'a-long-name-of-a-node-in-many-lines' }")
        heights = await visit.page.locator(".tiles8:has(.alarm)").evaluate_all(
            "rows => rows.map(row => [...new Set([...row.querySelectorAll('.g')].map(tile => tile.offsetHeight))])"
        )
    assert heights and all(len(of_row) == 1 for of_row in heights), heights


async def _violations(page: Page, axe: str, rules: list[str]) -> list[str]:
    """Return what axe-core finds on a page by rules or tags, one sentence each."""
    await page.evaluate(axe)  # DevTools runs it, so the content security policy of the page does not matter
    run = "(rules) => axe.run(document, { runOnly: rules, resultTypes: ['violations'] })"
    return [_told(violation) for violation in (await page.evaluate(run, rules))["violations"]]


def _told(violation: dict[str, Any]) -> str:
    """Return the rule, what it asks for, and the first elements that break it."""
    nodes = violation["nodes"]
    where = "; ".join(f"{' '.join(map(str, node['target']))} {node['html'][:120]}" for node in nodes[:MOST])
    more = f" and {len(nodes) - MOST} more" if len(nodes) > MOST else ""
    return f"{violation['id']}: {violation['help']} ({violation['helpUrl']}): {where}{more}"
