"""HttpSource with real servers on loopback: its bodies, and the error of each failure."""

from __future__ import annotations

import asyncio
import base64
import gzip
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collectors.errors import (
    BodyTooLarge,
    ExpositionError,
    ScrapeError,
    ScrapeTimeout,
    UnexpectedStatus,
    Unreachable,
)
from collectors.http.credentials import authorization
from collectors.http.fetch import ACCEPT, HttpSource
from collectors.target import Auth

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECRET = "s3cret-that-no-message-may-show"


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve raw connections; yields the URL. Handlers that still run at the end are cancelled."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return handle


async def read(url: str, auth: Auth | None = None, *, timeout_s: float = 5.0, max_body_bytes: int = 1000) -> bytes:
    source = HttpSource(url, auth, max_body_bytes=max_body_bytes)
    try:
        return await source.read(timeout_s)
    finally:
        await source.close()


async def failure(
    url: str, auth: Auth | None = None, *, timeout_s: float = 5.0, max_body_bytes: int = 1000
) -> ScrapeError:
    with pytest.raises(ScrapeError) as caught:
        await read(url, auth, timeout_s=timeout_s, max_body_bytes=max_body_bytes)
    assert SECRET not in str(caught.value)
    assert "http://" not in str(caught.value)
    return caught.value


async def test_a_body_comes_back_as_sent_and_the_request_is_what_prometheus_sends() -> None:
    requests: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\nup 1\n")

    async with serving(handle) as url:
        source = HttpSource(url, user_agent="fleet/1")
        assert [await source.read(2.5), await source.read(2.5)] == [b"up 1\n"] * 2  # over one connection
        await source.close()
    for request in requests:
        assert request.startswith("GET /metrics HTTP/1.1\r\n")
        assert f"Accept: {ACCEPT}\r\n" in request
        assert "Accept-Encoding: gzip\r\n" in request
        assert "User-Agent: fleet/1\r\n" in request
        assert "X-Prometheus-Scrape-Timeout-Seconds: 2.5\r\n" in request
        assert "Cookie" not in request
        assert "Authorization" not in request


async def test_a_source_reads_again_after_it_was_closed() -> None:
    async with serving(answering(b"up 1\n")) as url:
        source = HttpSource(url)
        await source.close()
        assert await source.read(5) == b"up 1\n"
        await source.close()
        assert await source.read(5) == b"up 1\n"
        await source.close()


RAW_DEFLATE = zlib.compressobj(wbits=-zlib.MAX_WBITS)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"up 1\n" * 100)),
        ("x-gzip", gzip.compress(b"up 1\n" * 100)),
        ("GZIP", gzip.compress(b"up 1\n" * 100)),
        ("deflate", zlib.compress(b"up 1\n" * 100)),
        ("deflate", RAW_DEFLATE.compress(b"up 1\n" * 100) + RAW_DEFLATE.flush()),
        ("identity", b"up 1\n" * 100),
    ],
    ids=["gzip", "x-gzip", "upper-case", "zlib", "raw-deflate", "identity"],
)
async def test_compressed_bodies_are_inflated(encoding: str, body: bytes) -> None:
    async with serving(answering(body, f"Content-Encoding: {encoding}")) as url:
        assert await read(url, max_body_bytes=500) == b"up 1\n" * 100


