"""The console in a real Chromium, over a real control plane process that watches a fake Triton."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import httpx
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.e2e.chromium import context_of
from tests.fakes.triton import FakeTriton
from tests.patience import HANG_S, PROCESS_S
from tests.ports import free_address

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

ADMIN = "cp_0123456789ab_" + "0123456789abcdef" * 4
MARKUP = "<img src=x onerror=window.pwned=1>"
NO_POLLING = """
const later = window.setTimeout;
window.setTimeout = (run, ms, ...more) => (ms >= 5000 ? 0 : later(run, ms, ...more));
"""
"""Takes the page's 5 s poll away, so that what changes was told by an event."""

RULES = """
groups:
  - name: console
    rules:
      - alert: Hot
        expr: test_temperature_celsius > 90
        labels: {severity: critical}
        annotations:
          summary: "{{ $labels.place }} is at {{ $value }}"
          runbook_url: "javascript:window.pwned=1"
"""


class Engine:
    """A fake Triton, and metrics whose one value the test sets."""

    def __init__(self) -> None:
        self.triton, self.temperature, self.metrics = FakeTriton(), 20.0, ""

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.triton)
            app = web.Application()
            app.router.add_get("/metrics", self._metrics)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.metrics = f"127.0.0.1:{runner.addresses[0][1]}"
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=f'test_temperature_celsius{{place="{MARKUP}"}} {self.temperature}\n')


class ControlPlane:
    """`controlplane up` as a process of its own."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.listen = free_address()
        self.url, self.folder, self.engine = f"http://{self.listen}", folder, engine
        self.process: asyncio.subprocess.Process | None = None
        (folder / "rules.yml").write_text(RULES)
        (folder / "fleet.yaml").write_text(
            f"""
fleet: {{name: browser-test}}
scrape: {{interval: 1s, timeout: 1s}}
evaluation_interval: 1s
rules: [rules.yml]
targets:
  - {{engine: vllm, addresses: ["{engine.metrics}"], labels: {{model: chat, version: v1, simulated: "true"}}}}
models:
  - name: model
    stable: v1
    traffic: {{driver: triton, backends: [{{url: "{engine.triton.url}", metrics: "http://{engine.metrics}/metrics"}}]}}
    versions: {{v1: {{}}, v2: {{}}}}
  - {{name: chat, stable: v1, traffic: {{driver: none}}, versions: {{v1: {{}}, v2: {{}}}}}}
