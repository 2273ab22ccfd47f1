"""Compression of answers with gzip, for clients that accept it."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST_BYTES = 1024
"""Smallest answer that is compressed. A smaller answer fits into one or two packets anyway."""
THREAD_BYTES = 32 * 2**10
"""Larger answers are compressed in a thread: this size takes half a millisecond, and zlib releases the event loop."""
LEVEL = 1
"""Compression level. Level 1 reduces JSON and text exposition to a tenth. Level 6 takes four times as long and saves
some percent more."""
PREFIXES = ("/api/v1/", "/api/v2/", "/cp/v1/", "/federate", "/metrics", "/openapi.json", "/static/")
"""Paths of data, which are compressed. Pages of the console are not: a page holds its session's CSRF token beside text
from the address, so the size of a compressed page would reveal the token guess by guess (the BREACH attack)."""
SECRETS = ("/cp/v1/tokens", "/cp/v1/keys")
"""Paths whose answers hold a secret. They are not compressed either."""
KINDS = ("application/json", "application/problem+json", "text/plain", "text/css", "text/javascript")


InThread = Callable[[Callable[[bytes], bytes], bytes], Awaitable[bytes]]


class Compression:
    """Middleware that compresses an answer of one piece. Event streams have many pieces and pass unchanged."""

    def __init__(self, app: ASGIApp, in_thread: InThread) -> None:
        """Compress large answers with `in_thread`, which runs a call in a thread."""
        self._app, self._in_thread = app, in_thread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and compress its answer if its path, type and size allow it."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(PREFIXES) or path.startswith(SECRETS):
            await self._app(scope, receive, send)
            return
        answer = _Answer(self._in_thread, send, takes_gzip(Headers(scope=scope).get("accept-encoding", "")))
        await self._app(scope, receive, answer.send)


class _Answer:
    def __init__(self, in_thread: InThread, send: Send, wanted: bool) -> None:
        self._in_thread, self._send, self._wanted = in_thread, send, wanted
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is None:
            await self._send(message)
            return
        start, self._start = self._start, None
        headers, body = MutableHeaders(scope=start), message.get("body", b"")
        if not message.get("more_body", False) and _worth_it(headers, len(body)):
            headers.add_vary_header("Accept-Encoding")
            if self._wanted:
                body = await (self._in_thread(_gzip, body) if len(body) > THREAD_BYTES else _now(body))
                headers["Content-Encoding"], headers["Content-Length"] = "gzip", str(len(body))
                message = {**message, "body": body}
        await self._send(start)
        await self._send(message)


def takes_gzip(accepted: str) -> bool:
    """Return whether an Accept-Encoding header accepts gzip."""
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            name, _, value = weight.partition("=")
            return name.strip() != "q" or value.strip().rstrip("0.") != ""
    return False


def _worth_it(headers: MutableHeaders, size: int) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip()
    return size >= LEAST_BYTES and kind in KINDS and "content-encoding" not in headers


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0)


async def _now(body: bytes) -> bytes:
    return _gzip(body)
