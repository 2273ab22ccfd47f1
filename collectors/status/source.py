"""A source that reads an engine's status API, with one deadline for all of its requests."""

from __future__ import annotations

import asyncio
from typing import Protocol

import aiohttp
from aiohttp.http import HttpProcessingError

from collectors.errors import ExpositionError, ScrapeTimeout
from collectors.http.fetch import translated
from collectors.status.api import StatusApi


class Reader(Protocol):
    """Turns one engine's API into metrics. It only asks for state: no request of it loads, wakes or moves anything."""

    remark: str
    """A sentence for people beside the metrics of the last read, or ""."""

    async def read(self, api: StatusApi, timeout_s: float) -> bytes:
        """Return a body in the text exposition format, within `timeout_s`. Raises ScrapeError and aiohttp's errors."""
        ...


class StatusSource:
    """Implements collectors.target.Source by a reader."""

    def __init__(self, reader: Reader, api: StatusApi) -> None:
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
        except HttpProcessingError as error:
            raise ExpositionError("the answer is not HTTP", 0) from error
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise translated(error) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._api.close()
