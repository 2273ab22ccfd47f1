"""One loop: a tick that is run again and again, survives its own failures, and acts only while it holds its lease."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from alerts.interfaces import Clock
from controlplane.errors import ControlPlaneError, LeaseLost, Unavailable
from controlplane.store.lease import Lease, LeaseStore

log = logging.getLogger(__name__)

RENEWALS_PER_TTL = 3
"""A lease is renewed this often while a tick lasts, so that two renewals may fail before it runs out."""
SHORT_TICK_S = 0.25
"""Seconds of a tick after which its lease is kept. Nearly all ticks are shorter and need no task for it. Chosen: small
beside every lease."""


@dataclass
class LoopStats:
    """Counters of a loop since this process started. Times are unix seconds; None: it has not happened yet."""

    name: str
    leased: bool
    holding: bool
    """It may act: it holds its lease, or needs none."""
    ticks: int = 0
    """Ticks begun."""
    failures: int = 0
    """Turns that raised, those that lost the lease included."""
    skipped: int = 0
    """Turns not taken because another process holds the lease."""
    overruns: int = 0
    """Turns that fell due while the one before still ran; they are not made up for."""
    last_started_at: float | None = None
    last_finished_at: float | None = None
    last_error: str | None = None
    """Of the last turn; None when it went well."""


class Loop(ABC):
    """A named job that is due every `interval_s` seconds. Turns of one loop never overlap: the timer sees to it."""

    def __init__(self, name: str, interval_s: float, clock: Clock, *, leased: bool) -> None:
        self.name = name
        self.interval_s = interval_s
        """Seconds from one turn to the next. A turn may change it; the change counts from that turn's end on."""
        self.cut_short = False
        """Whether a turn that runs is cancelled at once when the process ends: it would take longer than any grace."""
        self._clock = clock
        self._stats = LoopStats(name, leased=leased, holding=not leased)

    @property
    def stats(self) -> LoopStats:
        """A snapshot of the counters."""
        return replace(self._stats)

    @property
    def holds_lease(self) -> bool | None:
        """Whether its lease is this process's now; None for a loop that needs none.

        False past the lease's deadline, although an enduring loop goes on: another process may hold it by then.
        """
        return None

    async def run_once(self) -> None:
        """Take one turn. Raises nothing but cancellation: a failure is logged and counted, and the next turn comes."""
        error: str | None = None
        try:
            await self._turn()
        except ControlPlaneError as failure:
            error = f"{type(failure).__name__}: {failure}"
            self._say(error, None)
        except Exception as failure:  # noqa: BLE001 - the job boundary: one bad turn must not end the loop
            error = f"{type(failure).__name__}: {failure}"
            self._say(error, failure)
        if error is None and self._stats.last_error is not None:
            log.info("loop %s works again", self.name)
        self._note(failures=self._stats.failures + (error is not None), last_error=error)

    @abstractmethod
    async def close(self) -> None:
        """Give up what the loop holds. No turn may be running."""

    def overran(self) -> None:
        """Count a turn that fell due while the one before still ran."""
        self._note(overruns=self._stats.overruns + 1)

    @abstractmethod
    async def _turn(self) -> None: ...

    async def _timed(self, tick: Awaitable[None]) -> None:
        self._note(ticks=self._stats.ticks + 1, last_started_at=self._clock.now())
        try:
            await tick
        finally:
            self._note(last_finished_at=self._clock.now())

    def _note(self, **changes: object) -> None:
        # In place: a copy of eleven fields, four times a turn, was a tenth of an idle control plane's processor time.
        for name, value in changes.items():
            setattr(self._stats, name, value)

    def _say(self, error: str, failure: Exception | None) -> None:
        # The same failure every few seconds would bury the log: it is said once, until it changes or ends.
        level = logging.DEBUG if error == self._stats.last_error else logging.ERROR
        log.log(level, "loop %s: %s", self.name, error, exc_info=failure)


class PlainLoop(Loop):
    """A loop that every process runs for itself: it only observes, or its work is its own."""

    def __init__(self, name: str, interval_s: float, tick: Callable[[], Awaitable[None]], clock: Clock) -> None:
        super().__init__(name, interval_s, clock, leased=False)
        self._tick = tick

    async def close(self) -> None:
        """Nothing is held."""

    async def _turn(self) -> None:
        await self._timed(self._tick())


async def nothing() -> None:
    """Take no turn."""


def always() -> bool:
    """Take every turn."""
    return True


