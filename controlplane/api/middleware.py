"""What every request passes before a route sees it: host check, size limits, security headers, HEAD, counting."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controlplane.api.metrics import OwnMetrics
from controlplane.api.problems import bad_request

MAX_QUERY_BYTES = 16 * 2**10
"""A query string beyond 16 KiB is no query of a person or a dashboard; long PromQL goes by POST."""

LEFT = 499
"""Counted where the client left before its answer: nginx's number for it."""

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""No inline script or style, nothing from elsewhere, never in a frame."""


class HostGuard:
    """Answers only to names that are ours (421), so that a foreign name rebound to our address reaches nothing.

    An address literal always passes: rebinding needs a name.
    """

    def __init__(self, app: ASGIApp, allowed: Callable[[], Collection[str]]) -> None:
        """`allowed` returns the names in lower case, without ports; it is asked at each request."""
        self._app, self._allowed = app, allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            host = _host(Headers(scope=scope).get("host", ""))
            if host not in self._allowed() and not _is_address(host):
                detail = f"host {host!r} is not allowed: set fleet.external_url, or use the server's IP address"
                await bad_request(scope["path"], 421, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class OneLength:
    """Refuses a body of two lengths (400), and ends its connection.

    By Content-Length and by Transfer-Encoding: a proxy in front that goes by the other one takes the rest of it for a
    request of somebody else (RFC 9112, 6.3).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            names = {name for name, _ in scope["headers"]}
            if {b"content-length", b"transfer-encoding"} <= names:
                detail = "the body has two lengths: send Content-Length or Transfer-Encoding, not both"
                answer = bad_request(scope["path"], 400, detail)
                answer.headers["Connection"] = "close"
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


class QueryLimit:
    """Refuses long query strings (414). Bodies are bounded by the routes, which know who sends them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and len(scope["query_string"]) > MAX_QUERY_BYTES:
            detail = f"the query string is longer than {MAX_QUERY_BYTES} bytes; send it as a form by POST"
            await bad_request(scope["path"], 414, detail)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class HeadAsGet:
    """Answers HEAD wherever GET is answered: the same status and headers, and no body.

    The routes see GET. A stream ends with its head: from then on `receive` says that the client has gone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        # A copy: the server itself must go on to know that no body is to be sent.
        await self._app({**scope, "method": "GET"}, receive, head)


class SecurityHeaders:
    """Adds the security headers, and `no-store` unless the route said otherwise (static assets do)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; complete the response's headers."""

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, complete)


class Counting:
    """Counts requests by route template, method and status; a path that matches no route is one label value."""

    def __init__(self, app: ASGIApp, metrics: OwnMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count it when it is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = LEFT, time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except BaseException:  # counted, whatever it is, and left to those above
            status = 500
            raise
        finally:
            template = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.request(template, scope["method"], status, time.perf_counter() - started)


def _host(header: str) -> str:
    """Return the Host header's name without its port, lower case; an IPv6 literal without its brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
