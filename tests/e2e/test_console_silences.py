"""Silencing and acknowledging in a real Chromium, over a real control plane process, wide and narrow."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.e2e.chromium import CHROMIUM, FLAGS, context_of
from tests.scenario.test_amtool_silences import FLEET
from tests.scenario.up import TOKEN, up

pytestmark = pytest.mark.needs("chromium")
RULES = """\
groups:
  - name: g
    rules:
      - alert: Hot
        expr: vector(91)
        labels: {severity: critical, model: chat, node: gpu-17}
        annotations: {summary: gpu-17 is at 91 °C}
      - {alert: Slow, expr: vector(3), labels: {severity: warning, model: code}, annotations: {summary: P99 is 3 s}}
"""


@pytest.fixture(params=[1280, 375])
async def page(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Page]:
    (tmp_path / "rules.yml").write_text(RULES)
    async with up(tmp_path, FLEET) as (_, port), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = await context_of(
            browser, viewport={"width": request.param, "height": 800}, base_url=f"http://127.0.0.1:{port}"
        )
        page = await context.new_page()
        await page.goto("/sign-in")
        await page.fill("input[name=token]", TOKEN)
        await page.click("button[type=submit]")
        await page.wait_for_url("/")
        yield page
        await browser.close()


async def looked_at(page: Page, name: str) -> None:
    """Check that the page is not wider than its window, and keep a picture if somebody wants to look at it."""
    await expect(page.locator("#live-state")).to_have_text("live")  # before that, a click on a button is lost
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert await page.evaluate("document.documentElement.scrollWidth") <= width, name
    if folder := os.environ.get("PICTURES"):
        await page.screenshot(path=f"{folder}/{name}-{width}.png", full_page=True)


async def test_an_alert_is_acknowledged_and_silenced_and_the_silence_ends(page: Page) -> None:
    await page.goto("/alerts")
    row = page.locator("tr", has_text="Hot")
    await expect(row).to_contain_text("firing")
    await looked_at(page, "alerts")
    await row.get_by_role("button", name="Acknowledge Hot").click()
    await expect(page.locator("#dialog")).to_contain_text("Nobody is notified of it again until it has resolved")
    await page.fill("dialog input[name=comment]", "driver crash, rebooting")
    await looked_at(page, "acknowledge")
    await page.click("dialog button[type=submit]")
    await expect(page.locator("h1")).to_contain_text("acknowledged")
    await expect(page.locator("#live dl")).to_contain_text("driver crash, rebooting")
    await looked_at(page, "alert")

    await page.get_by_role("button", name="Silence Hot").click()
    matchers = page.locator("dialog input[name=matchers]")
    await expect(matchers).to_have_value('alertname="Hot", model="chat", node="gpu-17"')
    await expect(page.locator("#silence-preview")).to_contain_text("1 firing or pending alert matches now")
    await matchers.fill('severity=~".+"')
    await expect(page.locator("#silence-preview")).to_contain_text("2 firing or pending alerts match now")
    await expect(page.locator("#silence-preview")).to_contain_text("Slow")
    await page.fill("dialog input[name=comment]", "new cooling")
    await looked_at(page, "silence")
    await page.click("dialog button[type=submit]")
    await page.wait_for_url("/silences")
    row = page.locator("table[aria-label=Silences] tbody tr")
    await expect(row).to_contain_text("new cooling")
    await expect(row).to_contain_text("2")
    await looked_at(page, "silences")
    await page.goto("/alerts")
    await expect(page.locator("tr", has_text="Slow")).to_contain_text("silenced")
    await looked_at(page, "alerts-held")

    await page.goto("/silences")
    await row.get_by_role("button", name="End…", exact=True).click()
    await expect(page.locator("#dialog")).to_contain_text("holds back 2 firing alerts")
    await page.click("dialog button[type=submit]")
    await expect(page.locator("#live")).to_contain_text(re.compile("No silences"))
