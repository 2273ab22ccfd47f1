"""Middleware before every route: host check, size limits, security headers, HEAD, request counts."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controlplane.api.metrics import OwnMetrics
from controlplane.api.problems import bad_request

MAX_QUERY_BYTES = 16 * 2**10
"""Longest query string: 16 KiB. Chosen: people and dashboards send less, and longer PromQL can be sent by POST."""

LEFT = 499
"""Status under which a request is counted when its client disconnects before the answer. It is nginx's number."""

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""They forbid inline scripts and styles, content of other origins, and frames."""


class HostGuard:
    """Refuses host names that are not this server's (421). This stops DNS rebinding, where a foreign name resolves to
    this server's address.

    An IP address always passes, because rebinding needs a name.
    """

    def __init__(self, app: ASGIApp, allowed: Callable[[], Collection[str]]) -> None:
        """Accept the names that `allowed` returns: lower case, without ports. It is called at each request."""
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
    """Refuses a body with both Content-Length and Transfer-Encoding (400), and closes its connection.

    A proxy that uses the other one of the two lengths would read the rest of the body as another client's request
    (request smuggling: RFC 9112, 6.3).
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
    """Refuses long query strings (414). The routes bound the bodies, because their limit depends on the sender."""

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
    """Answers HEAD on every route that answers GET: the same status and headers, and no body.

    The routes see GET. A stream ends after its headers: from then on `receive` reports a disconnected client.
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

        # The scope is copied: the server's own scope must stay HEAD, so that it sends no body.
        await self._app({**scope, "method": "GET"}, receive, head)


class SecurityHeaders:
    """Adds the security headers, and `no-store` unless the route has set Cache-Control, as static files do."""

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
    """Counts requests by route template, method and status. All paths without a route share one label value."""

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
        except BaseException:  # every failure is counted as 500, and raised on
            status = 500
            raise
        finally:
            template = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.request(template, scope["method"], status, time.perf_counter() - started)


def _host(header: str) -> str:
    """Return the name in a Host header: lower case, without port, and without the brackets of an IPv6 address."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
