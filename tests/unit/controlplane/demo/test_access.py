"""The demo's credentials: made once, kept with the folder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from controlplane.demo.access import access
from controlplane.errors import Unavailable

Serve = Callable[[web.Application], Awaitable[str]]


def control_plane(status: int = 201) -> tuple[web.Application, list[tuple[str, object]]]:
    asked: list[tuple[str, object]] = []

    async def create(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer cp_admin"
        asked.append((request.path, await request.json()))
        return web.json_response({"token": "cp_gateway", "key": "cpk_1_a", "detail": "there is one"}, status=status)

    app = web.Application()
    app.add_routes([web.post("/cp/v1/tokens", create), web.post("/cp/v1/keys", create)])
    return app, asked


async def test_a_token_of_role_gateway_and_a_testers_key_are_made_once(serve: Serve, tmp_path: Path) -> None:
    app, asked = control_plane()
    url, token, key = await serve(app), tmp_path / "token", tmp_path / "key"
    assert await access(url, "cp_admin", token, key) == "cpk_1_a"
    assert await access(url, "cp_admin", token, key) == "cpk_1_a"
    assert asked == [
        ("/cp/v1/tokens", {"name": "gateway", "role": "gateway"}),
        ("/cp/v1/keys", {"name": "load", "tenant": "demo", "role": "tester"}),
    ]
    assert token.read_text() == "cp_gateway"
    assert [path.stat().st_mode & 0o777 for path in (token, key)] == [0o600, 0o600]


async def test_a_refusal_and_a_control_plane_that_is_away_are_told(serve: Serve, tmp_path: Path) -> None:
    app, _ = control_plane(409)
    with pytest.raises(Unavailable, match=r"did not make credentials \(/cp/v1/tokens\): there is one"):
        await access(await serve(app), "cp_admin", tmp_path / "token", tmp_path / "key")
    with pytest.raises(Unavailable, match=r"did not make credentials \(/cp/v1/tokens\)"):
        await access("http://127.0.0.1:1", "cp_admin", tmp_path / "token", tmp_path / "key")
