"""Targets with faulty TLS: every client reports a sentence, and neither event loop has an unhandled exception."""

from __future__ import annotations

import asyncio
import gc
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
import uvloop

from collectors.engines.kinds import Api
from collectors.engines.readiness import ReadinessSource
from collectors.errors import ScrapeError
from collectors.http.fetch import HttpSource
from collectors.probe.source import ProbeSource
from controlplane.errors import ControlPlaneError
from controlplane.remote_client import RemoteClient
from controlplane.traffic.triton.api import TritonApi
from tests.unhandled import Unhandled

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TIMEOUTS_S = (5.0, 0.01)
"""Two timeouts: one long enough to get the refusal, one so short that the client gives up during the handshake."""


async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection in the middle of the handshake."""
    await reader.read(10)
    writer.transport.abort()


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the first TLS message with HTTP."""
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection within a handshake message."""
    await reader.read(2000)
    writer.write(b"\x16\x03\x03\x00\x7a\x02\x00")
    writer.close()


async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Refuse the handshake with a TLS alert."""
    await reader.read(2000)
    writer.write(b"\x15\x03\x03\x00\x02\x02\x28")
    writer.close()


async def honest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with TLS and an untrusted certificate."""
    with suppress(asyncio.IncompleteReadError, OSError):
        await reader.readuntil(b"\r\n\r\n")
    writer.close()


SERVERS: dict[str, Handler] = {"certificate": honest, "cut": cut, "plain": plain, "half": half, "alert": alert}


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=target"
    subprocess.run([*command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


@asynccontextmanager
async def served(handler: Handler, tls: ssl.SSLContext | None) -> Any:
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def ask_all(base: str, timeout_s: float) -> list[str]:
    """Send a request with every client that reads targets, and return the error of each."""
    said = []
    for source in (
        HttpSource(f"{base}/metrics"),
        ProbeSource(f"{base}/v1/chat/completions", model="m"),
        ReadinessSource(Api.TRITON, base, expected=[("m", "1")]),
        ReadinessSource(Api.OPENAI, base),
    ):
        for _ in range(2):
            try:
                await source.read(timeout_s)  # a probe and a readiness tell the failure by their numbers
            except ScrapeError as error:
                said.append(str(error))
        await source.close()
    async with aiohttp.ClientSession() as session:
        api = TritonApi(base, session, timeout_s, None)
        said += await asyncio.gather(*(_error(api.load("m", {}, timeout_s)) for _ in range(3)))
    remote = RemoteClient(base, None, {}, max_reply_bytes=1000)
    said += await asyncio.gather(
        *(_error(remote.request("POST", "api/v1/query", timeout_s, form=[("query", "1")])) for _ in range(3))
    )
    await remote.close()
    return said


async def _error(asked: Awaitable[Any]) -> str:
    try:
        await asked
    except (ControlPlaneError, TimeoutError) as error:
        return str(error)
    raise AssertionError("bad TLS was taken for good")


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", SERVERS)
def test_bad_tls_is_said_and_leaves_nothing_unhandled(
    kind: str, new_loop: Callable[[], Any], untrusted: ssl.SSLContext, unhandled: Unhandled
) -> None:
    async def main() -> None:
        async with served(SERVERS[kind], untrusted if kind == "certificate" else None) as base:
            for timeout_s in TIMEOUTS_S:
                said = await ask_all(base, timeout_s)
                assert len(said) >= 8
                assert all(said), said
                if kind == "certificate" and timeout_s > 1:
                    assert "TLS certificate refused" in said[0]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
        gc.collect()
    assert unhandled.take() == []
