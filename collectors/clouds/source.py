"""Usage and costs of one account at a provider, as metrics.

Providers count these numbers late and allow few requests, so they are asked every five minutes, whatever the interval
of the scrapes. A cycle that a scrape's deadline interrupts goes on at the next scrape where it was.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from collectors.clouds.report import Item, Provider, Report, day_start, families, month_start
from collectors.clouds.waiting import RETRY_S, Limited
from collectors.errors import ExpositionError, ScrapeError, ScrapeTimeout, UnexpectedStatus
from collectors.http.fetch import HTTP_ERRORS, translated
from collectors.http.http_client import exposition_of
from collectors.http.server_api import Reply, ServerApi
from collectors.target import Auth

POLL_S = 300.0
"""Seconds between two cycles (chosen: OpenAI's costs are those of whole days, and its usage is minutes late)."""
MAX_PAGES = 100
"""Pages of one report. One page holds a month at the known providers."""
_DEADLINE_SHARE = 0.9
"""Share of the scrape's deadline for the requests. The rest is for parsing their answers."""
_DENIED = (401, 403)


class AccountSource:
    """Reads one account. `url` is the base of the provider's API, which may be that of a proxy.

    `clock` is monotonic, `wall` gives unix seconds; both are in seconds.
    """

    def __init__(
        self,
        provider: Provider,
        url: str,
        auth: Auth | None = None,
        *,
        max_body_bytes: int = 16 * 2**20,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._provider, self._url = provider, url.rstrip("/")
        self._clock, self._wall = clock, wall
        self._api = ServerApi(url, auth, max_body_bytes, access=provider.headers)
        self._body = b""
        self._day = 0.0
        self._next_at = 0.0
        self._cycle: _Cycle | None = None
        self._failure: ScrapeError | None = None

    async def read(self, timeout_s: float) -> bytes:
        """Return the exposition of the last whole cycle; first read the account again when that is due.

        Raises ScrapeError when a report cannot be read, and again until the next try is due. Raises ScrapeTimeout when
        the deadline is over; the next read goes on from there.
        """
        day = day_start(self._wall())
        if self._body and day == self._day and self._clock() < self._next_at:
            return self._body
        if self._failure and self._clock() < self._next_at:
            raise self._failure
        if self._cycle is None or self._cycle.day != day:
            self._cycle = _Cycle(day, month_start(self._wall()).timestamp(), self._provider)
        try:
            async with asyncio.timeout(timeout_s * _DEADLINE_SHARE):
                await self._go_on(self._cycle)
            self._body = exposition_of(
                families(self._cycle.items, self._cycle.month, self._cycle.day, read_at=self._wall())
            )
        except TimeoutError:
            raise ScrapeTimeout(f"{self._url} did not answer within {timeout_s * _DEADLINE_SHARE:g} s") from None
        except ScrapeError as error:
            self._fail(error)
            raise
        self._cycle, self._failure, self._day = None, None, day
        self._next_at = self._clock() + POLL_S
        return self._body

    async def close(self) -> None:
        """Close the connection."""
        await self._api.close()

    def _fail(self, error: ScrapeError) -> None:
        self._failure, self._body, self._cycle = error, b"", None
        wait_s = error.wait_s if isinstance(error, Limited) else RETRY_S
        self._next_at = self._clock() + wait_s

    async def _go_on(self, cycle: _Cycle) -> None:
        while cycle.pending:
            report = cycle.pending[0]
            page = await self._page(report, cycle.next_page)
            cycle.take(report, page)

    async def _page(self, report: Report, token: str) -> Mapping[str, Any]:
        query = [*report.query, *([("page", token)] if token else [])]
        try:
            reply = await self._api.ask("GET", report.path, query)
        except TimeoutError:
            raise
        except HTTP_ERRORS as error:
            raise translated(error) from error
        self._check(reply)
        try:
            page = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise ExpositionError(f"{report.path}: the answer is not JSON", 0) from None
        if not isinstance(page, dict):
            raise ExpositionError(f"{report.path}: the answer is no page of a report", 0)
        return page

    def _check(self, reply: Reply) -> None:
        """Raise UnexpectedStatus for another status than 200."""
        if reply.status == 200:
            return
        told = f"{reply.path}: status {reply.status}"
        if reply.status in _DENIED:
            raise UnexpectedStatus(f"{told}: the key may not read usage and costs; it must be {self._provider.key}")
        if reply.status == 429:
            raise Limited(told, reply.retry_after, self._wall())
        raise UnexpectedStatus(told)


class _Cycle:
    """One reading of all reports, page by page."""

    def __init__(self, day: float, month: float, provider: Provider) -> None:
        self.day, self.month = day, month
        self.pending = list(provider.reports(month_start(day)))
        self.items: list[Item] = []
        self.next_page = ""
        self._pages = 0

    def take(self, report: Report, page: Mapping[str, Any]) -> None:
        """Add a page's items, and go on to the next page or report. Raises ExpositionError for another form."""
        buckets = page.get("data")
        try:
            if not isinstance(buckets, list) or not all(isinstance(each, dict) for each in buckets):
                raise ValueError("there is no list of days")
            self.items += [item for bucket in buckets for item in report.items(bucket)]
        except (ValueError, OverflowError) as error:
            raise ExpositionError(f"{report.path}: the answer is no page of a report: {error}", 0) from None
        token = page.get("next_page") if page.get("has_more") else None
        self._pages += 1
        if not token:
            self.pending.pop(0)
            self.next_page, self._pages = "", 0
            return
        if not isinstance(token, str) or token == self.next_page or self._pages >= MAX_PAGES:
            raise ExpositionError(f"{report.path}: the pages do not end", 0)
        self.next_page = token
