"""Charts and queries in a real Chromium, over a real control plane that scrapes a page of vLLM's metrics."""

from __future__ import annotations

import asyncio
import csv
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page, Request, Route, expect

from tests.e2e.chromium import context_of
from tests.scenario.up import TOKEN, up

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

FLEET = """\
fleet: {{name: test}}
scrape: {{interval: 1s, timeout: 1s}}
evaluation_interval: 1s
rules: [rules.yml]
thresholds: {{}}
targets:
  - {{engine: vllm, addresses: ["{one}"], labels: {{model: chat, version: v1}}}}
  - {{engine: vllm, addresses: ["{two}"], labels: {{model: chat, version: v2}}}}
models:
  - {{name: chat, stable: v1, traffic: {{driver: none}}, versions: {{v1: {{}}, v2: {{}}}}}}
"""
RULES = """\
groups:
  - name: g
    rules:
      - {alert: Hot, expr: vector(91), labels: {severity: critical, model: chat}}
      - {alert: Elsewhere, expr: vector(91), labels: {severity: critical, model: code}}
"""
MARKUP = "<img src=x onerror=window.pwned=1>"
RUNNING = "figure:has(figcaption b:text-is('Running and waiting'))"
CACHE = "figure:has(figcaption b:text-is('KV cache in use'))"


def engine(running: int) -> web.Application:
    text = (
        f'vllm:num_requests_running{{model_name="m"}} {running}\nvllm:num_requests_waiting{{model_name="m"}} 0\n'
        f'vllm:kv_cache_usage_perc{{model_name="m"}} 0.{running}\nodd{{words="{MARKUP}"}} 1\n'
    )

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=text)

    app = web.Application()
    app.router.add_get("/metrics", page)
    return app


