"""Selecting, filtering and grouping alerts, and trying a rule, in a real Chromium over a real control plane process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from tests.e2e.chromium import context_of
from tests.e2e.test_console_silences import looked_at
from tests.scenario.test_amtool_silences import FLEET
from tests.scenario.up import TOKEN, up

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

WIDTHS = [1280, 375]
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


@asynccontextmanager
async def plane(folder: Path) -> AsyncIterator[str]:
    """Yield the address of a control plane with the three alerts."""
    (folder / "rules.yml").write_text(RULES)
    async with up(folder, FLEET) as (_, port):
        yield f"http://127.0.0.1:{port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of the control plane of the tests that change nothing in it."""
    async with plane(tmp_path_factory.mktemp("shared")) as url:
        yield url


@asynccontextmanager
async def signed_in(chromium: Browser, url: str, width: int) -> AsyncIterator[Page]:
    """Yield the page of alerts in a browser without a past."""
    context = await context_of(chromium, viewport={"width": width, "height": 800}, base_url=url)
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
    await context.close()


@pytest_asyncio.fixture(loop_scope="module", params=WIDTHS)
async def page(request: pytest.FixtureRequest, chromium: Browser, shared: str) -> AsyncIterator[Page]:
    async with signed_in(chromium, shared, request.param) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="module", params=WIDTHS)
async def own(request: pytest.FixtureRequest, chromium: Browser, tmp_path: Path) -> AsyncIterator[Page]:
    """The page of alerts of a control plane that this test alone changes."""
    async with plane(tmp_path) as url, signed_in(chromium, url, request.param) as page:
        yield page


async def refreshed(page: Page) -> None:
    """Let the live part be read once more."""
    async with page.expect_response(lambda answer: "/alerts" in answer.url and answer.request.method == "GET"):
        await page.evaluate("htmx.trigger('#live', 'refresh')")


async def test_several_alerts_are_selected_and_acknowledged_with_one_reason(own: Page) -> None:
    picks, bar = own.locator("input[data-pick]"), own.locator("#picked")
    await expect(picks).to_have_count(3)
    await expect(bar).to_be_hidden()
    await picks.first.check()
    await own.get_by_role("link", name="Slow").focus()
    await own.keyboard.press("x")
    await expect(bar).to_contain_text("2 selected Hot, Slow")
    await refreshed(own)
    await expect(own.locator("input[data-pick]:checked")).to_have_count(2)
    await looked_at(own, "alerts-selected")

    await bar.get_by_role("button", name="Acknowledge…").click()
    dialog = own.locator("#dialog")
    await expect(dialog).to_contain_text("Acknowledge 2 alerts?")
    await expect(dialog).to_contain_text("node=n")
    await dialog.locator("input[name=comment]").fill("the room is too warm")
    await looked_at(own, "acknowledge-several")
    await dialog.get_by_role("button", name="Acknowledge").click()
    await expect(dialog).to_be_hidden()
    await expect(bar).to_be_hidden()
    await expect(own.locator("#live").get_by_text("acknowledged", exact=True)).to_have_count(2)


async def test_several_alerts_are_snoozed_for_one_time(own: Page) -> None:
    picks, bar = own.locator("input[data-pick]"), own.locator("#picked")
    await picks.first.check()
    await picks.nth(1).check()
    await bar.get_by_role("button", name="Snooze…").click()
    dialog = own.locator("#dialog")
    await expect(dialog).to_contain_text("Snooze 2 alerts?")
    await dialog.get_by_label("For how long").fill("1h30m")
    await looked_at(own, "snooze-several")
    await dialog.get_by_role("button", name="Snooze").click()
    await expect(dialog).to_be_hidden()
    await expect(bar).to_be_hidden()
    await expect(own.locator("#live").get_by_text("snoozed", exact=True)).to_have_count(2)


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
