"""axe-core finds nothing on any page of the console, light or dark: WCAG 2.2 level AA, and axe's best practices.

axe-core is a devDependency of controlplane/web/package.json. `make test` installs it by the lock file; wheels lack it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

import controlplane.web
from tests.e2e.bad_day.world import World
from tests.e2e.console_pages import PAGES, Console, open_console

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_accessible(console: Console, axe: str, name: str, scheme: str) -> None:
    async with console.page(name, scheme, 1440, 900) as visit:
        await visit.page.evaluate(axe)  # DevTools runs it, so the content security policy of the page does not matter
        found = await visit.page.evaluate(
            "(tags) => axe.run(document, { runOnly: tags, resultTypes: ['violations'] })", TAGS
        )
    assert [_told(violation) for violation in found["violations"]] == []


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
        await page.evaluate(axe)
        found = await page.evaluate("axe.run(document, { runOnly: ['color-contrast'], resultTypes: ['violations'] })")
    assert [_told(violation) for violation in found["violations"]] == []


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
        await visit.page.evaluate(axe)
        found = await visit.page.evaluate(
            "axe.run(document, { runOnly: ['target-size'], resultTypes: ['violations'] })"
        )
    assert [_told(violation) for violation in found["violations"]] == []


def _told(violation: dict[str, Any]) -> str:
    """Return the rule, what it asks for, and the first elements that break it."""
    nodes = violation["nodes"]
    where = "; ".join(f"{' '.join(map(str, node['target']))} {node['html'][:120]}" for node in nodes[:MOST])
    more = f" and {len(nodes) - MOST} more" if len(nodes) > MOST else ""
    return f"{violation['id']}: {violation['help']} ({violation['helpUrl']}): {where}{more}"
