from __future__ import annotations

from typing import Any

import pytest
from fastapi import Request

from controlplane.access.roles import Role
from controlplane.access.sessions import SESSION_S
from controlplane.config.model import Fleet, FleetSection
from controlplane.web.sign_in import is_https
from tests.unit.controlplane.api.conftest import CONFIG, NOW

WRONG = "cp_0123456789ab_" + "0" * 64


async def test_without_a_session_every_page_leads_to_sign_in_and_back(console: Any) -> None:
    async with console.browser(None) as browser:
        answer = await browser.client.get("/alerts?state=firing")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Falerts%3Fstate%3Dfiring")
        form = await browser.page(answer.headers["location"])
        assert 'name="next" value="/alerts?state=firing"' in form
        token = console.rig.role_tokens[Role.VIEWER]
        signed_in = await browser.sign_in(token, next="/alerts?state=firing")
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/alerts?state=firing")
        assert "test-viewer" in await browser.page("/alerts?state=firing")


async def test_the_cookie_is_for_this_server_only_and_is_not_the_token(console: Any) -> None:
    async with console.browser(None) as browser:
        token = console.rig.role_tokens[Role.VIEWER]
        cookie = (await browser.sign_in(f"  {token}\n")).headers["set-cookie"]
    assert token not in cookie
    assert {"HttpOnly", "SameSite=lax", "Path=/", f"Max-Age={SESSION_S:.0f}"} <= set(cookie.split("; "))
    assert "Secure" not in cookie  # this request came by http


async def test_over_https_the_cookie_is_secure(console: Any) -> None:
    async with console.browser(None) as browser:
        data = {"token": console.rig.role_tokens[Role.VIEWER]}
        answer = await browser.client.post("https://cp.example.org/sign-in", data=data)
    assert "Secure" in answer.headers["set-cookie"].split("; ")


@pytest.mark.parametrize(
    ("scheme", "external", "secure"),
    [("http", None, False), ("http", "http://cp.example.org", False), ("http", "https://cp.example.org", True)],
)
def test_behind_a_proxy_that_ends_tls_the_external_address_decides(
    scheme: str, external: str | None, secure: bool
) -> None:
    request = Request({"type": "http", "scheme": scheme, "path": "/", "headers": [], "server": ("h", 80)})
    fleet = Fleet.model_validate({"fleet": {"name": "f"} | ({"external_url": external} if external else {})})
    assert is_https(request, fleet) is secure


async def test_a_wrong_token_is_told_and_opens_nothing(console: Any) -> None:
    async with console.browser(None) as browser:
        answer = await browser.sign_in(WRONG, next="/targets")
        assert answer.status_code == 401
        assert 'role="alert"' in answer.text
        assert 'name="next" value="/targets"' in answer.text
        assert WRONG not in answer.text
        assert "set-cookie" not in answer.headers


async def test_guessing_is_slowed_down(console: Any) -> None:
    async with console.browser(None) as browser:
        good = console.rig.role_tokens[Role.ADMIN]
        wrong = good[:-64] + "0" * 64
        for _ in range(5):
            assert (await browser.sign_in(wrong)).status_code == 401
        refused = await browser.sign_in(good)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        assert "try again in 60 s" in refused.text
        assert (await browser.sign_in(console.rig.role_tokens[Role.VIEWER])).status_code == 303
        console.rig.clock.time = NOW + 61
        assert (await browser.sign_in(good)).status_code == 303


async def test_a_form_that_is_no_form_of_ours_is_not_read(console: Any) -> None:
    async with console.browser(None) as browser:
        answer = await browser.client.post("/sign-in", data={"token": WRONG, "padding": "a" * 5000})
    assert answer.status_code == 413
    assert "larger than 4096 bytes" in answer.text


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://cp.example.org", 403),  # the address outside is https: a page by http is another's
        ("https://cp.example.org", 303),
        ("http://cp.example.org:8080", 403),
        ("https://evil.example.org", 403),
        ("null", 403),
        ("https://llm.example.com", 303),
    ],
)
async def test_a_form_comes_from_our_own_page(console: Any, origin: str, status: int) -> None:
    console.rig.config = CONFIG.model_copy(
        update={"fleet": FleetSection(name="prod", external_url="https://llm.example.com:443/x")}
    )
    async with console.browser(None) as browser:
        data, headers = {"token": console.rig.role_tokens[Role.VIEWER]}, {"Origin": origin}
        answer = await browser.client.post("/sign-in", data=data, headers=headers)
    assert answer.status_code == status


async def test_by_http_alone_a_page_by_http_is_ours(console: Any) -> None:
    async with console.browser(None) as browser:
        data, headers = {"token": console.rig.role_tokens[Role.VIEWER]}, {"Origin": "http://cp.example.org"}
        assert (await browser.client.post("/sign-in", data=data, headers=headers)).status_code == 303


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "evil",
        "",
        "/sign-in?next=/",
        "/\r\nSet-Cookie: a=b",
    ],
)
async def test_signing_in_never_leads_elsewhere(console: Any, target: str) -> None:
    async with console.browser(None) as browser:
        answer = await browser.sign_in(console.rig.role_tokens[Role.VIEWER], next=target)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert 'name="next" value="/"' in (await browser.client.get("/sign-in", params={"next": target})).text


async def test_a_form_of_another_site_is_refused(console: Any) -> None:
    async with console.browser(None) as browser:
        data, headers = {"token": console.rig.role_tokens[Role.VIEWER]}, {"Sec-Fetch-Site": "cross-site"}
        answer = await browser.client.post("/sign-in", data=data, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_an_ended_session_leads_to_sign_in_and_the_script_gets_401(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        console.rig.clock.time = NOW + SESSION_S + 1
        assert (await browser.client.get("/targets")).headers["location"] == "/sign-in?next=%2Ftargets"
        polled = await browser.client.get("/targets", headers={"HX-Request": "true", "Accept": "*/*"})
        assert polled.status_code == 401


async def test_a_revoked_token_ends_its_sessions(console: Any) -> None:
    async with console.browser(Role.OPERATOR) as browser:
        token_id = console.rig.role_tokens[Role.OPERATOR].split("_")[1]
        console.rig.tokens.revoke(token_id, NOW)
        assert (await browser.client.get("/")).status_code == 303


async def test_signing_out_needs_the_sessions_form_and_ends_it(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        assert (await browser.client.post("/sign-out")).status_code == 403
        answer = await browser.client.post("/sign-out", headers={"X-CSRF-Token": await browser.csrf()})
        assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/sign-in")
        assert (await browser.client.get("/")).status_code == 303
