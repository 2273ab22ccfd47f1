from __future__ import annotations

import re
from typing import Any

from controlplane.access.roles import Role
from controlplane.errors import Refused
from tests.unit.controlplane.web.conftest import HTMX

KEY, OTHER = "0" * 32, "1" * 32


async def rollouts(console: Any) -> list[Any]:
    return [r.rollout for r in await console.rig.rollouts.list("chat")]


async def test_the_dialog_states_the_plan_and_its_notes(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        dialog = await browser.dialog("/models/chat/promote/v2")
    assert "Promote chat to v2?" in dialog
    steps = re.findall(r"<li>(.*?)</li>", dialog[: dialog.index("</ol>")])
    assert steps[0] == "load v2 beside v1 on http://a:8000, within 10 min; v1 serves until v2 is ready"
    assert "<li>it has one place to serve from</li>" in dialog
    assert 'hx-post="/models/chat/promote/v2"' in dialog
    assert await rollouts(console) == []


async def test_what_cannot_be_done_says_why_and_has_no_button(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        dialog = await browser.dialog("/models/chat/promote/v3")
    assert re.findall(r"<li>(.*?)</li>", dialog) == ["version directory 3 is empty", "copy the model there"]
    assert "hx-post" not in dialog
    assert "submit" not in dialog


async def test_an_engines_words_stay_text(console: Any, monkeypatch: Any) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise Refused("<script>alert(1)</script>")

    monkeypatch.setattr(console.rig.rollouts, "plan", refused)
    async with console.browser(Role.OPERATOR) as browser:
        dialog = await browser.dialog("/models/chat/promote/v2")
    assert "<li>&lt;script&gt;alert(1)&lt;/script&gt;</li>" in dialog


async def test_confirming_starts_one_rollout_however_often_it_is_sent(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        first = await browser.confirm("/models/chat/promote/v2", KEY)
        again = await browser.confirm("/models/chat/promote/v2", KEY)
        [started] = await rollouts(console)
        assert first.headers["HX-Redirect"] == again.headers["HX-Redirect"] == f"/rollouts/{started.id}"
        assert started.created_by == "test-operator"
        page = await browser.page(f"/rollouts/{started.id}")
        assert "planned" in page
        assert "Abort…" in page


async def test_another_confirmation_meanwhile_is_refused_in_words(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        await browser.confirm("/models/chat/promote/v2", KEY)
        answer = await browser.confirm("/models/chat/promote/v2", OTHER)
        assert "Nothing was done" in answer.text
        assert "is running (planned)" in answer.text
    assert len(await rollouts(console)) == 1


async def test_without_the_sessions_form_nothing_starts(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        path, data = "/models/chat/promote/v2", {"key": KEY}
        bare = await browser.client.post(path, headers=HTMX, data=data)
        wrong = await browser.client.post(path, headers={**HTMX, "X-CSRF-Token": "0" * 64}, data=data)
        odd_key = await browser.confirm(path, "not-a-key")
    assert (bare.status_code, wrong.status_code, odd_key.status_code) == (403, 403, 400)
    assert await rollouts(console) == []


async def test_viewers_cannot_act_whatever_they_send(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        for path in ("/models/chat/promote/v2", "/models/chat/rollback", "/rollouts/r-1/abort"):
            assert (await browser.client.get(path, headers=HTMX)).status_code == 403
            assert (await browser.confirm(path, KEY)).status_code == 403
    assert await rollouts(console) == []


async def test_nothing_to_roll_back_to_is_said(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        dialog = await browser.dialog("/models/chat/rollback")
    assert "chat has nothing to roll back to" in dialog
    assert "submit" not in dialog


async def test_rolling_back_turns_a_running_promotion_back(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        await browser.confirm("/models/chat/promote/v2", KEY)
        [running] = await rollouts(console)
        assert 'hx-get="/models/chat/rollback"' in await browser.page("/models/chat")
        dialog = await browser.dialog("/models/chat/rollback")
        assert "Roll chat back to v1?" in dialog
        assert f"stop rollout {running.id} of chat to v2, which is planned now" in dialog
        answer = await browser.confirm("/models/chat/rollback", OTHER)
        assert answer.headers["HX-Redirect"] == f"/rollouts/{running.id}"
    [turned] = await rollouts(console)
    assert turned.turn_back == "Rollback by test-operator"


async def test_aborting_states_what_it_brings_back(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        await browser.confirm("/models/chat/promote/v2", KEY)
        [running] = await rollouts(console)
        dialog = await browser.dialog(f"/rollouts/{running.id}/abort")
        assert "keep v1 as the stable version" in dialog
        answer = await browser.confirm(f"/rollouts/{running.id}/abort", OTHER)
        assert answer.headers["HX-Redirect"] == f"/rollouts/{running.id}"
    [turned] = await rollouts(console)
    assert turned.turn_back == "Aborted by test-operator"


async def test_an_observer_refuses_in_words(console: Any) -> None:
    console.rig.observe_only()
    async with console.browser(Role.ADMIN) as browser:
        dialog = await browser.dialog("/models/chat/promote/v2")
        assert "only observes (--observe-only)" in dialog
        assert "promote/" not in await browser.page("/")


async def test_a_dialog_typed_into_the_address_bar_shows_its_page(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        answer = await browser.client.get("/models/chat/promote/v2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/models/chat")