async def test_a_gzip_body_that_trickles_is_inflated() -> None:
    body = gzip.compress(b"up 1\n")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        for byte in body:
            writer.write(b"1\r\n" + bytes([byte]) + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with serving(handle) as url:
        assert await read(url) == b"up 1\n"


BOMB = gzip.compress(b"0" * 10_000_000)


@pytest.mark.parametrize(
    ("handler", "error", "message"),
    [
        (answering(b"", status="404 Not Found"), UnexpectedStatus, "answered 404 Not Found, expected 200"),
        (answering(b"", status="204 No Content"), UnexpectedStatus, "answered 204 No Content, expected 200"),
        (answering(b"", status="799 Odd"), UnexpectedStatus, "answered 799, expected 200"),
        (
            answering(b"", f"Location: http://other.example:81/x?token={SECRET}", status="302 Found"),
            UnexpectedStatus,
            "answered 302 Found, expected 200: a redirect to other.example:81 over http, which is not followed"
            " because it is another server; set the address to other.example:81",
        ),
        (
            answering(b"", f"Location: /login?{SECRET}", status="307 Temporary Redirect"),
            UnexpectedStatus,
            "answered 307 Temporary Redirect, expected 200: a redirect, the scrape's number 4; 3 are followed;"
            " set the final path",
        ),
        (
            answering(b"", "Location: http://[::1/", status="301 Moved Permanently"),
            UnexpectedStatus,
            "answered 301 Moved Permanently, expected 200: a redirect to a place that is no address;"
            " set the final address",
        ),
        (answering(b"x" * 1001), BodyTooLarge, "the body has more than the 1000 bytes allowed"),
        (answering(b"", length=10**12), BodyTooLarge, "the body has more than the 1000 bytes allowed"),
        (answering(b"up 1\n", length=9), Unreachable, "connection closed in the middle of the body"),
        (answering(BOMB, "Content-Encoding: gzip"), BodyTooLarge, "the body has more than the 20000 bytes allowed"),
        (answering(b"up 1\n", "Content-Encoding: gzip"), ExpositionError, "the body is not valid gzip"),
        (answering(b"", "Content-Encoding: gzip"), ExpositionError, "the gzip body is cut short"),
        (
            answering(gzip.compress(b"up 1\n")[:-3], "Content-Encoding: gzip"),
            ExpositionError,
            "the gzip body is cut short",
        ),
        (
            answering(gzip.compress(b"up 1\n") + b"more", "Content-Encoding: gzip"),
            ExpositionError,
            "the gzip body is followed by other bytes",
        ),
        (answering(b"x", "Content-Encoding: br"), ExpositionError, "the body's encoding 'br' was not requested"),
    ],
)
async def test_an_answer_that_is_no_body(handler: Handler, error: type[ScrapeError], message: str) -> None:
    async with serving(handler) as url:
        caught = await failure(url, max_body_bytes=20_000 if "20000" in message else 1000)
    assert (type(caught), str(caught)) == (error, message)


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    async with serving(answering(b"x" * 1000)) as url:
        assert len(await read(url)) == 1000
    async with serving(answering(gzip.compress(b"x" * 1000), "Content-Encoding: gzip")) as url:
        assert len(await read(url)) == 1000


async def test_an_endless_body_is_cut_off() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"up 1\n" * 1000)
            await writer.drain()

    async with serving(handle) as url:
        assert isinstance(await failure(url), BodyTooLarge)


