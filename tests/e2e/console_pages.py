"""The pages of the console over the fleet that has seen a bad day. A new page is one line in PAGES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from controlplane.access.roles import Role
from tests.e2e.bad_day.rows import TOKENS
from tests.e2e.bad_day.world import World
from tests.e2e.chromium import CHROMIUM, FLAGS, context_of
from tests.patience import HANG_S

SIGNED_OUT = ("sign-in",)
"""Pages for browsers that have not signed in."""
PAGES = {
    "sign-in": "/sign-in",
    "fleet": "/",
    "model": "/models/chat",
    "model-quarantined": "/models/code",
    "model-watched": "/models/summarise",
    "model-triton": "/models/embed",
    "targets": "/targets",
    "alerts": "/alerts",
    "alerts-resolved": "/alerts?state=resolved",
    "alert": "/alerts/{firing}",
    "alert-acknowledged": "/alerts/{acknowledged}",
    "silences": "/silences",
    "rollouts": "/rollouts",
    "rollout-running": "/rollouts/{running}",
    "rollout-paused": "/rollouts/{paused}",
    "rollout-rolled-back": "/rollouts/{rolled_back}",
    "rollout-failed": "/rollouts/{failed}",
    "backups": "/backups",
    "backup-job": "/backups/weights",
    "backup-job-failed": "/backups/datasets",
    "notifications": "/notifications",
    "notifications-route": "/notifications?labels=severity%3Dcritical%2C+model%3Dchat",
    "keys": "/keys",
    "audit": "/audit",
    "query": "/query?expr=sum+by+(model)+(rate(llm_requests_total%5B5m%5D))&tab=chart",
    "rules": "/rules",
    "rules-try": "/rules/try",
    "gateway": "/gateway",
    "cost": "/cost",
    "access": "/access",
    "system": "/system",
    "runbooks": "/runbooks",
    "runbook": "/runbooks/LLMLatencyP99High",
}
"""Name to path. Names in braces are ids that `Places` looks up."""


@dataclass(frozen=True)
class Places:
    """The ids of the world that paths name."""

    ids: dict[str, str]

    @classmethod
    async def read(cls, world: World) -> Places:
        """Look the ids up. Waits until the alerts of the fake engines fire."""
        async with world.client() as client:
            rollouts = {item["model"]: item["id"] for item in reversed(await _items(client, "/cp/v1/rollouts"))}
            async with asyncio.timeout(HANG_S):
                while True:
                    firing = await _items(client, "/cp/v1/alerts?state=firing")
                    names = {item["name"]: item["fingerprint"] for item in firing}
                    acknowledged = [item["fingerprint"] for item in firing if item["acknowledged"]]
                    if "LLMErrorRateHigh" in names and acknowledged:
                        break
                    await asyncio.sleep(0.2)
        return cls(
            {
                "firing": names["LLMErrorRateHigh"],
                "acknowledged": acknowledged[0],
                "running": rollouts["chat"],
                "paused": rollouts["translate"],
                "rolled_back": rollouts["code"],
                "failed": rollouts["embed"],
            }
        )

    def path(self, name: str) -> str:
        """Return the path of a page."""
        return PAGES[name].format(**self.ids)


@dataclass(frozen=True)
class Console:
    """A browser over the world."""

    world: World
    browser: Browser
    places: Places
    session: Any
    """The cookies of an admin who has signed in."""
    contexts: dict[tuple[bool, str, int, int], BrowserContext] = field(default_factory=dict)
    """One for each look, signed in or not: its pages share what the browser has loaded and compiled."""

    @asynccontextmanager
    async def page(self, name: str, scheme: str, width: int, height: int) -> AsyncIterator[Visit]:
        """Yield a page that is open and settled."""
        page = await (await self._context(name not in SIGNED_OUT, scheme, width, height)).new_page()
        try:
            faults: list[str] = []

            def heard(message: ConsoleMessage) -> None:
                if message.type in ("error", "warning"):
                    faults.append(message.text)

            page.on("console", heard)
            page.on("pageerror", lambda error: faults.append(str(error)))
            answer = await page.goto(self.places.path(name))
            assert answer is not None
            assert answer.status == 200, f"{name}: {answer.status}"
            if name not in SIGNED_OUT:
                await expect(page.locator("#live-state")).to_have_text("live")
            if name == "fleet":
                # Its lines are read after the page.
                await expect(page.locator(".card polyline, article polyline").first).to_be_attached()
            await expect(page.locator("#query-answers[aria-busy]")).to_have_count(0)
            for chart in await page.locator(".chart").all():
                await expect(chart).not_to_be_empty()
            yield Visit(page, faults)
        finally:
            await page.close()

    async def _context(self, signed_in: bool, scheme: Any, width: int, height: int) -> BrowserContext:
        key = signed_in, scheme, width, height
        if key not in self.contexts:
            self.contexts[key] = await context_of(
                self.browser,
                base_url=self.world.url,
                color_scheme=scheme,
                reduced_motion="reduce",
                viewport={"width": width, "height": height},
                storage_state=self.session if signed_in else None,
            )
        return self.contexts[key]


@dataclass(frozen=True)
class Visit:
    """An open page, and what its console complained about."""

    page: Page
    faults: list[str]


@asynccontextmanager
async def open_console(world: World) -> AsyncIterator[Console]:
    """Yield a browser over a world that has started."""
    places = await Places.read(world)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield Console(world, browser, places, await _signed_in(world, browser))
        finally:
            await browser.close()


async def _signed_in(world: World, browser: Browser) -> Any:
    """Sign an admin in, and return the cookies."""
    context = await context_of(browser, base_url=world.url)
    page = await context.new_page()
    await page.goto("/sign-in?next=/runbooks")
    await page.get_by_label("Access token").fill(TOKENS[Role.ADMIN])
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    session = await context.storage_state()
    await context.close()
    return session


async def _items(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get(path)).raise_for_status().json()["items"]
    return items
