"""An issuer of access tokens (OAuth 2, client credentials), and a server that accepts them. Both can misbehave."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Literal
from urllib.parse import unquote_plus

from aiohttp import web

from tests.fakes.served import Served

CLIENT, SECRET = "cp:one", "s3cret +/%"
"""Both have characters that the header must carry encoded."""
PAGE = "vllm:num_requests_running 1\n"


class OAuthIssuer(Served):
    """One server on a free loopback port: `async with OAuthIssuer() as issuer`."""

    def __init__(self) -> None:
        self.takes: Literal["header", "form", "either"] = "either"
        """Where the client's secret is looked for."""
        self.secret = SECRET
        self.answer: dict[str, Any] = {"token_type": "Bearer", "expires_in": 3600}
        """Fields of a good answer beside the token."""
        self.failure: web.Response | None = None
        """What is answered in place of a token, once for each question."""
        self.hangs: asyncio.Event | None = None
        """What a question waits for."""
        self.asked: list[dict[str, str]] = []
        """Forms of the questions."""
        self.given = 0
        """Number of tokens: the last one is token-N."""
        self.prefix = ""
        """What tokens begin with."""
        self.accepted: set[str] = set()
        """Tokens that the server's pages accept."""
        self.keys: list[str] = []
        """What requests had in X-Api-Key."""
        self.lists: list[dict[str, Any]] = []
        """Lists of targets at /list, which wants a token too."""

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_route("*", "/metrics", self._page)
        app.router.add_get("/list", self._list)
        app.router.add_get("/never", self._never)
        return app

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append(form)
        if self.hangs:
            await self.hangs.wait()
        if self.failure:
            return web.Response(status=self.failure.status, text=self.failure.text, headers=self.failure.headers)
        if not self._knows(request.headers.get("Authorization", ""), form):
            return web.json_response({"error": "invalid_client", "error_description": f"not {form}"}, status=401)
        self.given += 1
        token = f"{self.prefix}token-{self.given}"
        self.accepted.add(token)
        return web.json_response({"access_token": token, **self.answer})

    def _knows(self, header: str, form: dict[str, str]) -> bool:
        shown = {}
        if header.startswith("Basic "):
            client, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
            shown["header"] = unquote_plus(client), unquote_plus(secret)
        if "client_secret" in form:
            shown["form"] = form.get("client_id", ""), form["client_secret"]
        places = ("header", "form") if self.takes == "either" else (self.takes,)
        return any(shown.get(place) == (CLIENT, self.secret) for place in places)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=PAGE, content_type="text/plain") if self._lets(request) else web.Response(status=401)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.lists) if self._lets(request) else web.Response(status=401)

    async def _never(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=401)

    def _lets(self, request: web.Request) -> bool:
        if key := request.headers.get("X-Api-Key"):
            self.keys.append(key)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and token in self.accepted
