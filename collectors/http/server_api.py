"""A server's own HTTP API, asked for its state. Nothing that it answers is trusted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from collectors.errors import ExpositionError, UnexpectedStatus
from collectors.http.answer import BoundedBody, other_status
from collectors.http.credentials import authorized
from collectors.http.fetch import address_of
from collectors.http.http_client import HttpClient
from collectors.target import Auth

_OK = 200


class Reply(NamedTuple):
    """One answer. `body` is empty unless the status is 200."""

    path: str
    status: int
    body: bytes = b""
    retry_after: str = ""
    """Value of the header Retry-After; "" without one."""

    def whole(self) -> bytes:
        """Return the body. Raises UnexpectedStatus for another status than 200."""
        if self.status != _OK:
            raise UnexpectedStatus(f"{self.path} {other_status(self.status, '')}")
        return self.body

    def json(self) -> Any:
        """Return the body's JSON. Raises UnexpectedStatus, and ExpositionError for a body that is not JSON."""
        try:
            return json.loads(self.whole())
        except (ValueError, RecursionError) as error:
            raise ExpositionError(f"{self.path} answered something else than JSON", 0) from error


class ServerApi:
    """Asks one server. `url` is the base of its paths, after which `suffix` may stand.

    Its query goes with each request. An answer may have `max_body_bytes`, inflated. `access` returns the headers that
    carry the credentials, from the value of the Authorization header ("" without credentials).
    """

    def __init__(
        self,
        url: str,
        auth: Auth | None,
        max_body_bytes: int,
        suffix: str = "",
        access: Callable[[str], dict[str, str]] = authorized,
    ) -> None:
        self._url, self._suffix, self._access = url, suffix, access
        self._max_body_bytes = max_body_bytes
        self._client = HttpClient(auth, auto_decompress=False)
        self.asking = ""
        """The path of the last request."""

    @property
    def backend(self) -> str:
        """The server's scheme, host and port. Raises Unreachable for a URL that cannot be used."""
        return str(address_of(self._url)[0].origin())

    async def ask(self, method: str, path: str, query: Sequence[tuple[str, str]] = ()) -> Reply:
        """Return the answer to a request without a body. Redirects are not followed.

        Raises BodyTooLarge, ExpositionError for a wrong encoding, aiohttp's errors, and ScrapeError for a URL or
        credentials that cannot be used.
        """
        self.asking = path
        base, user = address_of(self._url)
        options = await self._client.options(base)
        headers = options["headers"]
        headers["Accept-Encoding"] = "gzip"
        headers.update(self._access(headers.pop("Authorization", user or "")))
        prefix = base.raw_path.removesuffix(self._suffix).rstrip("/")
        url = base.with_path(prefix + path, encoded=True, keep_query=True).update_query(query)
        async with self._client.session().request(method, url, **options) as response:
            try:
                if response.status != _OK:
                    return Reply(path, response.status, retry_after=response.headers.get("Retry-After", ""))
                body = BoundedBody(self._max_body_bytes, response.headers.get("Content-Encoding", ""))
                async for chunk in response.content.iter_any():
                    body.feed(chunk)
                return Reply(path, _OK, body.finish())
            finally:
                response.close()  # the rest of a body must not be drained: it may never end

    async def get(self, path: str) -> Any:
        """Return the JSON of a GET. Raises what `ask` and `Reply.json` raise."""
        return (await self.ask("GET", path)).json()

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()
