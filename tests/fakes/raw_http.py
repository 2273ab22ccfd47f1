"""HTTP/1.1 over a plain socket, byte by byte, for tests of what is on the wire."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from tests.patience import HANG_S


class Broken(Exception):
    """The answer broke off. `body` is what came of it."""

    def __init__(self, body: bytes, head: Message | None = None) -> None:
        super().__init__(f"broke off after {body[-200:]!r}")
        self.body = body
        self.head = head


@dataclass
class Message:
    """A request or an answer. Names of fields are lower case."""

    start: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        assert len({name for name, _ in self.fields}) == len(self.fields), f"a field is repeated: {self.fields}"
        return dict(self.fields)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def parse_head(text: bytes) -> Message:
    """Parse a head without its empty line."""
    start, *lines = text.decode("latin-1").split("\r\n")
    pairs = [line.split(":", 1) for line in lines if line]
    return Message(start, [(name.lower(), value.strip()) for name, value in pairs])


async def read_body(reader: asyncio.StreamReader, message: Message, *, until_end: bool = False) -> None:
    """Read the body of a message. Raises Broken."""
    names = dict(message.fields)
    body = b""
    try:
        if names.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                body += await reader.readexactly(size)
                assert await reader.readexactly(2) == b"\r\n"
            assert await reader.readexactly(2) == b"\r\n"
        elif "content-length" in names:
            body = await reader.readexactly(int(names["content-length"]))
        elif until_end:
            while data := await reader.read(2**16):
                body += data
    except asyncio.IncompleteReadError as error:
        raise Broken(body + error.partial, message) from None
    except ConnectionError:
        raise Broken(body, message) from None
    message.body = body


class RawClient:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, **options: Any) -> RawClient:
        return cls(*await asyncio.open_connection("127.0.0.1", port, **options))

    async def __aenter__(self) -> RawClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        """Leave with a reset."""
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), HANG_S)

    async def head(self) -> Message:
        """Read the head of an answer."""
        try:
            text = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), HANG_S)
        except asyncio.IncompleteReadError as error:
            raise Broken(error.partial) from None
        except ConnectionError:
            raise Broken(b"") from None
        return parse_head(text.removesuffix(b"\r\n\r\n"))

    async def answer(self, *, bodiless: bool = False) -> Message:
        """Read a whole answer."""
        message = await self.head()
        if not bodiless:
            await asyncio.wait_for(read_body(self.reader, message, until_end=True), HANG_S)
        return message

    async def ask(self, data: bytes) -> Message:
        """Send a request and read the answer."""
        await self.send(data)
        return await self.answer()

    async def until(self, mark: bytes) -> bytes:
        """Read until some bytes came."""
        return await asyncio.wait_for(self.reader.readuntil(mark), HANG_S)

    async def ended(self) -> bytes:
        """Return what came until the server closed the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), HANG_S)
        except ConnectionError:
            return b""


def post(body: bytes | dict[str, Any], path: str = "/v1/chat/completions", *lines: str) -> bytes:
    """Return a request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "".join(f"{line}\r\n" for line in (f"POST {path} HTTP/1.1", "Host: gateway", *lines))
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def get(path: str, *lines: str) -> bytes:
    """Return a request without a body."""
    return "".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "Host: gateway", *lines, "")).encode()