@pytest.mark.parametrize(
    ("sent", "error", "message"),
    [
        (b"", Unreachable, "connection closed before an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ExpositionError, "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", ExpositionError, "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", ExpositionError, "the answer is not HTTP"),
    ],
)
async def test_an_answer_that_is_no_http(sent: bytes, error: type[ScrapeError], message: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        await writer.drain()

    async with serving(handle) as url:
        caught = await failure(url)
    assert (type(caught), str(caught)) == (error, message)


@pytest.mark.parametrize(
    ("sent", "stage"),
    [
        (b"", "connected, no headers yet"),
        (b"HTTP/1.1 200 OK\r\n", "connected, no headers yet"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "headers received, no body yet"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup 1", "in the middle of the body, 4 bytes received"),
    ],
)
async def test_a_timeout_says_how_far_it_came(sent: bytes, stage: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        await asyncio.Event().wait()

    async with serving(handle) as url:
        for timeout_s in (0.3, 3.0, 30.0):  # the shortest that lets this machine come so far
            caught = await failure(url, timeout_s=timeout_s)
            if stage in str(caught):
                break
    assert isinstance(caught, ScrapeTimeout)
    assert str(caught) == f"timed out after {timeout_s:g}s ({stage})"


async def test_a_listener_that_never_accepts_is_a_timeout_while_connecting() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:  # a full backlog drops further SYNs
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        caught = await failure(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout_s=0.3)
        for filler in fillers:
            filler.close()
    assert str(caught) == "timed out after 0.3s (not connected)"


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        caught = await failure(f"http://127.0.0.1:{unused.getsockname()[1]}/metrics")
    assert (type(caught), str(caught)) == (Unreachable, "connection refused")


@pytest.mark.parametrize(
    ("url", "messages"),
    [
        ("http://no-such-host.invalid/", {"no such host", "cannot resolve the host for now"}),
        (f"http://{'x' * 70}.example/", {"no such host", "not a usable URL"}),
        ("http://[::1", {"not a usable URL"}),
        ("http:///metrics", {"not a usable URL"}),
        ("ftp://127.0.0.1/", {"not a usable URL"}),
        ("http://127.0.0.1:0/", {"not a usable URL"}),
    ],
)
async def test_an_address_that_leads_nowhere(url: str, messages: set[str]) -> None:
    caught = await failure(url)
    assert isinstance(caught, Unreachable)
    assert str(caught) in messages


async def test_credentials_are_read_at_each_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            seen.extend(line.partition(": ")[2] for line in request.split("\r\n") if line.startswith("Authorization"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    token = tmp_path / "token"
    token.write_text("first\n")
    async with serving(handle) as url:
        source = HttpSource(url, Auth(credentials_file=str(token)))
        await source.read(5)
        token.write_text("second")
        await source.read(5)
        await source.close()
        monkeypatch.setenv("ENGINE_TOKEN", "third")
        await read(url.replace("//", "//user:pass@"))
        await read(url, Auth(scheme="Token", credentials_env="ENGINE_TOKEN"))
        await read(url.replace("//", "//user:pass@"), Auth(username="ö", password_file=str(token)))
    assert seen == [
        "Bearer first",
        "Bearer second",
        f"Basic {base64.b64encode(b'user:pass').decode()}",
        "Token third",
        f"Basic {base64.b64encode('ö:second'.encode()).decode()}",
    ]


def test_authorization_without_credentials_is_none() -> None:
    assert authorization(Auth(ca_file="ca.pem")) is None
    assert authorization(Auth(username="u")) == "Basic dTo="


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the credentials file {path}: No such file or directory"),
        (b" \n", "the credentials file {path} is not set or empty"),
        (
            f"{SECRET}\nX-Evil: 1".encode(),
            "the credentials file {path} holds a line break or another control character",
        ),
        (SECRET.encode() + b"\xff", "the credentials file {path} is not UTF-8 text"),
    ],
)
async def test_unusable_credentials_are_named_not_shown(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    caught = await failure("http://127.0.0.1:9/", Auth(credentials_file=str(path)))
    assert str(caught) == message.format(path=path)
    assert caught.reason == "error"


async def test_an_authorization_type_cannot_add_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_TOKEN", SECRET)
    caught = await failure("http://127.0.0.1:9/", Auth(scheme="Bearer\r\nX-Evil: 1", credentials_env="ENGINE_TOKEN"))
    assert str(caught) == "the type of authorization holds a line break or another control character"


async def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENGINE_TOKEN", raising=False)
    caught = await failure("http://127.0.0.1:9/", Auth(credentials_env="ENGINE_TOKEN"))
    assert str(caught) == "the environment variable ENGINE_TOKEN is not set or empty"


async def test_a_refused_status_does_not_show_the_credentials(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET)
    async with serving(answering(SECRET.encode(), status=f"401 {SECRET}")) as url:
        caught = await failure(url, Auth(credentials_file=str(token)))
    assert str(caught) == "answered 401 Unauthorized, expected 200"


async def test_https_to_a_plain_server() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with serving(handle) as url:
        caught = await failure(url.replace("http:", "https:"))
    assert isinstance(caught, Unreachable)
    assert str(caught).startswith("TLS handshake failed")
