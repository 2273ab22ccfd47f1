"""What every request passes before a route sees it: host check, size limits, security headers, counting."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controlplane.api.metrics import OwnMetrics
from controlplane.api.problems import bad_request
from controlplane.errors import TooLarge

MAX_BODY_BYTES = 2**20
"""No request of ours is larger: 1 MiB."""
BODY_S = 30.0
"""How long a body may take: 1 MiB takes that long on a line of 35 kB/s."""
MAX_QUERY_BYTES = 16 * 2**10
"""A query string beyond 16 KiB is no query of a person or a dashboard; long PromQL goes by POST."""

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

    def __init__(self, app: ASGIApp, allowed: Iterable[str]) -> None:
        self._app, self._allowed = app, frozenset(name.lower().rstrip(".") for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            host = _host(Headers(scope=scope).get("host", ""))
            if host not in self._allowed and not _is_address(host):
                detail = (
                    f"this control plane does not answer to the name {host!r}; "
                    "use one that it was configured with, or its address"
                )
                await bad_request(scope["path"], 421, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class SizeLimits:
    """Refuses long query strings (414), large bodies (413), declared or streamed, and those that never end (408).

    A route of `unread` takes larger bodies and reads them itself, with `read_body`, once it knows who sends them.
    """

    def __init__(self, app: ASGIApp, unread: frozenset[str] = frozenset()) -> None:
        self._app, self._unread = app, unread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counted body, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(scope["query_string"]) > MAX_QUERY_BYTES:
            detail = f"the query string is longer than {MAX_QUERY_BYTES} bytes; send it as a form by POST"
            await bad_request(scope["path"], 414, detail)(scope, receive, send)
            return
        if scope["path"] in self._unread:
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(scope, receive, MAX_BODY_BYTES)
        except TimeoutError as error:
            await bad_request(scope["path"], 408, str(error))(scope, receive, send)
            return
        except TooLarge as error:
            await bad_request(scope["path"], 413, str(error))(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)


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
        status, started = 500, time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
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


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """Read the whole body, or None when the client left half way: half a request must not act.

    Raises TooLarge beyond `limit` bytes, declared or streamed, and TimeoutError after BODY_S; both say so.
    """
    declared = Headers(scope=scope).get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_S):
            return await _read(receive, limit)
    except TimeoutError as error:
        raise TimeoutError(f"the body was not complete within {BODY_S:g} s") from error


async def _read(receive: Receive, limit: int) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields the read body once, then what the connection has to say."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
