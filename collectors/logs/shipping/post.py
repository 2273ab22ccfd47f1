"""One request to a destination, with one deadline and a bounded answer."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Sequence

from collectors.errors import ScrapeTimeout
from collectors.http.answer import BoundedBody
from collectors.http.fetch import HTTP_ERRORS, address_of, translated
from collectors.http.http_client import HttpClient
from collectors.logs.shipping.record import Record
from collectors.logs.shipping.settings import Destination
from collectors.logs.shipping.verdict import Answer, Dialect

MAX_ANSWER_BYTES = 4 << 20
"""Bytes of an answer. That of Elasticsearch has a status for each line."""
_LEVEL = 1
Posting = Callable[[Sequence[Record]], Awaitable[Answer]]
"""Sends lines once. Raises ScrapeError when no whole answer came."""


class Post:
    """Sends lines to one destination, compressed by gzip. Redirects are not followed."""

    def __init__(self, destination: Destination, dialect: Dialect) -> None:
        self._destination, self._dialect = destination, dialect
        self._client = HttpClient(destination.auth, auto_decompress=False)

    async def __call__(self, records: Sequence[Record]) -> Answer:
        """Send lines once. Raises ScrapeError when no whole answer came, also for unreadable credentials."""
        timeout_s = self._destination.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(records)
        except TimeoutError:
            raise ScrapeTimeout(f"no whole answer within {timeout_s:g}s") from None
        except HTTP_ERRORS as error:
            raise translated(error) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def _exchange(self, records: Sequence[Record]) -> Answer:
        base, user = address_of(self._destination.url)
        options = await self._client.options(base)
        headers = options["headers"]
        if user:
            headers.setdefault("Authorization", user)
        headers.update(self._destination.headers)
        headers["Accept-Encoding"] = "gzip"
        headers["Content-Encoding"] = "gzip"
        headers["Content-Type"] = self._dialect.content_type
        prefix = base.raw_path.rstrip("/").removesuffix(self._dialect.path)
        url = base.with_path(prefix + self._dialect.path, encoded=True, keep_query=True)
        body = await asyncio.to_thread(self._packed, records)
        async with self._client.session().post(url.update_query(self._dialect.query), data=body, **options) as response:
            try:
                got = BoundedBody(MAX_ANSWER_BYTES, response.headers.get("Content-Encoding", ""))
                async for chunk in response.content.iter_any():
                    got.feed(chunk)
                return Answer(response.status, got.finish(), response.headers.get("Retry-After", ""))
            finally:
                response.close()  # the rest of a body must not be drained: it may never end

    def _packed(self, records: Sequence[Record]) -> bytes:
        packer = zlib.compressobj(_LEVEL, wbits=16 + zlib.MAX_WBITS)
        return packer.compress(self._dialect.body(records)) + packer.flush()
