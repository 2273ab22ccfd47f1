"""The page of the gateways' API keys, and its dialogs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from controlplane.access.gateway_keys import KeyProperties
from controlplane.access.roles import Role
from controlplane.gateway.desired.document import LimitSpec
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.web.conftest import HTMX
from tests.unit.controlplane.web.reading import sections, words

NEW = {
    "tenant": "search",
    "name": "ci",
    "role": "tester",
    "models": "chat, rank",
    "expires_in": "30d",
    "priority": "-1",
    "requests_per_minute": "600",
    "daily_usd": "2.5",
}


def make(console: Any, name: str = "ci", tenant: str = "search", **more: Any) -> Any:
    return console.rig.keys.create(KeyProperties(name, tenant, **more), NOW - 60, by="ana")[0]


async def send(browser: Any, path: str, **form: str) -> Any:
    return await browser.client.post(path, headers={**HTMX, "X-CSRF-Token": await browser.csrf()}, data=form)


async def test_a_viewer_sees_the_keys_and_no_button(console: Any) -> None:
    make(console, limits=LimitSpec(requests_per_minute=6000, daily_usd=1.5), models=("chat",))
    gone = make(console, "gone")
    console.rig.keys.revoke(gone.id, NOW - 5, by="ana")
    past = make(console, "past", expires_at=NOW - 1)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/keys")
    assert "6,000 requests a minute 0.00 of 1.50 US dollars a day" in words(page).replace("$", "")
    assert re.findall(r'data-label="name">(\w+)<', page) == [
        "ci",
        *sorted(("gone", "past"), key=lambda n: page.index(n)),
    ]
    assert re.search(rf'id="key-{gone.id}".*?>revoked<', page, re.S) and re.search(
        rf'id="key-{past.id}".*?>expired<', page, re.S
    )
    assert "Revoke…" not in page and "New key…" not in page
    assert sections(page)["/keys"] is True


async def test_an_admin_makes_a_key_and_sees_it_once(console: Any) -> None:
    async with console.browser(Role.ADMIN) as browser:
        assert "New key…" in await browser.page("/keys")
        assert 'hx-post="/keys/new"' in await browser.dialog("/keys/new")
        answer = await send(browser, "/keys/new", **NEW)
        text = re.search(r'id="new-key">(cpk_[0-9a-f]{12}_[0-9a-f]{64})<', answer.text)
        assert answer.status_code == 200 and text
        page = await browser.page("/keys")
    (key,) = console.rig.keys.list()
    assert (key.name, key.tenant, key.role, key.models, key.priority) == (
        "ci",
        "search",
        "tester",
        ("chat", "rank"),
        -1,
    )
    assert key.limits == LimitSpec(requests_per_minute=600, daily_usd=2.5)
    assert key.expires_at == NOW + 30 * 86400 and key.created_by == "test-admin"
    assert text[1].split("_")[2] not in page and key.prefix in page


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": ""}, "name: "),
        ({"tenant": "a b"}, "tenant: "),
        ({"role": "king"}, "role: "),
        ({"models": "../x"}, "models: "),
        ({"expires_in": "soon"}, "expires in: "),
        ({"priority": "high"}, "priority: "),
        ({"requests_per_minute": "0"}, "requests a minute: "),
        ({"requests_per_minute": "1.5"}, "requests a minute: "),
        ({"daily_usd": "nan"}, "US dollars a day: "),
        ({"daily_usd": "lots"}, "US dollars a day: "),
    ],
)
async def test_a_wrong_field_is_named_and_what_was_typed_stays(
    console: Any, changed: dict[str, str], says: str
) -> None:
    async with console.browser(Role.ADMIN) as browser:
        answer = await send(browser, "/keys/new", **{**NEW, **changed})
    faults = re.findall(r"<li>(.*?)</li>", answer.text)
    assert answer.status_code == 200 and len(faults) == 1 and faults[0].startswith(says), faults
    assert 'value="2.5"' in answer.text or "daily_usd" in changed
    assert console.rig.keys.list() == []


async def test_a_taken_name_is_said_in_the_dialog(console: Any) -> None:
    make(console)
    async with console.browser(Role.ADMIN) as browser:
        answer = await send(browser, "/keys/new", **NEW)
    assert "tenant search has a key named ci" in answer.text
    assert len(console.rig.keys.list()) == 1


async def test_limits_are_changed_to_what_the_form_says(console: Any) -> None:
    key = make(console, limits=LimitSpec(requests_per_minute=60, concurrent=4))
    path = f"/keys/{key.id}/limits"
    async with console.browser(Role.ADMIN) as browser:
        dialog = await browser.dialog(path)
        assert 'name="requests_per_minute" value="60"' in dialog and 'name="daily_tokens" value=""' in dialog
        wrong = await send(browser, path, requests_per_minute="-3")
        assert "requests a minute: " in wrong.text and 'value="-3"' in wrong.text
        answer = await send(browser, path, requests_per_minute="", concurrent="4", monthly_tokens="1000000")
        assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/keys")
    assert console.rig.keys.get(key.id).limits == LimitSpec(concurrent=4, monthly_tokens=1_000_000)


async def test_a_key_is_revoked_after_a_question(console: Any) -> None:
    key = make(console)
    async with console.browser(Role.ADMIN) as browser:
        dialog = await browser.dialog(f"/keys/{key.id}/revoke")
        assert "Revoke key ci of tenant search?" in dialog and console.rig.keys.get(key.id).revoked_at is None
        answer = await send(browser, f"/keys/{key.id}/revoke")
        assert answer.headers["HX-Redirect"] == "/keys"
    assert console.rig.keys.get(key.id).revoked_at == NOW


async def test_only_admins_and_only_the_sessions_own_form(console: Any) -> None:
    key = make(console)
    async with console.browser(Role.OPERATOR) as browser:
        for path in ("/keys/new", f"/keys/{key.id}/limits", f"/keys/{key.id}/revoke"):
            assert (await browser.client.get(path, headers=HTMX)).status_code == 403
            assert (await send(browser, path, **NEW)).status_code == 403
    async with console.browser(Role.ADMIN) as browser:
        for path in ("/keys/new", f"/keys/{key.id}/revoke"):
            assert (await browser.client.post(path, headers=HTMX, data=NEW)).status_code == 403
            assert (await browser.client.get(path)).headers["location"] == "/keys"
    assert [k.revoked_at for k in console.rig.keys.list()] == [None]


async def test_names_of_strangers_are_text(console: Any) -> None:
    make(console, "<img src=x onerror=alert(1)>", '"><script>')
    async with console.browser(Role.ADMIN) as browser:
        page = await browser.page("/keys")
    assert "<img" not in page and "<script>" not in page.replace("<script src", "")


async def test_without_keys_the_page_says_how_to_make_one(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        assert "cp keys create" in await browser.page("/keys")