class LeasedLoop(Loop):
    """A loop that one process at a time runs: each turn acquires or renews the lease first, or is skipped.

    The tick gets the lease and passes it to every transaction that acts (store.lease.check_lease), so that a process
    which was paused in the middle of a tick changes nothing when it wakes. No tick begins after the lease's deadline,
    and a tick looks at it (Lease.left_s) before it does anything outside the database.
    """

    def __init__(
        self,
        name: str,
        interval_s: float,
        lease_store: LeaseStore,
        holder: str,
        ttl_s: float,
        tick: Callable[[Lease], Awaitable[None]],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        renew_every_s: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        follow: Callable[[], Awaitable[None]] = nothing,
        wanted: Callable[[], bool] = always,
    ) -> None:
        """A lease that was renewed less than `renew_every_s` ago is taken for held: transactions check it anyway.

        `follow` is the turn of a process while another one holds the lease. While `wanted` is false no turn is taken,
        and the lease is free: it costs the database nothing then.

        Raises ValueError unless ttl_s exceeds interval_s + renew_every_s: the lease would run out between two turns.
        """
        if ttl_s <= interval_s + renew_every_s:
            raise ValueError(
                f"loop {name}: ttl_s ({ttl_s:g}) must exceed interval_s ({interval_s:g}) + renew_every_s "
                f"({renew_every_s:g})"
            )
        super().__init__(name, interval_s, clock, leased=True)
        self._leases, self._holder, self._ttl_s = lease_store, holder, ttl_s
        self._tick, self._sleep, self._monotonic = tick, sleep, monotonic
        self._follow, self._wanted = follow, wanted
        self._renew_every_s, self._renewed_at = renew_every_s, 0.0
        self._lease: Lease | None = None
        self._keeper: asyncio.Task[None] | None = None
        """Renews the lease during a tick that is not short."""

    @property
    def holds_lease(self) -> bool:
        """Whether the lease is this process's now."""
        return self._lease is not None and self._lease.left_s() > 0

    async def close(self) -> None:
        """Release the lease, so that another process need not wait for it to run out."""
        lease, self._lease = self._lease, None
        self._note(holding=False)
        if lease is not None:
            # The database may be gone already; then the lease runs out by itself.
            with suppress(Unavailable):
                await asyncio.to_thread(self._leases.release, lease)

    async def _turn(self) -> None:
        if not self._wanted():
            await self.close()
            return
        try:
            lease = await self._acquire_or_renew()
        except Unavailable:
            # While the database cannot be asked it is not known who holds the lease; we do not claim that we do.
            self._note(holding=False)
            raise
        self._note(holding=lease is not None)
        if lease is None:
            self._note(skipped=self._stats.skipped + 1)
            await self._follow()
            return
        if not self._in_time(lease):
            # The answer took so long that another process may hold the lease by now; the next turn asks again.
            self._note(holding=False, skipped=self._stats.skipped + 1)
            return
        keeping = asyncio.get_running_loop().call_later(SHORT_TICK_S, self._begin_to_keep, lease)
        try:
            await self._timed(self._tick(lease))
        except LeaseLost:
            self._drop()
            raise
        finally:
            keeping.cancel()
            await self._stop_keeping()

    def _in_time(self, lease: Lease) -> bool:
        return lease.left_s() > 0

    async def _acquire_or_renew(self) -> Lease | None:
        now = self._monotonic()
        if self._lease is not None:
            if now - self._renewed_at < self._renew_every_s and self._lease.left_s() > 0:
                return self._lease
            try:
                await asyncio.to_thread(self._leases.renew, self._lease, self._ttl_s)
                self._renewed_at = now
                return self._lease
            except LeaseLost as lost:
                log.warning("loop %s: %s", self.name, lost)
                self._lease = None
        self._lease = await asyncio.to_thread(self._leases.acquire, self.name, self._holder, self._ttl_s)
        self._renewed_at = now
        if self._lease is not None:
            log.info("loop %s: %s holds its lease (epoch %d)", self.name, self._holder, self._lease.epoch)
        return self._lease

    def _begin_to_keep(self, lease: Lease) -> None:
        self._keeper = asyncio.create_task(self._keep(lease), name=f"lease {self.name}")

    async def _stop_keeping(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _keep(self, lease: Lease) -> None:
        """Renew while a long tick lasts. When the lease is lost, the tick's own transactions find out and stop it."""
        while True:
            await self._sleep(self._ttl_s / RENEWALS_PER_TTL)
            now = self._monotonic()
            try:
                await asyncio.to_thread(self._leases.renew, lease, self._ttl_s)
                self._renewed_at = now
            except LeaseLost:
                self._drop()
                return
            except Unavailable as error:
                log.warning("loop %s: the lease could not be renewed: %s", self.name, error)

    def _drop(self) -> None:
        self._lease = None
        self._note(holding=False)
