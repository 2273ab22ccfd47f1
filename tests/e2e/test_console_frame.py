"""What every page has, in a real Chromium: sections, palette, keys, appearance, language, the tab's title, times."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.e2e.test_console import (  # noqa: F401 - fixtures
    ADMIN,
    ControlPlane,
    context,
    page,
    plane,
    sign_in,
)
from tests.patience import HANG_S

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]


async def test_the_palette_goes_to_a_model_by_a_part_of_its_name(page: Page) -> None:  # noqa: F811
    await sign_in(page, ADMIN, "/targets")
    await page.keyboard.press("Control+k")
    field = page.locator("#palette").get_by_role("combobox")
    await expect(field).to_be_focused()
    await expect(page.locator("#palette").get_by_role("option", name="chat")).to_be_visible()
    await field.fill("cha")
    # An alert of the model has its name too, on a machine that is slow enough for one.
    options = page.locator("#palette").get_by_role("option")
    await expect(options.filter(has_not_text=re.compile("cha", re.IGNORECASE))).to_have_count(0)
    await expect(options.first).to_have_text("chatmodel")
    await field.fill("no such thing")
    await expect(page.locator("#palette").get_by_role("option")).to_have_text("Nothing found")
    await page.keyboard.press("Enter")  # goes nowhere
    await field.fill("model chat")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/models/chat")


async def test_arrows_choose_in_the_palette_and_escape_gives_the_focus_back(page: Page) -> None:  # noqa: F811
    await sign_in(page, ADMIN, "/targets")
    opener = page.get_by_role("button", name="Go to…")
    await opener.click()
    chosen = page.locator("#palette").get_by_role("option", selected=True)
    await expect(chosen).to_contain_text("Fleet")
    await page.keyboard.press("ArrowDown")
    await expect(chosen).to_contain_text("Alerts")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("ArrowUp")
    await expect(chosen).to_contain_text("Fleet")
    await page.keyboard.press("Escape")
    await expect(opener).to_be_focused()


async def test_g_and_a_letter_opens_a_section_but_not_while_one_types(page: Page) -> None:  # noqa: F811
    await sign_in(page, ADMIN, "/audit")
    await page.get_by_label("Actor").focus()
    await page.keyboard.type("ga")
    await expect(page.get_by_label("Actor")).to_have_value("ga")
    await page.locator("h1").click()
    await page.clock.set_fixed_time(datetime.now())  # the letter must follow within 1.5 s of the page's clock
    await page.keyboard.type("gt")
    await page.wait_for_url("**/targets")


async def test_the_sheet_of_keys_names_every_section(page: Page) -> None:  # noqa: F811
    await sign_in(page, ADMIN, "/targets")
    await page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(sheet).to_be_visible()
    sections = await page.locator("#sections a").all_inner_texts()
    for name in sections:
        await expect(sheet.locator("dd", has_text=name.strip()).first).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(sheet).to_be_hidden()


async def test_j_and_k_move_through_rows(plane: ControlPlane, page: Page) -> None:  # noqa: F811
    for role in ("viewer", "operator"):  # two entries
        await plane.token(role)
    await sign_in(page, ADMIN, "/audit")
    rows = page.locator("#live tbody tr").filter(has=page.locator("a, button"))
    await expect(rows.first).to_be_visible()
    await page.keyboard.press("j")
    await expect(rows.nth(0).locator(":focus")).to_have_count(1)
    await page.keyboard.press("j")
    await expect(rows.nth(1).locator(":focus")).to_have_count(1)
    await page.keyboard.press("k")
    await expect(rows.nth(0).locator(":focus")).to_have_count(1)


async def test_appearance_and_language_are_kept_and_come_with_the_page(page: Page) -> None:  # noqa: F811
    await sign_in(page, ADMIN, "/targets")
    await page.locator("#account summary").click()
    async with page.expect_navigation():
        await page.get_by_label("Appearance").select_option("dark")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    await page.locator("#account summary").click()
    async with page.expect_navigation():
        await page.get_by_label("Language").select_option("zh")
    await expect(page.locator("html")).to_have_attribute("lang", "zh")
    await expect(page.locator("#sections a", has_text="告警").first).to_be_visible()
    await expect(page.locator("#live-state")).to_have_text("实时")
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


async def test_the_tab_says_how_many_alerts_fire(plane: ControlPlane, page: Page) -> None:  # noqa: F811
    await sign_in(page, ADMIN, "/targets")
    plane.engine.temperature = 95.0
    try:
        await expect(page).to_have_title(re.compile(r"^\(\d+\) Targets · control plane$"))
    finally:
        plane.engine.temperature = 20.0


async def test_a_time_says_the_local_one_when_it_is_pointed_at(page: Page) -> None:  # noqa: F811
    await sign_in(page, ADMIN, "/audit")
    time, title = page.locator("#live time").first, None
    async with asyncio.timeout(HANG_S):
        while title is None:  # a refresh of the page takes it away
            await page.mouse.move(0, 0)
            await time.hover()
            title = await time.get_attribute("title")
    assert title.endswith("in your time zone")


async def test_a_narrow_page_has_its_sections_behind_a_button(context: BrowserContext, page: Page) -> None:  # noqa: F811
    await page.set_viewport_size({"width": 375, "height": 800})
    await sign_in(page, ADMIN, "/targets")
    menu = page.get_by_role("button", name="Menu")
    await expect(page.get_by_role("link", name="Rollouts")).to_be_hidden()
    await menu.click()
    await expect(menu).to_have_attribute("aria-expanded", "true")
    await page.get_by_role("link", name="Rollouts").click()
    await page.wait_for_url("**/rollouts")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 375
