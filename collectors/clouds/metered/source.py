"""Metrics that a cloud keeps of hosted models, as counters.

Each period is read once, when it is complete. The metrics stay the same until then. A reading that outlasts a scrape's
deadline goes on, and the next scrape gets its result. Costs and limits that cannot be read are left out; those that are
read later come with the metrics of the next period.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from prometheus_client import Metric

from collectors.clouds.metered.extra import Extra
from collectors.clouds.metered.limits import RateLimit, limit_families
from collectors.clouds.metered.periods import PERIOD_S, SETTLE_S, Span, settled
from collectors.clouds.metered.tally import Reading, Tally
from collectors.clouds.report import Item, month_start
from collectors.clouds.waiting import RETRY_S, Limited
from collectors.errors import ScrapeError, ScrapeTimeout
from collectors.http.http_client import exposition_of

_DEADLINE_SHARE = 0.9
"""Share of the scrape's deadline for the wait. The rest is for parsing the metrics."""


class Meter(Protocol):
    """A cloud's API for metrics."""

    async def read(self, span: Span) -> list[Reading]:
        """Return the readings of a span. Raises ScrapeError; then the same span is asked for again later."""
        ...

    async def states(self) -> Iterable[Metric]:
        """Return what the cloud says about now. Raises ScrapeError."""
        ...

    async def costs(self) -> Sequence[Item]:
        """Return the costs of this month's days; none for a cloud that is not asked. Raises ScrapeError."""
        ...

    async def limits(self) -> Sequence[RateLimit]:
        """Return what the cloud allows for each model; none for a cloud that is not asked. Raises ScrapeError."""
        ...

    @property
    def remark(self) -> str:
        """Return what is used although it should have been read anew, with the cause; "": nothing."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Remarked(Protocol):
    """A part of a meter that keeps what it read."""

    @property
    def remark(self) -> str:
        """Return why what is used is old; "": it is not."""
        ...


def remarks(*parts: Remarked | None) -> str:
    """Return the remarks of the parts that there are."""
    return "; ".join(part.remark for part in parts if part and part.remark)


class MeteredSource:
    """Implements collectors.target.Source. `clock` is monotonic, `wall` gives unix seconds; both are in seconds."""

    def __init__(
        self, meter: Meter, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._meter, self._clock, self._wall = meter, clock, wall
        self._tally = Tally(0.0)
        self._body = b""
        self._failure: ScrapeError | None = None
        self._next_at = 0.0
        self._reading: asyncio.Task[list[Metric]] | None = None
        self._costs: Extra[Sequence[Item]] = Extra("costs", meter.costs, (), clock)
        self._limits: Extra[Sequence[RateLimit]] = Extra("rate limits", meter.limits, (), clock)

    @property
    def remark(self) -> str:
        """Return what is left out or older than it should be, with the cause, as collectors.target.Remarking has it."""
        return remarks(self._meter, self._costs, self._limits)

    async def read(self, timeout_s: float) -> bytes:
        """Return the exposition of all complete periods.

        Raises ScrapeError when they cannot be read, and again until the next try is due. Raises ScrapeTimeout when the
        deadline is over; the reading goes on. Costs and limits are waited for until the deadline only.
        """
        until = asyncio.get_running_loop().time() + timeout_s * _DEADLINE_SHARE
        if self._reading is None:
            if self._clock() < self._next_at:
                if self._failure:
                    raise self._failure
                return self._body
            self._reading = asyncio.create_task(self._read())
        done, _ = await asyncio.wait({self._reading}, timeout=timeout_s * _DEADLINE_SHARE)
        if not done:
            raise ScrapeTimeout(f"the cloud's metrics were not read within {timeout_s * _DEADLINE_SHARE:g} s")
        finished, self._reading = self._reading, None
        try:
            states = finished.result()
            self._body, self._failure = await self._exposition(states, until), None
        except ScrapeError as error:
            self._failure = error
            self._next_at = self._clock() + (error.wait_s if isinstance(error, Limited) else RETRY_S)
            raise
        due_s = self._tally.end + PERIOD_S + SETTLE_S - self._wall()
        self._next_at = self._clock() + min(max(due_s, 1.0), PERIOD_S)
        return self._body

    async def close(self) -> None:
        """End a reading and close the connections."""
        if self._reading:
            self._reading.cancel()
            with suppress(asyncio.CancelledError, ScrapeError):
                await self._reading
            self._reading = None
        await self._costs.close()
        await self._limits.close()
        await self._meter.close()

    async def _read(self) -> list[Metric]:
        """Add the periods that are complete, and return the states."""
        end = settled(self._wall())
        month = month_start(end - 1).timestamp()
        tally = self._tally if self._tally.month == month else Tally(month)
        if tally.end - end > PERIOD_S:
            # The clock was set back. Periods that were read before they were over have to be read again.
            tally = tally.again()
        states = list(await self._meter.states())
        if end > tally.end:
            tally.add(await self._meter.read(Span(month, tally.end, end)), end)
        self._tally = tally
        return states

    async def _exposition(self, states: Iterable[Metric], until: float) -> bytes:
        """Return the metrics, with the costs and limits that are known at `until` (time of the event loop)."""
        now = asyncio.get_running_loop().time
        self._costs.start()
        self._limits.start()
        costs = await self._costs.value(max(0.0, until - now()))
        limits = await self._limits.value(max(0.0, until - now()))
        tally = self._tally
        return exposition_of([*tally.families(self._wall(), costs), *limit_families(limits, tally.used), *states])
