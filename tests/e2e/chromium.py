"""The Chromium of the tests of the console."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Browser, BrowserContext, expect

from tests.patience import HANG_S

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
WAIT_MS = HANG_S * 1000
"""Longest wait for what a page shows, what takes the control plane several turns included: a rollout verifies its
version for 5 s. Playwright's own is 5 s, which a busy machine needs for one page."""

expect.set_options(timeout=WAIT_MS)


async def context_of(browser: Browser, **options: Any) -> BrowserContext:
    """Open a context that waits WAIT_MS for each act. Playwright takes `options`."""
    context = await browser.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    return context
