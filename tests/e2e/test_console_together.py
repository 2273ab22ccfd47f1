"""Several people on one console, in a real Chromium: what one does the others see, and what a viewer may not do."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.e2e.chromium import context_of
from tests.e2e.test_console import (  # noqa: F401 - fixtures
    ADMIN,
    NO_POLLING,
    ControlPlane,
    context,
    page,
    plane,
    sign_in,
)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shifts.push(entry.value);
}).observe({ type: "layout-shift", buffered: true });
"""
REFRESH = "document.getElementById('live').dispatchEvent(new Event('refresh'))"


SHOWN = """[
  document.querySelectorAll("#live *").length,
  ...[...document.querySelectorAll("#live .state")].map((state) => state.textContent),
]"""
"""What a page shows, but for its numbers. An alert that begins, or a target that is down, may move what is there."""
TRIES = 10


async def refresh(shown: Page) -> None:
    """Let a page read itself anew."""
    async with shown.expect_response(lambda answer: answer.request.headers.get("hx-target") == "live"):
        await shown.evaluate(REFRESH)


async def test_what_one_person_changes_another_sees_by_an_event(
    plane: ControlPlane,  # noqa: F811
    chromium: Browser,
    page: Page,  # noqa: F811
) -> None:
    other = await context_of(chromium, base_url=plane.url)
    await other.add_init_script(NO_POLLING)
    watching = await other.new_page()
    try:
        await sign_in(watching, await plane.token("viewer"), "/keys")
        await sign_in(page, ADMIN, "/keys")
        await page.get_by_role("button", name="New key…").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Tenant").fill("together")
        await dialog.get_by_label("Name").fill("seen")
        await dialog.get_by_role("button", name="Make the key").click()
        await expect(dialog.locator("#new-key")).to_be_visible()
        await expect(watching.locator("#live")).to_contain_text("together")
        assert not re.search(r"cpk_[0-9a-f]{12}_[0-9a-f]", await watching.content())
    finally:
        await other.close()


async def test_a_viewer_who_forges_an_action_is_refused_by_the_server(
    plane: ControlPlane,  # noqa: F811
    context: BrowserContext,  # noqa: F811
) -> None:
    own = await context.new_page()
    await sign_in(own, await plane.token("viewer"), "/models/model")
    forged = """async () => {
      const headers = { ...JSON.parse(document.body.getAttribute("hx-headers")), "HX-Request": "true" };
      const body = new URLSearchParams({ key: "0".repeat(32), reason: "forged" });
      return (await fetch("/models/model/promote/v2", { method: "POST", headers, body })).status;
    }"""
    loads = len(plane.engine.triton.loads)
    assert await own.evaluate(forged) == 403
    assert len(plane.engine.triton.loads) == loads


async def test_a_live_update_moves_nothing(plane: ControlPlane, page: Page) -> None:  # noqa: F811
    await page.add_init_script(SHIFTS)
    await sign_in(page, ADMIN, "/targets")
    for path in ("/", "/models/model", "/alerts", "/targets", "/rollouts"):
        await page.goto(path)
        await expect(page.locator("#live-state")).to_have_text("live")
        await page.evaluate("document.fonts.ready")
        await refresh(page)
        for _ in range(TRIES):
            before = await page.evaluate(SHOWN)
            await page.evaluate("window.shifts.length = 0")
            for _ in range(3):
                await refresh(page)
            await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            shifts = await page.evaluate("window.shifts")
            if await page.evaluate(SHOWN) == before:
                break
        assert shifts == [], path
