"""The page of silences, and the dialogs that silence, acknowledge and snooze."""

from __future__ import annotations

import html
import re
from typing import Any

from controlplane.access.roles import Role
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.web.conftest import HTMX
from tests.unit.controlplane.web.reading import words

KEY = "0" * 32
NEW = {"matchers": 'model="chat"', "length": "2h", "comment": "new <driver>", "key": KEY}


async def send(browser: Any, path: str, **form: str) -> Any:
    return await browser.client.post(path, headers={**HTMX, "X-CSRF-Token": await browser.csrf()}, data=form)


def rows(page: str) -> list[str]:
    """Return the ids of the silences on a page, in their order."""
    return re.findall(r'id="silence-([0-9a-f-]{36})"', page)


async def test_an_operator_silences_extends_and_ends(console: Any) -> None:
    console.alert("Hot", model="chat")
    console.alert("Cold", model="code")
    async with console.browser(Role.OPERATOR) as browser:
        assert "No silences." in await browser.page("/silences")
        assert 'hx-get="/silences/preview"' in await browser.dialog("/silences/new")
        made = await send(browser, "/silences/new", **NEW)
        assert (made.status_code, made.headers["hx-redirect"]) == (204, "/silences")
        await send(browser, "/silences/new", **NEW)  # a double click
        page = await browser.page("/silences")
        (identifier,) = rows(page)
        held = "/alerts?state=held&amp;label=model%3D%22chat%22"
        assert f'data-label="mutes"><a href="{held}">1</a>' in page
        assert "new &lt;driver&gt;" in page
        shown = await browser.page("/alerts")
        assert re.search(r'title="silenced by [^"]+: new &lt;driver&gt;">silenced<', shown)
        assert "Held back" in await browser.page(f"/alerts/{console.alert('Hot', model='chat')}")
        assert "Extend the silence of test-operator?" in await browser.dialog(f"/silences/{identifier}/extend")
        assert (await send(browser, f"/silences/{identifier}/extend", length="4h", key=KEY)).status_code == 204
        wrong = await send(browser, f"/silences/{identifier}/extend", length="soon", key=KEY)
        assert "for how long: " in wrong.text
        assert "holds back 1 firing alert, which" in await browser.dialog(f"/silences/{identifier}/expire")
        assert (await send(browser, f"/silences/{identifier}/expire", comment="done", key=KEY)).status_code == 204
        assert rows(await browser.page("/silences")) == []
        assert rows(await browser.page("/silences?state=expired")) == [identifier]


async def test_what_is_wrong_stays_in_the_form(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        answer = await send(browser, "/silences/new", **NEW | {"matchers": "model=~", "comment": ""})
        assert answer.status_code == 200
        assert "comment: it is needed" in answer.text
        assert 'value="model=~"' in answer.text
        answer = await send(browser, "/silences/new", **NEW | {"matchers": 'node=~".+"'})
        assert "a silence without an equality matcher" in answer.text
        long = f'model="{"m" * 9000}"'
        answer = await send(browser, "/silences/new", **NEW | {"matchers": long})
        assert "matchers: string should have at most 4096 characters" in answer.text
        assert long in html.unescape(answer.text)
        assert rows(await browser.page("/silences?state=all")) == []


async def test_a_window_begins_later(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        assert (await send(browser, "/silences/new", **NEW | {"begin": "30m"})).status_code == 204
        assert (
            await send(browser, "/silences/new", **NEW | {"begin": "2027-01-16T02:00:00Z", "key": "1" * 32})
        ).status_code == 204
        page = await browser.page("/silences?state=pending")
        assert len(rows(page)) == 2
        assert "2027-01-16 02:00" in page


async def test_the_preview_follows_what_is_typed(console: Any) -> None:
    console.alert("Hot", model="chat")
    async with console.browser(Role.OPERATOR) as browser:
        found = await browser.dialog("/silences/preview?matchers=model%3Dchat")
        assert "<strong>1</strong> firing or pending alert matches now" in found
        wide = await browser.dialog("/silences/preview?matchers=model%3D~.%2B")
        assert "needs an admin" in wide
        wrong = await browser.dialog("/silences/preview?matchers=model")
        assert "expected one of =, !=, =~ and !~" in wrong


async def test_an_alert_is_taken_snoozed_and_given_back(console: Any) -> None:
    fingerprint = console.alert("Hot", model="chat")
    path = f"/alerts/{fingerprint}"
    async with console.browser(Role.OPERATOR) as browser:
        assert "Acknowledge Hot?" in await browser.dialog(f"{path}/acknowledge")
        taken = await send(browser, f"{path}/acknowledge", comment="mine", key=KEY)
        assert (taken.status_code, taken.headers["hx-redirect"]) == (204, path)
        page = await browser.page(path)
        assert re.search(r"<dt>Acknowledged</dt><dd>by test-operator since .*: mine</dd>", page)
        assert f'hx-get="{path}/unacknowledge"' in page
        assert f'hx-get="{path}/acknowledge"' not in page
        assert ">acknowledged<" in await browser.page("/alerts")
        wrong = await send(browser, f"{path}/snooze", length="40d", key=KEY)
        assert "for how long: " in wrong.text
        await send(browser, f"{path}/snooze", length="1h", key=KEY)
        assert "<dt>Snoozed</dt>" in await browser.page(path)
        await send(browser, f"{path}/unacknowledge", key=KEY)
        assert f'hx-get="{path}/acknowledge"' in await browser.page(path)
        console.rig.clock.time = NOW
        form = await browser.dialog(f"/silences/new?alert={fingerprint}")
        assert 'value="alertname=&#34;Hot&#34;, model=&#34;chat&#34;"' in form, "not the severity: it may rise"


async def test_a_viewer_sees_and_cannot_act(console: Any) -> None:
    fingerprint = console.alert("Hot", model="chat")
    async with console.browser(Role.VIEWER) as browser:
        assert "New silence…" not in await browser.page("/silences")
        assert "Acknowledge" not in await browser.page("/alerts")
        answer = await send(browser, f"/alerts/{fingerprint}/acknowledge", key=KEY)
        assert answer.status_code == 403


async def test_a_dialog_that_is_opened_as_a_page_leads_to_its_page(console: Any) -> None:
    fingerprint = console.alert("Hot", model="chat")
    async with console.browser(Role.OPERATOR) as browser:
        for path, page in (("/silences/new", "/silences"), (f"/alerts/{fingerprint}/snooze", f"/alerts/{fingerprint}")):
            answer = await browser.client.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, page)


async def test_the_tabs_count_silences_and_an_expired_one_is_made_again(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        await send(browser, "/silences/new", **NEW)
        await send(browser, "/silences/new", **NEW | {"begin": "30m", "key": "1" * 32})
        page = await browser.page("/silences?state=active")
        (identifier,) = rows(page)
        told = words(page)
        assert "open 2 active 1 pending 1 expired 0 all 2" in told
        assert "2h left" in told
        assert '<rect width="100.0" height="6"/>' in page
        console.rig.clock.time += 5400
        page = await browser.page("/silences?state=active")
        assert '<rect width="25.0" height="6"/>' in page, "a quarter of the time is left"
        console.rig.clock.time -= 5400
        await send(browser, f"/silences/{identifier}/expire", key=KEY)
        page = await browser.page("/silences?state=expired")
        assert f'hx-get="/silences/new?like={identifier}"' in page
        form = await browser.dialog(f"/silences/new?like={identifier}")
        assert 'value="model=&#34;chat&#34;"' in form
        assert 'value="new &lt;driver&gt;"' in form
