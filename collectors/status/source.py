"""A source that reads an engine's status API, with one deadline for all of its requests."""

from __future__ import annotations

import asyncio
from typing import Protocol

from collectors.errors import ScrapeTimeout
from collectors.http.fetch import HTTP_ERRORS, translated
from collectors.http.server_api import ServerApi


class Reader(Protocol):
    """Turns one engine's API into metrics. It only asks for state: no request of it loads, wakes or moves anything."""

    remark: str
    """A sentence for people beside the metrics of the last read, or ""."""

    async def read(self, api: ServerApi, timeout_s: float) -> bytes:
        """Return a body in the text exposition format, within `timeout_s`. Raises ScrapeError and aiohttp's errors."""
        ...


class StatusSource:
    """Implements collectors.target.Source by a reader."""

    def __init__(self, reader: Reader, api: ServerApi) -> None:
        self._reader, self._api = reader, api

    @property
    def remark(self) -> str:
        """The reader's remark."""
        return self._reader.remark

    async def read(self, timeout_s: float) -> bytes:
        """Return the exposition. Raises ScrapeTimeout at the deadline, ExpositionError for an answer that is not
        HTTP, and other ScrapeErrors."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._reader.read(self._api, timeout_s)
        except TimeoutError:
            raise ScrapeTimeout(f"timed out after {timeout_s:g}s (asking {self._api.asking})") from None
        except HTTP_ERRORS as error:
            raise translated(error) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._api.close()