async def serving(running: int) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(engine(running), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"127.0.0.1:{runner.addresses[0][1]}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Yield the address of a control plane with two versions of a model: v1 has 7 requests running, v2 has 3."""
    folder: Path = tmp_path_factory.mktemp("charts")
    (folder / "rules.yml").write_text(RULES)
    (one, first), (two, second) = await serving(7), await serving(3)
    async with up(folder, FLEET.format(one=first, two=second)) as (_, port):
        yield f"http://127.0.0.1:{port}"
    await one.cleanup()
    await two.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def page(plane: str, chromium: Browser) -> AsyncIterator[Page]:
    """Yield a signed-in page in which no script may fail."""
    context = await context_of(chromium, viewport={"width": 1280, "height": 900}, base_url=plane)
    page, faults = await context.new_page(), list[str]()
    page.on("pageerror", lambda error: faults.append(str(error)))
    await page.goto("/sign-in")
    await page.fill("input[name=token]", TOKEN)
    await page.click("button[type=submit]")
    await page.wait_for_url("/")
    yield page
    assert faults == []
    assert await page.evaluate("window.pwned") is None
    await context.close()


def values(figure: str) -> str:
    return f"{figure} .legend output"


async def test_a_chart_has_its_versions_with_their_last_values_its_marks_and_its_numbers(page: Page) -> None:
    await page.goto("/models/chat")
    await expect(page.locator(f"{RUNNING} .legend li")).to_contain_text(
        ["v1 running 7", "v1 waiting 0", "v2 running 3", "v2 waiting 0"]
    )
    await expect(page.locator(values(CACHE))).to_have_text(["70 %", "30 %"])
    tints = [await page.locator(f"{where} .tint-1").count() for where in (RUNNING, CACHE, ".compared")]
    assert tints == [2, 1, 1], "v1 has one colour in charts and table"

    mark = page.locator(f"{CACHE} .marks .alert")
    await expect(mark).to_have_count(1)  # not the alert of the other model
    await mark.hover()
    await expect(page.locator(f"{CACHE} .mark-name")).to_have_text("Hot")

    button = page.locator(CACHE).get_by_role("button", name="KV cache in use as a table")
    await button.focus()
    await page.keyboard.press("Enter")
    table = page.get_by_role("region", name="Values of KV cache in use")
    await expect(table.locator("th")).to_have_text(["time", "v1", "v2"])
    await expect(table.locator("tbody tr").first.locator("td")).to_contain_text([":", "70 %", "30 %"])
    assert await table.locator("tbody tr").count() < 240, "samples that are missing are no rows"


async def test_a_refresh_leaves_the_charts_and_a_theme_redraws_them(page: Page) -> None:
    await page.goto("/models/chat")
    await expect(page.locator(values(CACHE))).to_have_text(["70 %", "30 %"])
    before = await page.evaluate("document.querySelector('#charts').offsetHeight")
    await page.evaluate("document.querySelector('#charts canvas').kept = true")
    async with page.expect_response(lambda answer: answer.url.endswith("/models/chat")):
        await page.evaluate("document.getElementById('live').dispatchEvent(new Event('refresh'))")
    assert await page.evaluate("document.querySelector('#charts canvas').kept")
    assert await page.evaluate("document.querySelector('#charts').offsetHeight") == before
    await page.evaluate("document.documentElement.dataset.theme = 'dark'")
    await page.wait_for_function("() => document.querySelector('#charts canvas').kept === undefined")
    await expect(page.locator(values(CACHE))).to_have_text(["70 %", "30 %"])


def still() -> str:
    """Return the address of a time that is chosen: its charts are drawn once, and no refresh moves their times."""
    now = int(time.time())
    return f"/models/chat?start={now - 600}&end={now + 300}"


async def test_the_cursor_is_one_for_all_charts_and_the_arrows_move_it(page: Page) -> None:
    await page.goto(still())
    await expect(page.locator(values(CACHE))).to_have_text(["70 %", "30 %"])
    await page.locator(f"{CACHE} .plot").focus()
    await page.keyboard.press("End")
    moment = page.locator(f"{CACHE} .moment")
    await expect(moment).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    await expect(page.locator(f"{RUNNING} .moment")).to_have_text(await moment.inner_text())
    await expect(page.locator(f"{CACHE} .said")).to_contain_text("v1")
    await page.keyboard.press("Escape")
    await expect(moment).to_have_text("")


async def test_a_chart_that_is_drawn_late_or_again_has_the_cursor_of_the_others(page: Page) -> None:
    held, released = list[str](), asyncio.Event()

    async def hold(route: Route) -> None:
        if "running" in (query := parse_qs(route.request.post_data or "").get("query", [""])[0]):
            held.append(query)
            await released.wait()
        await route.continue_()

    await page.route("**/query_range", hold)
    await page.goto(still())
    await expect(page.locator(values(CACHE))).to_have_text(["70 %", "30 %"])
    await page.locator(f"{CACHE} .plot").focus()
    await page.keyboard.press("End")
    await expect(page.locator(f"{CACHE} .moment")).not_to_have_text("")
    assert held, "the other chart's numbers are still to come"
    at = await page.locator(f"{CACHE} .moment").inner_text()
    released.set()
    await expect(page.locator(f"{RUNNING} .moment")).to_have_text(at)
    await page.evaluate("document.documentElement.dataset.theme = 'dark'")
    await expect(page.locator(f"{RUNNING} canvas")).to_have_count(1)
    await expect(page.locator(f"{CACHE} .moment, {RUNNING} .moment")).to_have_text([at, at])


async def test_dragging_over_one_chart_zooms_all_and_a_button_goes_back(page: Page) -> None:
    await page.goto("/models/chat?range=15m")
    await expect(page.locator(values(CACHE))).to_have_text(["70 %", "30 %"])
    box = await page.locator(f"{CACHE} .u-over").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    asked = list[Request]()
    page.on("request", lambda request: asked.append(request) if "query_range" in request.url else None)
    await page.mouse.move(box["x"] + box["width"] / 2, y)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.9, y, steps=4)
    await page.mouse.up()
    await page.wait_for_url(re.compile(r"\?start=\d+&end=\d+$"))
    start, end = (int(number) for number in re.findall(r"\d{9,}", page.url))
    assert 300 <= end - start <= 420, "0.4 of 15 minutes"
    back = page.get_by_role("button", name="Back to the whole range")
    await expect(back).to_be_visible()
    await page.reload()
    await expect(back).to_be_visible()
    await back.click()
    await expect(back).to_be_hidden()
    assert page.url.endswith("/models/chat")
    await expect(page.locator(values(CACHE))).to_have_text(["70 %", "30 %"])
    await page.locator(f"{CACHE} .plot").focus()
    await page.keyboard.press("-")
    await page.wait_for_url(re.compile(r"\?start="))
    await page.keyboard.press("0")
    await page.wait_for_url(re.compile(r"/models/chat$"))
    assert {form(request)["start"] for request in asked if zoomed(request, start, end)}, (
        "the charts asked for that time"
    )


