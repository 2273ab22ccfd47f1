"""The way of an alert through the routes in a real Chromium, over a real control plane process, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import async_playwright, expect

from tests.e2e.chromium import CHROMIUM, FLAGS, context_of
from tests.e2e.test_console_silences import looked_at
from tests.scenario.up import TOKEN, up

pytestmark = pytest.mark.needs("chromium")
FLEET = """\
fleet: {name: test}
evaluation_interval: 1s
rules: [rules.yml]
notifiers:
  - {name: ops, type: log}
  - {name: pager, type: log}
time_intervals:
  - {name: always, time_intervals: [{times: [{start_time: "00:00", end_time: "24:00"}]}]}
inhibit_rules:
  - {source_matchers: [alertname="NodeDown"], target_matchers: ['severity=~"warning|critical"'], equal: [node]}
route:
  group_wait: 0s
  receiver: ops
  routes:
    - matchers: [team="serving"]
      routes:
        - {matchers: [severity="critical"], receiver: pager, continue: true, escalation: [{after: 15m, receiver: ops}]}
        - {matchers: ['model=~"chat|code"'], group_by: [model], mute_time_intervals: [always]}
    - {matchers: [team="training"], receiver: pager}
"""
RULES = """\
groups:
  - name: g
    rules: [{alert: Hot, expr: vector(91), labels: {severity: critical}, annotations: {summary: it is hot}}]
"""
LABELS = "alertname=Slow, team=serving, severity=critical, model=chat, node=gpu-17"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
async def test_labels_are_typed_answered_shared_and_mended(tmp_path: Path, width: int, scheme: Any) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    async with up(tmp_path, FLEET) as (_, port), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = await context_of(
            browser,
            viewport={"width": width, "height": 800},
            base_url=f"http://127.0.0.1:{port}",
            color_scheme=scheme,
        )
        page = await context.new_page()
        violations: list[str] = []
        page.on("console", lambda said: violations.append(said.text) if "Security Policy" in said.text else None)
        await page.goto("/sign-in?next=/notifications")
        await page.fill("input[name=token]", TOKEN)
        await page.click("button[type=submit]")
        await page.wait_for_url("/notifications")
        field = page.get_by_label("Where would an alert with these labels go?")
        await expect(page.locator("table[aria-label=Notifications]")).to_contain_text("Hot")
        await looked_at(page, f"notifications-{scheme}")

        await field.fill("team=serving, severity")
        await page.get_by_role("button", name="Show").click()
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(page.get_by_role("alert").first).to_contain_text("expected = and a value")
        await looked_at(page, f"notifications-fault-{scheme}")

        await field.fill(LABELS)
        await page.get_by_role("button", name="Show").click()
        answer = page.get_by_role("region", name="Where this alert goes")
        await expect(answer.locator("code", has_text="route")).to_have_text(
            ["route", "route.routes[0]", "route.routes[0].routes[0]", "route.routes[0].routes[1]"]
        )
        await expect(answer).to_contain_text("pager")
        await expect(answer).to_contain_text("It sends nothing: muted in the time interval always.")
        await expect(answer).to_contain_text('alertname="NodeDown"')
        await looked_at(page, f"notifications-route-{scheme}")

        address = page.url
        await page.goto("/")
        await page.goto(address)
        await expect(field).to_have_value(LABELS)
        await field.fill("half typed")
        async with page.expect_response("**/notifications?labels=*"):
            await page.evaluate("htmx.trigger('#live', 'refresh')")
        await expect(field).to_have_value("half typed")
        await page.get_by_role("link", name="messages only").click()
        await page.wait_for_url("/notifications")
        await expect(answer).to_have_count(0)
        assert violations == []
        await browser.close()
