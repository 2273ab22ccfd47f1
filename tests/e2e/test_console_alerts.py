"""Selecting, filtering and grouping alerts, and trying a rule, in a real Chromium over a real control plane process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, async_playwright, expect

from tests.e2e.test_console import CHROMIUM, FLAGS, WAIT_MS
from tests.e2e.test_console_silences import looked_at
from tests.scenario.test_amtool_silences import FLEET
from tests.scenario.up import TOKEN, up

pytestmark = pytest.mark.needs("chromium")
RULES = """\
groups:
  - name: g
    rules:
      - alert: Hot
        expr: label_replace(vector(91), "node", "n1", "", "") or label_replace(vector(92), "node", "n2", "", "")
        labels: {severity: critical, model: chat}
        annotations: {summary: "{{ $labels.node }} is at {{ $value }} °C"}
      - {alert: Slow, expr: vector(3), labels: {severity: warning, model: code}, annotations: {summary: P99 is 3 s}}
"""


@pytest.fixture(params=[1280, 375])
async def page(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Page]:
    (tmp_path / "rules.yml").write_text(RULES)
    async with up(tmp_path, FLEET) as (_, port), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = await browser.new_context(
            viewport={"width": request.param, "height": 800}, base_url=f"http://127.0.0.1:{port}"
        )
        context.set_default_timeout(WAIT_MS)
        page = await context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Security Policy" in said.text else None)
        await page.goto("/sign-in?next=/alerts")
        await page.fill("input[name=token]", TOKEN)
        await page.click("button[type=submit]")
        await page.wait_for_url("/alerts")
        yield page
        assert faults == []
        await browser.close()


async def refreshed(page: Page) -> None:
    """Let the live part be read once more."""
    async with page.expect_response(lambda answer: "/alerts" in answer.url and answer.request.method == "GET"):
        await page.evaluate("htmx.trigger('#live', 'refresh')")


async def test_several_alerts_are_selected_and_acknowledged_with_one_reason(page: Page) -> None:
    picks, bar = page.locator("input[data-pick]"), page.locator("#picked")
    await expect(picks).to_have_count(3)
    await expect(bar).to_be_hidden()
    await picks.first.check()
    await page.get_by_role("link", name="Slow").focus()
    await page.keyboard.press("x")
    await expect(bar).to_contain_text("2 selected Hot, Slow")
    await refreshed(page)
    await expect(page.locator("input[data-pick]:checked")).to_have_count(2)
    await looked_at(page, "alerts-selected")

    await bar.get_by_role("button", name="Acknowledge…").click()
    dialog = page.locator("#dialog")
    await expect(dialog).to_contain_text("Acknowledge 2 alerts?")
    await expect(dialog).to_contain_text("node=n")
    await dialog.locator("input[name=comment]").fill("the room is too warm")
    await looked_at(page, "acknowledge-several")
    await dialog.get_by_role("button", name="Acknowledge").click()
    await expect(dialog).to_be_hidden()
    await expect(bar).to_be_hidden()
    await expect(page.locator("#live").get_by_text("acknowledged", exact=True)).to_have_count(2)


async def test_several_alerts_are_snoozed_for_one_time(page: Page) -> None:
    picks, bar = page.locator("input[data-pick]"), page.locator("#picked")
    await picks.first.check()
    await picks.nth(1).check()
    await bar.get_by_role("button", name="Snooze…").click()
    dialog = page.locator("#dialog")
    await expect(dialog).to_contain_text("Snooze 2 alerts?")
    await dialog.get_by_label("For how long").fill("1h30m")
    await looked_at(page, "snooze-several")
    await dialog.get_by_role("button", name="Snooze").click()
    await expect(dialog).to_be_hidden()
    await expect(bar).to_be_hidden()
    await expect(page.locator("#live").get_by_text("snoozed", exact=True)).to_have_count(2)


async def test_the_chart_of_an_alert_comes_first_and_outlives_a_refresh(page: Page) -> None:
    await page.get_by_role("link", name="Slow").click()
    canvas, history = page.locator("#measured canvas"), page.get_by_role("heading", name="History")
    await expect(canvas).to_be_visible()
    chart, past = await canvas.bounding_box(), await history.bounding_box()
    facts = await page.get_by_text("Active since").bounding_box()
    assert chart and past and facts
    assert chart["y"] < facts["y"] < past["y"]
    await canvas.evaluate("(canvas) => { canvas.dataset.same = 'yes'; }")
    await refreshed(page)
    await expect(page.locator("#measured canvas[data-same=yes]")).to_be_visible()
    await looked_at(page, "alert-chart")


async def test_filters_follow_what_is_typed_and_are_in_the_address(page: Page) -> None:
    await expect(page.locator("tr[id^=alert]")).to_have_count(3)
    words = page.get_by_label("Text")
    await words.fill("p99")
    await expect(page.locator("tr[id^=alert]")).to_have_count(1)
    await expect(words).to_be_focused()
    assert "q=p99" in page.url
    await page.reload()
    await expect(words).to_have_value("p99")
    await expect(page.locator("tr[id^=alert]")).to_have_count(1)
    await words.fill("")
    await page.get_by_label("Group by").select_option("model")
    chat = page.get_by_role("region", name="chat")
    await expect(chat).to_contain_text("2 firing")
    await looked_at(page, "alerts-grouped")
    await chat.get_by_role("link", name="chat").click()
    await expect(page.locator("tr[id^=alert]")).to_have_count(1)
    await refreshed(page)
    await expect(chat.get_by_role("link", name="chat")).to_have_attribute("aria-expanded", "false")


async def test_a_late_answer_about_the_old_address_does_not_undo_a_filter(page: Page) -> None:
    release = asyncio.Event()

    async def late(route: Route) -> None:
        if "q=" not in route.request.url:
            await release.wait()
        await route.continue_()

    await page.route(re.compile(r"/alerts(\?.*)?$"), late)
    async with page.expect_request(lambda request: request.headers.get("hx-target") == "live"):
        await page.evaluate("htmx.trigger('#live', 'refresh')")
    await page.get_by_label("Text").fill("p99")
    await page.wait_for_url("**q=p99*")
    release.set()
    await expect(page.locator("tr[id^=alert]")).to_have_count(1)
    await refreshed(page)
    await expect(page.locator("tr[id^=alert]")).to_have_count(1)


async def test_a_rule_is_tried_and_a_fault_is_told_at_its_line(page: Page) -> None:
    await page.goto("/rules")
    await page.get_by_role("link", name="Try a rule…").click()
    text = page.get_by_label("Expression, or a whole rule in YAML")
    await text.fill("alert: Odd\nexpr: vector(5) >\n")
    await page.get_by_role("button", name="Try", exact=True).click()
    await expect(page.get_by_role("alert").first).to_contain_text("line 2")
    await text.fill("alert: Odd\nexpr: vector(5) > 3\nfor: 10m\n")
    await page.get_by_label("Range").select_option("1h")
    await page.get_by_role("button", name="Try", exact=True).click()
    await expect(page.get_by_role("region", name="Result")).to_contain_text("It would have fired once")
    await expect(page.locator("rect.firing")).to_have_count(1)
    await expect(page.locator("figure canvas")).to_be_visible()
    await looked_at(page, "rule-tried")
