"""The page of access: tokens, sessions, refused attempts, and the dialogs that make and end them. For admins only."""

from __future__ import annotations

import re
from typing import Any

import pytest

from controlplane.access.roles import Principal, Role
from controlplane.errors import NotFound
from controlplane.store.audit import EVERY_ACT, REFUSED, audit
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.web.conftest import HTMX
from tests.unit.controlplane.web.reading import sections, words

DAY = 86_400.0


async def send(browser: Any, path: str, **form: str) -> Any:
    return await browser.client.post(path, headers={**HTMX, "X-CSRF-Token": await browser.csrf()}, data=form)


async def test_only_admins_see_it(console: Any) -> None:
    for role in (Role.VIEWER, Role.OPERATOR):
        async with console.browser(role) as browser:
            assert "/access" not in sections(await browser.page("/"))
            await browser.page("/access", 403)
            assert (await browser.client.get("/access/new", headers=HTMX)).status_code == 403
    async with console.browser(Role.ADMIN) as browser:
        assert sections(await browser.page("/access"))["/access"] is True


async def test_tokens_sessions_and_refused_attempts(console: Any) -> None:
    rig = console.rig
    rig.tokens.create("soon", Role.OPERATOR, NOW + 3 * DAY, NOW - DAY, by="ana")
    rig.tokens.create("past", Role.VIEWER, NOW - 60, NOW - DAY, by="ana")
    gone, _ = rig.tokens.create("gone", Role.VIEWER, None, NOW - DAY, by="ana")
    rig.tokens.revoke(gone.id, NOW - 60, by="ana")
    with rig.db.transaction() as session:
        audit(session, "203.0.113.7", REFUSED, "token/-", "3 attempts <b>", NOW - 3600)
        audit(session, "203.0.113.8", REFUSED, "token/-", "long ago", NOW - 2 * DAY)
    async with console.browser(Role.ADMIN) as browser:
        page = await browser.page("/access")
    shown = words(page)
    assert "6 live tokens 1 expire within 14 days 1 browsers are signed in 1 kinds of refused attempts" in shown
    assert re.search(r"soon operator expires soon never in 3d ", shown)
    assert re.search(r"past viewer expired ", shown) and re.search(r"gone viewer revoked ", shown)
    assert "test-admin admin" in shown
    assert (
        "203.0.113.7 token/- 3 attempts <b>" in shown
        and "long ago" not in shown
        and "<b>" not in page.split("3 att")[1][:20]
    )


async def test_a_token_is_made_and_shown_once(console: Any) -> None:
    async with console.browser(Role.ADMIN) as browser:
        assert 'name="expires_in"' in await browser.dialog("/access/new")
        wrong = await send(browser, "/access/new", name="ci", role="operator", expires_in="soon")
        assert "expires in: expected a duration" in wrong.text and 'value="ci"' in wrong.text
        answer = await send(browser, "/access/new", name="ci", role="operator", expires_in="30d")
        text = re.search(r'id="new-token">(cp_[0-9a-f]{12}_[0-9a-f]{64})<', answer.text)
        assert text and text[1] not in await browser.page("/access")
        taken = await send(browser, "/access/new", name="ci", role="viewer")
        assert "a token named ci exists" in taken.text
    made = next(t for t in console.rig.tokens.list() if t.name == "ci")
    assert (made.role, made.expires_at, made.created_by) == (Role.OPERATOR, NOW + 30 * DAY, "test-admin")


async def test_a_token_is_revoked_after_its_effect_was_told(console: Any) -> None:
    token, text = console.rig.tokens.create("ben", Role.OPERATOR, None, NOW, by="ana")
    console.rig.sessions.open(Principal("ben", Role.OPERATOR, token.id), NOW)
    async with console.browser(Role.ADMIN) as browser:
        dialog = await browser.dialog(f"/access/tokens/{token.id}/revoke")
        assert "Revoke token ben?" in dialog and "1 signed-in browsers end their session." in dialog
        assert (await send(browser, f"/access/tokens/{token.id}/revoke")).headers["HX-Redirect"] == "/access"
        own = next(t for t in console.rig.tokens.list() if t.name == "test-admin")
        assert "you will be signed out" in await browser.dialog(f"/access/tokens/{own.id}/revoke")
        refused = await send(browser, f"/access/tokens/{own.id}/revoke")
        assert "is the last admin token" in refused.text
    assert console.rig.sessions.list(NOW)[0].token_name == "test-admin" and text


async def test_a_session_is_ended_and_its_browser_must_sign_in_again(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as other, console.browser(Role.ADMIN) as browser:
        found = next(s for s in console.rig.sessions.list(NOW) if s.token_name == "test-operator")
        assert "End the session of test-operator?" in await browser.dialog(f"/access/sessions/{found.id}/end")
        assert (await send(browser, f"/access/sessions/{found.id}/end")).status_code == 204
        assert (await other.client.get("/targets")).status_code == 303
        assert (await browser.client.get(f"/access/sessions/{found.id}/end", headers=HTMX)).status_code == 404
        assert (await browser.client.get("/cp/v1/sessions")).json()["items"][0]["own"] is True
    acts = [entry.action for entry in console.rig.services().history.acts(EVERY_ACT, 10)[0]]
    assert acts[0] == "session.end"
    with pytest.raises(NotFound):
        console.rig.sessions.end("0" * 16, NOW, by="ana")
