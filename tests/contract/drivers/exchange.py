"""One HTTP request on a connection of its own, at a small part of the cost of a general client."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools

from tests.patience import HANG_S


class Cut(Exception):
    """The answer was no success, or it was not whole."""


@dataclass
class Answered:
    """A whole answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """Names are lower case."""
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()


class _Exchange(asyncio.Protocol):
    """Sends a request and parses the answer. httptools calls the methods `on_*`."""

    def __init__(self, request: bytes) -> None:
        self._request, self._answer, self._parts = request, Answered(), list[bytes]()
        self._parser = httptools.HttpResponseParser(self)
        self.answered: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {error!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"broke off: {exc!r}")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._answer.status, self._answer.body = self._parser.get_status_code(), b"".join(self._parts)
        if not self.answered.done():
            self.answered.set_result(self._answer)
        self._transport.close()

    def _fail(self, why: str) -> None:
        if not self.answered.done():
            self.answered.set_exception(Cut(f"{why} after {b''.join(self._parts)[-200:]!r}"))
        self._transport.close()


async def post(url: str, body: bytes) -> Answered:
    """Send JSON to a URL of http and return the whole answer. Raises Cut."""
    address = urlsplit(url)
    assert address.hostname is not None and address.port is not None
    head = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        async with asyncio.timeout(HANG_S):
            _, exchange = await asyncio.get_running_loop().create_connection(
                lambda: _Exchange(head.encode() + body), address.hostname, address.port
            )
            return await exchange.answered
    except OSError as error:
        raise Cut(repr(error)) from error
