"""JSON over HTTP with a provider whose requests carry a signature or a token of their own. Answers are not trusted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from yarl import URL

from collectors.errors import ExpositionError, ScrapeError, ScrapeTimeout, Unreachable
from collectors.http.answer import BoundedBody
from collectors.http.fetch import HTTP_ERRORS, translated
from collectors.http.http_client import HttpClient
from collectors.target import Auth

REQUEST_S = 30.0
"""Seconds for one request (chosen: a large page of metrics takes a few)."""


class Told(NamedTuple):
    """One answer of any status. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def data(self, what: str) -> dict[str, Any]:
        """Return the object of the body. Raises ExpositionError for another body; `what` was asked."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            raise ExpositionError(f"{what}: the answer is not JSON", 0) from None
        if not isinstance(found, dict):
            raise ExpositionError(f"{what}: the answer is no JSON object", 0)
        return found


class JsonApi:
    """Sends requests. `auth` gives the TLS settings; its credentials are not sent."""

    def __init__(self, auth: Auth | None, max_body_bytes: int, request_s: float = REQUEST_S) -> None:
        self._client = HttpClient(auth and auth.without_credentials(), auto_decompress=False)
        self._max_body_bytes, self._request_s = max_body_bytes, request_s

    async def send(self, method: str, url: URL, headers: Mapping[str, str], body: bytes = b"") -> Told:
        """Return the answer. Redirects are not followed.

        Raises ScrapeTimeout, Unreachable, BodyTooLarge and ExpositionError, which name the host.
        """
        try:
            async with asyncio.timeout(self._request_s):
                return await self._send(method, url, headers, body)
        except TimeoutError:
            raise ScrapeTimeout(f"{url.host} did not answer within {self._request_s:g} s") from None
        except HTTP_ERRORS as error:
            raise _at(url, translated(error)) from error

    async def _send(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> Told:
        options = await self._client.options(url)
        options["headers"].update(headers, **{"Accept-Encoding": "gzip"})
        async with self._client.session().request(method, url, data=body or None, **options) as response:
            try:
                bounded = BoundedBody(self._max_body_bytes, response.headers.get("Content-Encoding", ""))
                async for chunk in response.content.iter_any():
                    bounded.feed(chunk)
                told = {name.lower(): value for name, value in response.headers.items()}
                return Told(response.status, told, bounded.finish())
            finally:
                response.close()  # the rest of a body must not be drained: it may never end

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _at(url: URL, error: ScrapeError) -> ScrapeError:
    return Unreachable(f"{url.host}: {error}") if isinstance(error, Unreachable) else error