"""
        )

    async def start(self) -> None:
        environment = {**os.environ, "CP_BOOTSTRAP_TOKEN": ADMIN}
        arguments = (
            "up",
            "-c",
            self.folder / "fleet.yaml",
            "--listen",
            self.listen,
            "--data-dir",
            self.folder / "data",
        )
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "controlplane", *arguments), env=environment, stdout=log, stderr=log
            )
        async with asyncio.timeout(PROCESS_S), httpx.AsyncClient(timeout=HANG_S) as client:
            while True:
                assert self.process.returncode is None, (self.folder / "log").read_text()
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{self.url}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    async def lift_quarantine(self) -> None:
        """Let v2 be promoted again: a rollback leaves it in quarantine."""
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {ADMIN}"}, timeout=HANG_S) as client:
            path = f"{self.url}/cp/v1/models/model/versions/v2/quarantine/lift"
            (await client.post(path, json={"reason": "the next test promotes it"})).raise_for_status()

    async def token(self, role: str) -> str:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {ADMIN}"}, timeout=HANG_S) as client:
            answer = await client.post(
                f"{self.url}/cp/v1/tokens", json={"name": f"a-{role}-{secrets.token_hex(3)}", "role": role}
            )
            return str(answer.raise_for_status().json()["token"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    async with Engine() as engine:
        plane = ControlPlane(tmp_path_factory.mktemp("console"), engine)
        try:
            await plane.start()
            yield plane
        finally:
            await plane.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def context(plane: ControlPlane, chromium: Browser) -> AsyncIterator[BrowserContext]:
    context = await context_of(chromium, base_url=plane.url)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """Yield a page in which nothing may go wrong: no script error, no violation of the content security policy."""
    page, faults = await context.new_page(), []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            faults.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    assert faults == []
    assert await page.evaluate("window.pwned") is None


async def sign_in(page: Page, token: str, path: str = "/") -> None:
    await page.goto(path)
    await page.get_by_label("Access token").fill(token)
    await page.keyboard.press("Enter")
    await expect(page.locator("#live-state")).to_have_text("live")


async def test_signing_in_leads_back_to_where_one_was(plane: ControlPlane, context: BrowserContext) -> None:
    page = await context.new_page()
    await page.goto("/alerts?state=firing")
    await page.get_by_label("Access token").fill("cp_0123456789ab_" + "0" * 64)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Access token").fill(ADMIN)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/alerts?state=firing")
    await expect(page.locator(".who")).to_have_text("bootstrap admin")
    await page.locator("#account summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/sign-in")
    await page.goto("/")
    await page.wait_for_url("**/sign-in?next=%2F")


async def test_a_session_that_ends_sends_an_open_page_to_sign_in(context: BrowserContext) -> None:
    page = await context.new_page()
    await sign_in(page, ADMIN, "/targets")
    await context.clear_cookies()
    await page.wait_for_url("**/sign-in?next=%2Ftargets")


async def test_the_overview_says_what_there_is_and_what_is_simulated(plane: ControlPlane, page: Page) -> None:
    await sign_in(page, ADMIN)
    model, chat = page.get_by_role("article", name="Model model"), page.get_by_role("article", name="Model chat")
    await expect(model.locator("tr", has_text="v1").locator(".state")).to_have_text("ready")
    await expect(model.get_by_role("button", name="Promote model to v2")).to_be_visible()
    await expect(chat.get_by_role("button")).to_have_count(0)
    await expect(chat).to_contain_text("Watched only")
    await expect(chat.locator("tr", has_text="v1").locator(".simulated")).to_be_visible()
    await expect(model.locator(".simulated")).to_have_count(0)


async def test_an_alert_changes_on_the_page_by_event(plane: ControlPlane, context: BrowserContext, page: Page) -> None:
    await context.add_init_script(NO_POLLING)
    await sign_in(page, ADMIN, "/alerts?state=all")
    row = page.locator("tr", has_text="Hot").first
    await page.evaluate("document.getElementById('live').kept = true")
    filter_link = page.get_by_role("link", name="resolved")
    await filter_link.focus()
    plane.engine.temperature = 95.0
    await expect(row.locator(".state")).to_have_text("firing")
    await expect(row).to_contain_text(f"{MARKUP} is at 95")
    plane.engine.temperature = 20.0
    await expect(row.locator(".state")).to_have_text("resolved")
    await expect(filter_link).to_be_focused()
    assert await page.evaluate("document.getElementById('live').kept")  # no reload, and the same elements
    await row.get_by_role("link", name="Hot").click()
    await expect(page.locator("dd code", has_text="javascript:")).to_be_visible()
    await expect(page.locator("a[href^='javascript']")).to_have_count(0)


async def test_promoting_and_rolling_back_after_a_confirmation(plane: ControlPlane, page: Page) -> None:
    await sign_in(page, await plane.token("operator"))
    await page.get_by_role("button", name="Promote model to v2").focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Promote model to v2?")
    await expect(dialog.locator("ol li").first).to_contain_text("load v2")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Promote model to v2")).to_be_focused()
    await page.keyboard.press("Enter")
    loads = len(plane.engine.triton.loads)
    await dialog.get_by_role("button", name="Promote v2").dblclick()
    await page.wait_for_url("**/rollouts/r-*")
    await expect(page.locator("h1 .state")).to_have_text("succeeded")
    assert plane.engine.triton.serving == 2
    assert len(plane.engine.triton.loads) > loads
    await page.goto("/rollouts")
    await expect(page.locator("tbody tr")).to_have_count(1)  # the double click started one

    await page.goto("/models/model")
    await page.get_by_role("button", name="Roll back to v1, model").click()
    dialog = page.get_by_role("dialog", name="Roll model back to v1?")
    await expect(dialog.locator("ol li").first).to_contain_text("load v1")
    await dialog.get_by_role("button", name="Roll back").click()
    await page.wait_for_url("**/rollouts/r-*")
    await expect(page.locator("h1 .state")).to_have_text("succeeded")
    assert plane.engine.triton.serving == 1
    await page.goto("/models/model")
    await expect(page.locator(".quarantine")).to_contain_text("v2 is in quarantine")
    await expect(page.get_by_role("button", name="Promote model to v2")).to_have_count(0)
    await plane.lift_quarantine()


async def test_a_rollout_is_paused_and_resumed_on_its_page_with_a_reason(plane: ControlPlane, page: Page) -> None:
    plane.engine.triton.hold_loads()  # the rollout is under way for as long as this takes
    await sign_in(page, ADMIN, "/models/model")
    await page.get_by_role("button", name="Promote model to v2").click()
    await page.get_by_role("button", name="Promote v2").click()
    await page.wait_for_url("**/rollouts/r-*")
    dialog = page.get_by_role("dialog")
    await page.get_by_role("button", name="Pause…").click()
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await dialog.get_by_label("Reason").fill(MARKUP)
    await dialog.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("button", name="Resume…")).to_be_visible()
    await expect(page.locator("main")).to_contain_text(MARKUP)
    steps = page.get_by_role("list", name="Steps").get_by_role("listitem")
    await expect(page.locator("[aria-current=step]")).to_have_count(1)
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.get_by_role("button", name="Resume…").click()
    await dialog.get_by_role("button", name="Resume").click()
    plane.engine.triton.finish_loads()
    await expect(page.locator("h1 .state")).to_have_text("succeeded")
    await expect(page.locator(".stepper li.done")).to_have_count(await steps.count())
    await page.goto("/models/model")
    await page.get_by_role("button", name="Roll back to v1, model").click()
    await page.get_by_role("button", name="Roll back", exact=True).click()
    await page.wait_for_url("**/rollouts/r-*")
    await expect(page.locator("h1 .state")).to_have_text("succeeded")
    assert plane.engine.triton.serving == 1
    await plane.lift_quarantine()


async def test_a_version_that_cannot_load_shows_the_engines_words_as_text(plane: ControlPlane, page: Page) -> None:
    plane.engine.triton.fails[2] = MARKUP
    await sign_in(page, ADMIN, "/models/model")
    await page.get_by_role("button", name="Promote model to v2").click()
    await page.get_by_role("button", name="Promote v2").click()
    await page.wait_for_url("**/rollouts/r-*")
    await expect(page.locator("h1 .state")).to_have_text("failed")
    await expect(page.locator(".lead")).to_contain_text(MARKUP)
    assert plane.engine.triton.serving == 1


async def test_viewers_have_no_buttons(plane: ControlPlane, page: Page) -> None:
    await sign_in(page, await plane.token("viewer"))
    for path in ("/", "/models/model", "/rollouts"):
        await page.goto(path)
        await expect(page.locator("#live [aria-haspopup=dialog]")).to_have_count(0)
    await page.goto("/models/model")
    await expect(page.get_by_text("You are signed in as a viewer")).to_be_visible()


async def test_pages_fit_a_narrow_window(plane: ControlPlane, page: Page) -> None:
    await sign_in(page, ADMIN)
    await page.set_viewport_size({"width": 800, "height": 900})
    watched = ("/", "/models/model", "/targets", "/alerts", "/rollouts", "/notifications")
    operated = ("/gateway", "/cost", "/keys", "/audit", "/access", "/system")
    for path in (*watched, *operated):
        await page.goto(path)
        await expect(page.locator("#live-state")).to_have_text("live")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 800
        hidden = await page.evaluate(
            """[...document.querySelectorAll('#live .table button')].filter((button) =>
            button.getBoundingClientRect().right > button.closest('.table').getBoundingClientRect().right).length"""
        )
        assert hidden == 0, path


async def test_a_key_is_made_shown_once_limited_and_revoked(page: Page) -> None:
    await sign_in(page, ADMIN, "/keys")
    dialog = page.get_by_role("dialog")
    await page.get_by_role("button", name="New key…").click()
    await dialog.get_by_label("Tenant").fill("search")
    await dialog.get_by_label("Name").fill("ci")
    await dialog.get_by_label("Requests a minute").fill("many")
    await dialog.get_by_role("button", name="Make the key").click()
    await expect(dialog.get_by_role("alert").first).to_contain_text("requests a minute: ")
    await dialog.get_by_label("Requests a minute").fill("600")
    await dialog.get_by_role("button", name="Make the key").click()
    await expect(dialog.locator("#new-key")).to_have_text(re.compile(r"cpk_[0-9a-f]{12}_[0-9a-f]{64}"))
    await dialog.get_by_role("button", name="Close").click()
    row = page.locator("tbody tr").filter(has_text="search")
    await expect(row).to_contain_text("600 requests a minute")

    await row.get_by_role("button", name="Limits…").click()
    await dialog.get_by_label("Tokens a day").fill("5000")
    await dialog.get_by_label("Requests a minute").fill("")
    await dialog.get_by_role("button", name="Change limits").click()
    await expect(row).to_contain_text("5,000 tokens a day")
    await expect(row).not_to_contain_text("requests a minute")

    await expect(page.locator("#live-state")).to_have_text("live")  # the page was loaded again
    await row.get_by_role("button", name="Revoke…").click()
    await dialog.get_by_role("button", name="Revoke", exact=True).click()
    await expect(row).to_contain_text("revoked")
    await expect(row.get_by_role("button")).to_have_count(0)


async def test_the_audit_trail_is_filtered_by_its_form_and_a_link_shows_the_same(page: Page) -> None:
    await sign_in(page, ADMIN)
    await page.get_by_role("link", name="Audit").click()
    await page.get_by_label("Action").fill("token.create")
    await page.get_by_label("From").fill("1h")
    await page.get_by_label("without refused attempts").check()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/audit?action=token.create&since=1h&refusals=no")
    rows = page.locator("tbody tr:not(.day)")
    await expect(rows.last).to_contain_text("bootstrap with role admin")
    await expect(rows.filter(has_not_text="token.create")).to_have_count(0)
    await page.get_by_label("Actor").fill("nob")  # what is being typed outlives the page's refreshes
    await page.evaluate("document.getElementById('live').dispatchEvent(new Event('refresh'))")
    async with page.expect_response(lambda answer: "/audit?" in answer.url):
        pass
    await expect(page.get_by_label("Actor")).to_have_value("nob")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("No entry matches these filters.")).to_be_visible()
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.goto("/audit?refusals=no")
        await expect(rows.first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_a_hidden_page_holds_no_stream(page: Page) -> None:
    await sign_in(page, ADMIN, "/targets")
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true})"
    seen = "document.dispatchEvent(new Event('visibilitychange'))"
    async with page.expect_event("requestfailed", lambda request: request.url.endswith("/cp/v1/events")):
        await page.evaluate(f"{hide % 'true'} && {seen}")
    async with page.expect_request("**/cp/v1/events"):
        await page.evaluate(f"{hide % 'false'} && {seen}")
    await expect(page.locator("#live-state")).to_have_text("live")


async def test_a_dead_control_plane_is_told_and_its_return_too(plane: ControlPlane, context: BrowserContext) -> None:
    page = await context.new_page()
    await sign_in(page, ADMIN, "/targets")
    await expect(page.locator("#stale")).to_be_hidden()
    await plane.stop()
    await expect(page.locator("#live-state")).to_have_text("not live")
    await expect(page.locator("#stale")).to_have_text(re.compile("cannot be reached. .* state of ..:..:.. UTC"))
    await plane.start()
    await expect(page.locator("#live-state")).to_have_text("live")
    await expect(page.locator("#stale")).to_be_hidden()