def form(request: Request) -> dict[str, str]:
    return {name: found[0] for name, found in parse_qs(request.post_data or "").items()}


def zoomed(request: Request, start: int, end: int) -> bool:
    sent = form(request)
    return start - 60 <= float(sent["start"]) and float(sent["end"]) <= end + 1


async def test_a_large_range_asks_for_no_more_points_than_pixels(page: Page) -> None:
    await page.set_viewport_size({"width": 375, "height": 800})
    async with page.expect_request("**/api/v1/query_range") as asking:
        await page.goto("/models/chat?range=7d")
    sent: dict[str, Any] = form(await asking.value)
    width = await page.evaluate("document.querySelector('.plot').clientWidth")
    assert (float(sent["end"]) - float(sent["start"])) / float(sent["step"]) <= width
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("name", "length"), [("1h30m", 5400), ("1d12h", 129_600), ("2w", 1_209_600), ("soon", 3600)])
async def test_a_range_is_a_prometheus_duration(page: Page, name: str, length: int) -> None:
    async with page.expect_request("**/api/v1/query_range") as asking:
        await page.goto(f"/models/chat?range={name}")
    sent = form(await asking.value)
    assert float(sent["end"]) - float(sent["start"]) == pytest.approx(length, abs=float(sent["step"]))


async def test_a_query_is_completed_run_by_keys_and_shared_by_its_address(page: Page) -> None:
    await page.goto("/query")
    field, offers = page.get_by_role("textbox", name="PromQL"), page.locator("#offers [role=option]")
    await field.fill("")
    await field.press_sequentially("llm_requests_ru")
    await expect(offers.first).to_contain_text("llm_requests_running")
    await page.keyboard.press("Enter")
    await field.press_sequentially("{versi")
    await expect(offers.first).to_contain_text("version")
    await page.keyboard.press("Tab")
    await expect(field).to_have_value('llm_requests_running{version="')
    await expect(offers).to_contain_text(["v1", "v2"])
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await field.press_sequentially("}")
    await page.keyboard.press("Control+Enter")
    row = page.locator("#query-table tbody tr")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("version=v2")
    await expect(row.locator("td").last).to_have_text("3")
    await page.reload()
    await expect(row.locator("td").last).to_have_text("3")
    await expect(page.locator("#recent-list button")).to_have_text(['llm_requests_running{version="v2"}'])
    async with page.expect_download() as saving:
        await page.get_by_role("button", name="CSV").click()
    saved = Path(await (await saving.value).path()).read_text().splitlines()  # noqa: ASYNC240 - a small local file
    assert saved[0].endswith(",time,value") and saved[1].endswith(",3")
    await page.get_by_role("link", name="Chart").click()
    await expect(page.locator("#query-chart .legend output")).to_have_text(["3"])


async def test_no_cell_of_a_querys_csv_is_a_formula_and_numbers_stay_numbers(page: Page, tmp_path: Path) -> None:
    await page.goto("/query")
    await page.locator("#query-form textarea").fill('label_replace(vector(-1.5), "node", "=1+1", "", "")')
    await page.keyboard.press("Control+Enter")
    async with page.expect_download() as downloading:
        await page.locator("#query-csv:enabled").click()
    await (await downloading.value).save_as(tmp_path / "query.csv")
    header, row = csv.reader((tmp_path / "query.csv").read_text().splitlines())
    assert (header, row[0], row[2]) == (["node", "time", "value"], "'=1+1", "-1.5")


async def test_a_fault_shows_its_place_and_what_a_label_holds_stays_text(page: Page) -> None:
    await page.goto("/query")
    field = page.get_by_role("textbox", name="PromQL")
    await field.fill("sum(\n  odd{words=}\n)")
    await page.keyboard.press("Control+Enter")
    fault = page.locator("#query-fault")
    await expect(fault).to_contain_text("parse error")
    await expect(fault.locator("pre")).to_have_text("  odd{words=}")
    await expect(fault.locator("mark")).to_have_text("}")
    await fault.get_by_role("button", name="Go to the place").click()
    assert await field.evaluate("field => field.selectionStart") == len("sum(\n  odd{words=")
    await field.fill("odd")
    await page.keyboard.press("Control+Enter")
    await expect(fault).to_be_hidden()
    await expect(page.locator("#query-table tbody")).to_contain_text(f"words={MARKUP}")
    await expect(page.locator("#query-table img")).to_have_count(0)
