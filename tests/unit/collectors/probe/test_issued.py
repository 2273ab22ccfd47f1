"""A probe whose token an issuer gives."""

from __future__ import annotations

from aiohttp import web

from collectors.clouds.client_credentials import ClientCredentials
from collectors.probe.question import Question
from collectors.probe.source import ProbeSource
from collectors.target import Auth, IssuedAuth
from tests.fakes.oauth_issuer import CLIENT, SECRET, OAuthIssuer
from tests.unit.collectors.probe.test_source import SLOW_S, serving


async def test_a_server_that_repeats_the_token_of_the_second_try_shows_nobody_the_token() -> None:
    shown: list[str] = []

    async def repeats(request: web.Request) -> web.StreamResponse:
        shown.append(request.headers["Authorization"].removeprefix("Bearer "))
        return web.json_response({"error": {"message": f"no such key: {shown[-1]}"}}, status=401)

    async with OAuthIssuer() as issuer, serving("/v1/chat/completions", repeats) as url:
        issuer.prefix = "a-long-and-secret-"
        auth = IssuedAuth(oauth2=ClientCredentials(f"{issuer.url}/token", CLIENT, Auth(inline=SECRET)))
        source = ProbeSource(url, model="chat", questions=(Question(),), auth=auth)
        await source.read(SLOW_S)
        await source.close()
    assert shown == ["a-long-and-secret-token-1", "a-long-and-secret-token-2"]
    assert "answered 401" in source.remark
    assert "a-long-and-secret" not in source.remark
