"""HTTP client for another metrics server, with one deadline, a bounded reply, and errors that name server and cure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from collectors.errors import ScrapeError
from collectors.http.answer import BoundedBody
from collectors.http.fetch import translated
from collectors.http.http_client import request_options
from collectors.target import Auth
from controlplane.errors import Unavailable

KEEPALIVE_S = 60.0
"""Seconds that an idle connection is kept. Chosen: longer than the usual evaluation interval, so that TLS handshakes
happen once."""

DRAIN_S = 1.0
"""Seconds for the body of a reply when only the status matters. Chosen."""


class Reply(NamedTuple):
    """A server's reply. `body` is decompressed and within the limit."""

    status: int
    content_type: str
    body: bytes
    retry_after: str = ""
    """The header Retry-After, unchanged."""
    location: str = ""
    """Host of the header Location. The rest of the URL is left out: it can hold a token."""


class Server(Protocol):
    """A server that is asked. RemoteClient is one."""

    name: str

    async def request(
        self,
        method: str,
        path: str,
        timeout_s: float,
        *,
        params: Mapping[str, str] | list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return the reply, whatever its status. Raises TimeoutError and Unavailable."""
        ...


class RemoteClient:
    """A client of one server. It keeps connections open, follows no redirects and stores no cookies."""

    def __init__(
        self,
        url: str,
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        max_reply_bytes: int,
        whole: bool = True,
    ) -> None:
        """A reply beyond `max_reply_bytes` is refused if `whole`. Otherwise only the status matters, and it is cut."""
        self._url = URL(url.rstrip("/"))
        self._auth, self._headers, self._max_reply_bytes = auth, dict(headers or {}), max_reply_bytes
        self._whole = whole
        self._session: aiohttp.ClientSession | None = None
        # `name` is shown to people. It has no userinfo (the configuration refuses it) and no query (it may hold a key).
        self.name = f"{self._url.scheme}://{self._url.host_port_subcomponent}{self._url.path.rstrip('/')}"

    async def request(
        self,
        method: str,
        path: str,
        timeout_s: float,
        *,
        params: Mapping[str, str] | list[tuple[str, str]] | None = None,
        form: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool = True,
    ) -> Reply:
        """Send a request and return the reply, whatever its status. `again` means that a repeated request is harmless.

        Raises TimeoutError past the deadline, and Unavailable when no whole reply came. Both messages are fit for an
        operator.
        """
        try:
            async with asyncio.timeout(timeout_s):
                options = await request_options(self._url, self._auth)
                options["headers"] = {
                    **self._headers,
                    "Accept-Encoding": "gzip" if self._whole else "identity",
                    **options["headers"],
                    **(headers or {}),
                }
                url = self._url.joinpath(*path.split("/"), encoded=True) if path else self._url
                sent = {"params": params, "data": body if form is None else aiohttp.FormData(form), **options}
                try:
                    return await self._exchange(method, url, sent)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                    # The server had closed a kept connection in the meantime. That is normal: try a new connection.
                    if not again or isinstance(error, aiohttp.ClientConnectorError):
                        raise
                    if form is not None:
                        sent["data"] = aiohttp.FormData(form)
                    return await self._exchange(method, url, sent)
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not answer within {timeout_s:g}s") from None
        except HttpProcessingError as error:
            raise Unavailable(f"{self.name}: the answer is not HTTP") from error
        except ScrapeError as error:
            raise Unavailable(f"{self.name}: {error}") from error
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise Unavailable(f"{self.name} cannot be reached: {translated(error)}") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()
            self._session = None

    async def _exchange(self, method: str, url: URL, sent: Mapping[str, object]) -> Reply:
        async with self._connected().request(method, url, **sent) as response:  # type: ignore[arg-type]
            try:
                body = await (self._body(response) if self._whole else self._some(response))
            finally:
                # A body that was not read to its end may never end, so the connection is closed, not drained.
                if not response.content.at_eof():
                    response.close()
            told = response.headers
            return Reply(response.status, response.content_type, body, told.get("Retry-After", ""), _host(told))

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = BoundedBody(self._max_reply_bytes, response.headers.get("Content-Encoding", ""))
        body.check_size(response.content_length or 0)
        async for chunk in response.content.iter_any():
            body.feed(chunk)
        return body.finish()

    async def _some(self, response: aiohttp.ClientResponse) -> bytes:
        found = bytearray()
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                async for chunk in response.content.iter_any():
                    found += chunk
                    if len(found) > self._max_reply_bytes:
                        break
        return bytes(found[: self._max_reply_bytes])

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
            )
        return self._session


def _host(headers: Mapping[str, str]) -> str:
    try:
        return (URL(headers.get("Location", "")).host or "")[:100]
    except ValueError:
        return ""
