"""The admin listener: what it answers, and what strangers cannot do to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from controlplane.gateway.process import admin as admin_module
from controlplane.gateway.process.admin import MAX_HEAD, Admin, Answer, Page
from controlplane.gateway.process.sockets import Address, bind_all, bound_address
from tests.patience import HANG_S


async def hello() -> Answer:
    return Answer(503, b"not yet\n")


@asynccontextmanager
async def listening(pages: Mapping[str, Page] | None = None) -> AsyncIterator[int]:
    (sock,) = bind_all(Address("127.0.0.1", 0), 1, "gateway.admin")
    sock.listen()
    admin = Admin(pages or {"/readyz": hello})
    await admin.start(sock)
    yield bound_address(sock).port
    await admin.close()


async def ask(port: int, request: bytes, *, end: bool = False) -> bytes:
    """Send bytes, and return everything that comes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if end:
        writer.write_eof()
    answer = b""
    async with asyncio.timeout(HANG_S):
        with contextlib.suppress(ConnectionResetError):  # the request was not read to its end
            answer = await reader.read()
    writer.close()
    return answer


async def test_get_and_head_are_answered_with_length_and_without_a_second_request() -> None:
    async with listening() as port:
        head = (
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\n"
            b"Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        assert await ask(port, b"GET /readyz?x=1 HTTP/1.1\r\n\r\n" * 2) == head + b"not yet\n"
        assert await ask(port, b"HEAD /readyz HTTP/1.0\r\n\r\n") == head


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET / HTTP/1.1", 404), (b"POST /readyz HTTP/1.1", 405), (b"\xff\xfe", 405), (b"", 405), (b"GET", 404)],
)
async def test_other_requests_are_refused(request_line: bytes, status: int) -> None:
    async with listening() as port:
        answer = await ask(port, request_line + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_half_a_request_a_large_one_and_a_slow_one_end_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_module, "HEAD_S", 0.05)
    async with listening() as port:
        assert await ask(port, b"GET /rea", end=True) == b""
        assert await ask(port, b"x" * (MAX_HEAD + 1)) == b""
        assert await ask(port, b"GET /readyz") == b""


async def test_connections_without_a_request_keep_no_health_check_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_module, "MAX_CONNECTIONS", 2)
    async with listening() as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for _, writer in idle:
            writer.write(b"GET /readyz HTTP/1.1\r\n")
        answers = [await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n") for _ in range(3)]
        assert all(answer.startswith(b"HTTP/1.1 503") for answer in answers)
        idle[-1][1].write(b"\r\n")
        async with asyncio.timeout(HANG_S):
            assert (await idle[-1][0].read()).startswith(b"HTTP/1.1 503")
            for reader, writer in idle[:-1]:
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
        idle[-1][1].close()


async def test_a_connection_over_the_limit_is_closed_while_the_others_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admin_module, "MAX_CONNECTIONS", 1)
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Answer:
        began.set()
        await goes_on.wait()
        return Answer(200, b"")

    async with listening({"/readyz": slow}) as port:
        first = asyncio.create_task(ask(port, b"GET /readyz HTTP/1.1\r\n\r\n"))
        await asyncio.wait_for(began.wait(), HANG_S)
        assert await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n") == b""
        goes_on.set()
        assert (await first).startswith(b"HTTP/1.1 200")
