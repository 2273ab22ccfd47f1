"""Acknowledging and silencing several alerts at once."""

from __future__ import annotations

import json
from typing import Any

from alerts.interfaces import AlertState
from controlplane.access.roles import Role
from tests.unit.controlplane.web.conftest import HTMX

KEY = "0" * 32


async def send(browser: Any, act: str, fingerprints: list[str], **form: str) -> Any:
    headers = {**HTMX, "X-CSRF-Token": await browser.csrf()}
    data: dict[str, Any] = {"key": KEY, "fp": fingerprints, **form}
    return await browser.client.post(f"/alerts/selected/{act}", headers=headers, data=data)


async def test_the_dialog_names_how_many_and_which(console: Any) -> None:
    chosen = [console.alert("Hot", gpu=str(n)) for n in range(14)]
    async with console.browser(Role.OPERATOR) as browser:
        dialog = await browser.dialog("/alerts/selected/acknowledge?" + "&".join(f"fp={one}" for one in chosen))
    assert "Acknowledge 14 alerts?" in dialog
    assert dialog.count("<li>Hot") == 12
    assert "and 2 more" in dialog
    assert dialog.count('name="fp"') == 14


async def test_all_are_acknowledged_with_one_reason(console: Any) -> None:
    chosen = [console.alert("Hot", gpu=str(n)) for n in range(3)]
    async with console.browser(Role.OPERATOR) as browser:
        answer = await send(browser, "acknowledge", chosen, comment="fans are replaced")
        assert answer.status_code == 204
        assert json.loads(answer.headers["hx-trigger"]) == {"alertsHeld": {"done": chosen, "all": True}}
        for one in chosen:
            assert "by test-operator since" in await browser.page(f"/alerts/{one}")
            assert ": fans are replaced</dd>" in await browser.page(f"/alerts/{one}")


async def test_all_are_snoozed_for_one_time(console: Any) -> None:
    chosen = [console.alert("Hot", gpu=str(n)) for n in range(2)]
    async with console.browser(Role.OPERATOR) as browser:
        dialog = await browser.dialog("/alerts/selected/snooze?" + "&".join(f"fp={one}" for one in chosen))
        assert "Snooze 2 alerts?" in dialog and 'name="length" value="1h"' in dialog
        answer = await send(browser, "snooze", chosen, length="1h30m", comment="lunch")
        assert answer.status_code == 204
        for one in chosen:
            page = await browser.page(f"/alerts/{one}")
            assert "<dt>Snoozed</dt>" in page and "until" in page and "2027-01-15 09:30:00" in page
            assert ": lunch</dd>" in page


async def test_a_wrong_time_of_a_snooze_stays_in_the_form_and_snoozes_nothing(console: Any) -> None:
    chosen = [console.alert("Hot")]
    async with console.browser(Role.OPERATOR) as browser:
        for wrong in ("soon", "", "10y"):
            answer = await send(browser, "snooze", chosen, length=wrong)
            assert answer.status_code == 200 and "for how long: " in answer.text, wrong
            assert f'name="length" value="{wrong}"' in answer.text
        assert "Snoozed" not in await browser.page(f"/alerts/{chosen[0]}")


async def test_one_that_cannot_be_snoozed_is_named_and_the_others_are(console: Any) -> None:
    firing, pending = console.alert("Hot"), console.alert("Slow", AlertState.PENDING)
    async with console.browser(Role.OPERATOR) as browser:
        answer = await send(browser, "snooze", [firing, pending], length="1h")
    assert "1 of 2 done" in answer.text and "only a firing alert can be acknowledged" in answer.text
    assert json.loads(answer.headers["hx-trigger"]) == {"alertsHeld": {"done": [firing], "all": False}}


async def test_one_that_fails_is_named_with_its_reason_and_the_others_are_done(console: Any) -> None:
    firing, pending = console.alert("Hot"), console.alert("Slow", AlertState.PENDING)
    async with console.browser(Role.OPERATOR) as browser:
        answer = await send(browser, "acknowledge", [firing, pending, "0" * 16])
        assert answer.status_code == 200
        assert "1 of 3 done" in answer.text
        assert "only a firing alert can be acknowledged" in answer.text
        assert f"there is no alert {'0' * 16}" in answer.text
        assert json.loads(answer.headers["hx-trigger"]) == {"alertsHeld": {"done": [firing], "all": False}}
        assert ">acknowledged<" in await browser.page("/alerts")


async def test_each_gets_a_silence_of_its_own_and_a_double_click_makes_no_more(console: Any) -> None:
    chosen = [console.alert("Hot", gpu=str(n)) for n in range(2)]
    async with console.browser(Role.OPERATOR) as browser:
        for _ in range(2):
            assert (await send(browser, "silence", chosen, length="1h", comment="new fans")).status_code == 204
        page = await browser.page("/silences")
    assert page.count('<tr id="silence-') == 2
    assert 'alertname=&#34;Hot&#34;</span> <span class="label">gpu=&#34;1&#34;' in page
    assert page.count("new fans") == 2


async def test_what_is_wrong_stays_in_the_form(console: Any) -> None:
    chosen = [console.alert("Hot")]
    async with console.browser(Role.OPERATOR) as browser:
        answer = await send(browser, "silence", chosen, length="soon", comment="")
        assert "comment: it is needed" in answer.text
        assert 'value="soon"' in answer.text
        assert "No silences." in await browser.page("/silences?state=all")


async def test_bad_requests_are_refused(console: Any) -> None:
    one = console.alert("Hot")
    async with console.browser(Role.OPERATOR) as browser:
        assert (await send(browser, "delete", [one])).status_code == 404
        assert (await send(browser, "silence", [])).status_code == 400
        assert (await send(browser, "silence", ["no-fingerprint"])).status_code == 400
        assert (await send(browser, "silence", [f"{n:016x}" for n in range(501)])).status_code == 400
        opened = await browser.client.get("/alerts/selected/silence?fp=" + one)
        assert (opened.status_code, opened.headers["location"]) == (303, "/alerts")


async def test_a_viewer_selects_nothing(console: Any) -> None:
    one = console.alert("Hot")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/alerts")
        assert "data-pick" not in page
        assert (await send(browser, "acknowledge", [one])).status_code == 403
