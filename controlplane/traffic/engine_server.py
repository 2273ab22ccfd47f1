"""Calls of an engine's HTTP API. Answers are bounded, and every call has a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp

from collectors.errors import ScrapeError
from collectors.http.http_client import request_options
from collectors.target import Auth
from controlplane.errors import Unavailable
from controlplane.traffic.driver import NotSent
from controlplane.traffic.words import told

MAX_BODY_BYTES = 4 * 2**20
"""Maximum size of an answer. Chosen: a repository index or a model configuration has some kilobytes."""

TEST = {"x-controlplane-test": "1"}
"""Header of each question, so that logs of engines and proxies can tell it from a client's request."""


class Reply(NamedTuple):
    """A whole reply of a server."""

    status: int
    body: bytes
    seconds: float
    """Seconds from the request to the end of the body."""
    reads: tuple[tuple[int, float], ...]
    """(bytes of the body so far, seconds since the request) after each read."""


def open_session() -> aiohttp.ClientSession:
    """Return a session for engines' APIs. Call it on the running event loop.

    Every call opens a new connection. Triton binds a connection to one of its HTTP threads, and a load occupies its
    thread until the model is loaded: a kept-alive connection on that thread would get no answer until then.
    """
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), trust_env=False)


class EngineServer:
    """One server of models."""

    def __init__(self, url: str, session: aiohttp.ClientSession, timeout_s: float, auth: Auth | None) -> None:
        """`session` comes from open_session(). `timeout_s` is the deadline of a call that names none."""
        self._url, self._session, self._timeout_s, self._auth = url.rstrip("/"), session, timeout_s, auth

    async def call(self, method: str, path: str, body: Any = None, timeout_s: float | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer. `body` is sent as JSON; `timeout_s` replaces the server's deadline.

        Raises NotSent when the server got no request, and Unavailable when no whole answer came.
        """
        reply = await self._exchange(method, path, body, timeout_s, {})
        return reply.status, reply.body

    async def ask(self, path: str, body: Any, timeout_s: float) -> Reply:
        """Post a question, marked as a test, and return the reply with its times. Raises as `call` does."""
        return await self._exchange("POST", path, body, timeout_s, TEST)

    async def _exchange(
        self, method: str, path: str, body: Any, timeout_s: float | None, headers: Mapping[str, str]
    ) -> Reply:
        if self._session.closed:  # a reload replaced this driver in the middle of an observation
            raise NotSent(f"{self._url} was not asked {path}: the configuration has just changed")
        timeout = aiohttp.ClientTimeout(total=timeout_s or self._timeout_s, sock_connect=self._timeout_s)
        started = time.monotonic()
        try:
            options = await request_options(self._url, self._auth)
            options["headers"] = {**headers, **options["headers"]}
            async with self._session.request(
                method, self._url + path, json=body, timeout=timeout, **options
            ) as response:
                content, reads = await _bounded(response, self._url + path, started)
                return Reply(response.status, content, time.monotonic() - started, reads)
        except ScrapeError as error:
            raise NotSent(f"{self._url} was not asked {path}: {error}") from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent(f"{self._url} did not answer {path}: {_named(error)}") from error
        except TimeoutError as error:
            raise Unavailable(f"{self._url} did not answer {path} within {timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError, UnicodeError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"{self._url} did not answer {path}: {_named(error)}") from error


async def _bounded(
    response: aiohttp.ClientResponse, place: str, started: float
) -> tuple[bytes, tuple[tuple[int, float], ...]]:
    chunks: list[bytes] = []
    reads: list[tuple[int, float]] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Unavailable(f"{place} answered more than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
        reads.append((size, time.monotonic() - started))
    return b"".join(chunks), tuple(reads)


def _named(error: Exception) -> str:
    return told(str(error)) or type(error).__name__
