"""Every route × every role. A new route must be added here, or this fails."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route

from controlplane.access.roles import Role
from controlplane.access.sessions import csrf_token
from controlplane.api.app import mount_web
from controlplane.api.auth import CSRF_HEADER, SESSION_COOKIE, GuardedRoute, include, public, requires

PUBLIC, VIEWER, OPERATOR, ADMIN, GATEWAY = None, Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.GATEWAY
SENDER = Role.ALERT_SENDER

TABLE: dict[tuple[str, str], Role | None] = {
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/-/healthy"): PUBLIC,
    ("GET", "/-/ready"): PUBLIC,
    ("GET", "/metrics"): VIEWER,
    ("GET", "/openapi.json"): VIEWER,
    ("GET", "/cp/v1/fleet"): VIEWER,
    ("GET", "/cp/v1/models"): VIEWER,
    ("GET", "/cp/v1/models/{name}"): VIEWER,
    ("GET", "/cp/v1/models/{name}/versions"): VIEWER,
    ("POST", "/cp/v1/models/{name}/versions/{version}/approval"): OPERATOR,
    ("POST", "/cp/v1/models/{name}/rollback"): OPERATOR,
    ("GET", "/cp/v1/targets"): VIEWER,
    ("GET", "/cp/v1/targets/dropped"): VIEWER,
    ("GET", "/cp/v1/rollouts"): VIEWER,
    ("POST", "/cp/v1/rollouts"): OPERATOR,
    ("GET", "/cp/v1/rollouts/{rollout_id}"): VIEWER,
    ("GET", "/cp/v1/rollouts/{rollout_id}/findings"): VIEWER,
    ("POST", "/cp/v1/rollouts/{rollout_id}/pause"): OPERATOR,
    ("POST", "/cp/v1/rollouts/{rollout_id}/resume"): OPERATOR,
    ("POST", "/cp/v1/rollouts/{rollout_id}/approve"): OPERATOR,
    ("POST", "/cp/v1/rollouts/{rollout_id}/full"): OPERATOR,
    ("POST", "/cp/v1/rollouts/{rollout_id}/abort"): OPERATOR,
    ("POST", "/cp/v1/rollouts/{rollout_id}/retry"): OPERATOR,
    ("POST", "/cp/v1/rollouts/{rollout_id}/close"): OPERATOR,
    ("GET", "/cp/v1/quarantine"): VIEWER,
    ("POST", "/cp/v1/models/{name}/versions/{version}/quarantine/lift"): ADMIN,
    ("GET", "/cp/v1/gateways"): VIEWER,
    ("GET", "/cp/v1/gateways/desired"): GATEWAY,
    ("POST", "/cp/v1/gateways/report"): GATEWAY,
    ("POST", "/cp/v1/gateways/usage"): GATEWAY,
    ("GET", "/cp/v1/usage"): VIEWER,
    ("GET", "/cp/v1/usage/keys"): VIEWER,
    ("GET", "/cp/v1/gateways/routes"): VIEWER,
    ("GET", "/cp/v1/cost"): VIEWER,
    ("GET", "/cp/v1/keys"): VIEWER,
    ("POST", "/cp/v1/keys"): ADMIN,
    ("GET", "/cp/v1/keys/{key_id}"): VIEWER,
    ("POST", "/cp/v1/keys/{key_id}/limits"): ADMIN,
    ("DELETE", "/cp/v1/keys/{key_id}"): ADMIN,
    ("GET", "/cp/v1/alerts"): VIEWER,
    ("GET", "/cp/v1/alerts/{fingerprint}"): VIEWER,
    ("GET", "/cp/v1/alerts/{fingerprint}/explanation"): VIEWER,
    ("GET", "/cp/v1/alerts/{fingerprint}/episodes"): VIEWER,
    ("POST", "/cp/v1/rules/try"): VIEWER,
    ("GET", "/cp/v1/runbooks"): VIEWER,
    ("GET", "/cp/v1/notifiers"): VIEWER,
    ("GET", "/cp/v1/heartbeats"): VIEWER,
    ("GET", "/cp/v1/rotas"): VIEWER,
    ("GET", "/cp/v1/alerts/route"): VIEWER,
    ("POST", "/cp/v1/heartbeats/{name}"): SENDER,
    ("POST", "/cp/v1/alerts/{fingerprint}/acknowledge"): OPERATOR,
    ("POST", "/cp/v1/alerts/{fingerprint}/snooze"): OPERATOR,
    ("POST", "/cp/v1/alerts/{fingerprint}/unacknowledge"): OPERATOR,
    ("GET", "/cp/v1/silences"): VIEWER,
    ("POST", "/cp/v1/silences"): OPERATOR,
    ("POST", "/cp/v1/silence-preview"): VIEWER,
    ("GET", "/cp/v1/silences/{silence_id}"): VIEWER,
    ("POST", "/cp/v1/silences/{silence_id}/extend"): OPERATOR,
    ("POST", "/cp/v1/silences/{silence_id}/expire"): OPERATOR,
    ("GET", "/cp/v1/notifications"): VIEWER,
    ("POST", "/cp/v1/notifiers/{name}/test"): OPERATOR,
    ("GET", "/cp/v1/events"): VIEWER,
    ("GET", "/cp/v1/version"): VIEWER,
    ("GET", "/cp/v1/history"): VIEWER,
    ("GET", "/cp/v1/audit"): OPERATOR,
    ("GET", "/cp/v1/schedules"): VIEWER,
    ("GET", "/cp/v1/slos"): VIEWER,
    ("GET", "/cp/v1/trends"): VIEWER,
    ("GET", "/cp/v1/backups"): VIEWER,
    ("GET", "/cp/v1/backups/{job}/runs"): VIEWER,
    ("POST", "/cp/v1/backups/{job}/runs"): OPERATOR,
    ("GET", "/cp/v1/snapshots"): VIEWER,
    ("GET", "/cp/v1/logs"): OPERATOR,
    ("GET", "/cp/v1/config/diff"): OPERATOR,
    ("POST", "/cp/v1/config/diff"): OPERATOR,
    ("GET", "/cp/v1/system"): VIEWER,
    ("GET", "/cp/v1/sessions"): ADMIN,
    ("DELETE", "/cp/v1/sessions/{session_id}"): ADMIN,
    ("GET", "/cp/v1/whoami"): VIEWER,
    ("GET", "/cp/v1/tokens"): ADMIN,
    ("POST", "/cp/v1/tokens"): ADMIN,
    ("DELETE", "/cp/v1/tokens/{token_id}"): ADMIN,
    ("POST", "/cp/v1/config/reload"): ADMIN,
    ("POST", "/api/v1/slack/interactions"): PUBLIC,
    ("POST", "/api/v2/alerts"): SENDER,
    ("GET", "/api/v1/query"): VIEWER,
    ("POST", "/api/v1/query"): VIEWER,
    ("GET", "/api/v1/query_range"): VIEWER,
    ("POST", "/api/v1/query_range"): VIEWER,
    ("GET", "/api/v1/query_exemplars"): VIEWER,
    ("POST", "/api/v1/query_exemplars"): VIEWER,
    ("GET", "/api/v1/format_query"): VIEWER,
    ("POST", "/api/v1/format_query"): VIEWER,
    ("GET", "/api/v1/series"): VIEWER,
    ("POST", "/api/v1/series"): VIEWER,
    ("GET", "/api/v1/labels"): VIEWER,
    ("POST", "/api/v1/labels"): VIEWER,
    ("GET", "/api/v1/label/{name}/values"): VIEWER,
    ("GET", "/api/v1/metadata"): VIEWER,
    ("GET", "/api/v1/rules"): VIEWER,
    ("GET", "/api/v1/alerts"): VIEWER,
    ("GET", "/api/v2/alerts"): VIEWER,
    ("GET", "/api/v2/alerts/groups"): VIEWER,
    ("GET", "/api/v2/receivers"): VIEWER,
    ("GET", "/api/v2/silences"): VIEWER,
    ("POST", "/api/v2/silences"): OPERATOR,
    ("GET", "/api/v2/silence/{silence_id}"): VIEWER,
    ("DELETE", "/api/v2/silence/{silence_id}"): OPERATOR,
    ("GET", "/api/v2/status"): VIEWER,
    ("GET", "/api/v1/targets"): VIEWER,
    ("GET", "/api/v1/targets/metadata"): VIEWER,
    ("GET", "/api/v1/status/buildinfo"): VIEWER,
    ("GET", "/api/v1/scrape_pools"): VIEWER,
    ("GET", "/api/v1/parse_query"): VIEWER,
    ("POST", "/api/v1/parse_query"): VIEWER,
    ("GET", "/api/v1/status/config"): VIEWER,
    ("GET", "/api/v1/status/flags"): VIEWER,
    ("GET", "/api/v1/status/runtimeinfo"): VIEWER,
    ("GET", "/api/v1/status/tsdb"): VIEWER,
    ("GET", "/federate"): VIEWER,
    ("POST", "/api/v1/read"): VIEWER,
    ("POST", "/api/v1/write"): OPERATOR,
}

CALLERS = [None, *Role]
PATH_VALUES = {"name": "chat", "rollout_id": "r1", "fingerprint": "0123456789abcdef", "token_id": "0123456789ab"}
PATH_VALUES |= {"version": "v2", "job": "models"}
PATH_VALUES["silence_id"] = "00000000-0000-4000-8000-000000000000"
PATH_VALUES["key_id"] = PATH_VALUES["token_id"]
PATH_VALUES["session_id"] = PATH_VALUES["fingerprint"]
REFUSED = (401, 403)


def registered(app: FastAPI) -> set[tuple[str, str]]:
    return {(m, r.path_format) for r in app.routes if isinstance(r, APIRoute) for m in r.methods or ()}


def test_the_table_names_every_route_and_no_other(rig: Any) -> None:
    app = rig.app()
    assert all(isinstance(route, GuardedRoute) for route in app.routes)
    assert registered(app) == set(TABLE)


@pytest.mark.parametrize("caller", CALLERS, ids=str)
async def test_every_route_lets_in_the_roles_that_include_its_own(rig: Any, caller: Role | None) -> None:
    app = rig.app()
    app.state.events.close()  # an open stream would not end; a closed hub answers 503, which is past the guard
    async with rig.client(caller, app) as client:
        for (method, path), needed in TABLE.items():
            answer = await client.request(method, path.format(**PATH_VALUES))
            if needed is None or (caller is not None and caller.includes(needed)):
                assert answer.status_code not in REFUSED, (method, path)
                continue
            assert answer.status_code == (401 if caller is None else 403), (method, path)
            assert ("www-authenticate" in answer.headers) == (caller is None)


async def test_a_stranger_learns_nothing_about_the_body(rig: Any) -> None:
    async with rig.client(None) as client:
        answer = await client.post(
            "/cp/v1/rollouts", content=b"{not json", headers={"content-type": "application/json"}
        )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer nonsense", "Bearer cp_00000000_" + "a" * 43, "Bearer " + "a" * 9999],
)
async def test_what_is_no_token_of_ours_is_not_let_in(rig: Any, header: str) -> None:
    async with rig.client(None) as client:
        answer = await client.get("/cp/v1/whoami", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="controlplane"'
    assert "aaaa" not in answer.text


async def test_an_expired_or_revoked_token_is_not_let_in(rig: Any) -> None:
    _, expired = rig.tokens.create("short", Role.ADMIN, rig.clock.time + 60, rig.clock.time)
    token, revoked = rig.tokens.create("gone", Role.ADMIN, None, rig.clock.time)
    rig.tokens.revoke(token.id, rig.clock.time)
    rig.clock.time += 61
    async with rig.client(None) as client:
        for text in (expired, revoked):
            answer = await client.get("/cp/v1/whoami", headers={"Authorization": f"Bearer {text}"})
            assert answer.status_code == 401


async def test_a_browser_session_reads_freely_and_changes_only_with_its_csrf_token(rig: Any) -> None:
    principal = rig.tokens.authenticate(rig.role_tokens[Role.OPERATOR], rig.clock.time)
    cookie = rig.sessions.open(principal, rig.clock.time)
    async with rig.client(None) as client:
        client.cookies.set(SESSION_COOKIE, cookie)
        assert (await client.get("/cp/v1/whoami")).json()["name"] == "test-operator"
        url, body = "/cp/v1/rollouts", {"model": "chat", "version": "v2"}
        assert (await client.post(url, json=body)).status_code == 403
        assert (await client.post(url, json=body, headers={CSRF_HEADER: "wrong"})).status_code == 403
        assert await rig.rollouts.list() == []
        assert (await client.post(url, json=body, headers={CSRF_HEADER: csrf_token(cookie)})).status_code == 202
        rig.sessions.close(cookie)
        assert (await client.get("/cp/v1/whoami")).status_code == 401


async def test_a_broken_bearer_header_is_not_rescued_by_a_cookie(rig: Any) -> None:
    principal = rig.tokens.authenticate(rig.role_tokens[Role.ADMIN], rig.clock.time)
    async with rig.client(None) as client:
        client.cookies.set(SESSION_COOKIE, rig.sessions.open(principal, rig.clock.time))
        answer = await client.get("/cp/v1/whoami", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


async def test_an_oversized_cookie_is_refused_before_the_database(rig: Any) -> None:
    async with rig.client(None) as client:
        client.cookies.set(SESSION_COOKIE, "a" * 4000)
        assert (await client.get("/cp/v1/whoami")).status_code == 401


def test_a_route_without_a_role_cannot_be_registered() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="route /open declares no role"):

        @router.get("/open")
        def forgotten() -> None: ...


def test_an_unguarded_route_cannot_be_included(rig: Any) -> None:
    app = rig.app()
    plain = APIRouter()

    @plain.get("/open")
    @requires(Role.VIEWER)
    def endpoint() -> None: ...

    raw = APIRouter(routes=[Route("/raw", lambda request: None)])
    mounted = APIRouter(routes=[Mount("/app", FastAPI())])
    for router in (plain, raw, mounted):
        with pytest.raises(TypeError, match="is not guarded"):
            include(app, router)


async def test_the_console_sends_browsers_to_sign_in_and_scripts_a_problem(rig: Any) -> None:
    app = rig.app()
    console = APIRouter(route_class=GuardedRoute)

    @console.get("/alerts")
    @requires(Role.VIEWER)
    def page() -> str:
        return "page"

    @console.get("/sign-in")
    @public
    def sign_in() -> str:
        return "sign in"

    mount_web(app, console, "/sign-in")
    html = {"Accept": "text/html,*/*"}
    async with rig.client(None, app) as client:
        browser = await client.get("/alerts?state=firing", headers=html)
        assert browser.status_code == 303
        assert browser.headers["location"] == "/sign-in?next=%2Falerts%3Fstate%3Dfiring"
        assert (await client.get("/alerts")).status_code == 401
        assert (await client.get("/cp/v1/fleet", headers=html)).status_code == 401
        assert (await client.get("/sign-in", headers=html)).text == '"sign in"'
