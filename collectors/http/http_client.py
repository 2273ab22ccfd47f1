"""A small HTTP client for the sources that call a server's API rather than its /metrics: probe, readiness, status."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector
from yarl import URL

from collectors.errors import Unreachable
from collectors.http.credentials import authorization
from collectors.http.proxies import way_to
from collectors.http.tls import verification
from collectors.target import Auth, Issuer

_MAX_CONNECTIONS = 8


class HttpClient:
    """Opens a connection per request, as an occasional client does. A stale connection is never reused.

    With `auto_decompress=False` the caller inflates compressed bodies itself, and can bound their size.
    """

    def __init__(
        self, auth: Auth | None = None, user_agent: str = "llm-controlplane", *, auto_decompress: bool = True
    ) -> None:
        self._auth = auth
        self._auto_decompress = auto_decompress
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    async def options(self, url: str | URL) -> dict[str, Any]:
        """Return the keyword arguments for a request to an address; see `request_options`."""
        return await request_options(url, self._auth, self._user_agent)

    def session(self) -> aiohttp.ClientSession:
        """Return the session. It is made at first use, because it needs the running loop. It has no own deadline."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=self._auto_decompress,
            )
        return self._session

    async def close(self) -> None:
        """Close the session."""
        if self._session:
            await self._session.close()
            self._session = None


async def request_options(url: str | URL, auth: Auth | None, user_agent: str = "llm-controlplane") -> dict[str, Any]:
    """Return aiohttp's keyword arguments for a request: credentials read anew, TLS verification, proxy, no redirects.

    Raises Unreachable for an address that is none, and ScrapeError when a secret or a file of certificates cannot be
    read, when an issuer gives no token, and for a proxy that is not supported.
    """
    try:
        address, headers = URL(url), {"User-Agent": user_agent}
    except ValueError as error:
        raise Unreachable("not a usable URL") from error
    watched: tuple[aiohttp.ClientMiddlewareType, ...] = ()
    verify: ssl.SSLContext | bool = True
    if auth:
        # Secrets may be on a network file system: in a thread, its stall delays only this request.
        credentials, verify = await asyncio.to_thread(lambda: (authorization(auth), verification(auth)))
        if auth.issuer:
            credentials = await auth.issuer.authorization()
            watched = (_Refusals(auth.issuer, credentials),)
        if credentials:
            headers["Authorization"] = credentials
    name, way = (auth.server_name, way_to(address, auth.proxy)) if auth else ("", None)
    return {
        "headers": headers,
        "ssl": verify,
        "server_hostname": name or None,
        "allow_redirects": False,
        "middlewares": watched,
        **(way.options(address, headers) if way else {}),
    }


class _Refusals:
    """Sends a request again with a new token, once, when the server refuses the one that it had."""

    def __init__(self, issuer: Issuer, shown: str) -> None:
        """`shown` is the value of the Authorization header."""
        self._issuer, self._shown = issuer, shown

    async def __call__(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await send(request)
        if response.status != HTTPStatus.UNAUTHORIZED:
            return response
        other = await self._issuer.instead_of(self._shown)
        if other is None:
            return response
        response.close()
        # An API may read the token from a header of its own.
        old, new = (value.partition(" ")[2] for value in (self._shown, other))
        for name, value in list(request.headers.items()):
            if old in value:
                request.headers[name] = value.replace(old, new)
        return await send(request)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposition_of(families: Iterable[Metric]) -> bytes:
    """Return the text exposition of metric families, from a registry of their own."""
    registry = CollectorRegistry()
    registry.register(_Families(list(families)))
    return generate_latest(registry)
