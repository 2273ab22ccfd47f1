"""Dead man's switches: requests to a service that raises the alarm when they stay away, and heartbeats of others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from alerts.errors import DeliveryFailed
from alerts.interfaces import Clock
from alerts.rules import RuleGroup
from collectors.durations import format_duration
from controlplane.app.notifying.secrets import Secret
from controlplane.app.parts.part import Configuration, Part
from controlplane.clock.every import Every
from controlplane.errors import Unavailable
from controlplane.schedule import Loop, LoopFactory
from controlplane.store.alerting.heartbeats import HeartbeatStore
from controlplane.store.outbox import Stuck

log = logging.getLogger(__name__)

BEAT_S = 1.0
TIMEOUT_S = 10.0
"""Longest wait for the service's answer, in seconds. Chosen: the shortest interval."""

LATE_INTERVALS, LATE_S = 4, 60.0
"""Rules are late after so many intervals, and after so many seconds at least. Chosen: a failover takes 15 s."""
STUCK_S = 900.0
"""Seconds after which a queued message is stuck. Chosen: longer than the longest wait that a receiver can ask for."""

Ping = Callable[[str], Awaitable[None]]
"""Sends a request to an address. Raises DeliveryFailed, without the address in it."""


@dataclass(frozen=True)
class WatchdogSettings:
    """The address of the service (None: there is none), and the heartbeats that are expected."""

    url: Secret | None
    interval_s: float
    heartbeats: tuple[tuple[str, float], ...]
    """Name, and seconds within which each is expected."""


class WatchdogReport(NamedTuple):
    """Requests to the service so far. Times are unix seconds."""

    sent: int = 0
    failed: int = 0
    withheld: int = 0
    """Requests that were due and were not sent, because alerting did not work."""
    sent_at: float | None = None
    fault: str = ""
    """Why the last request was not sent or failed; "" after one that was."""


class Watchdog(Part[WatchdogSettings]):
    """Tells a service that alerting works, as long as it does. Only the process that evaluates rules sends.

    Alerting works when rules were evaluated, their states can be stored, and no message waits for long. The service
    then raises the alarm also when this process, its host or its network is gone.
    """

    name = "watchdog"

    def __init__(
        self,
        store: HeartbeatStore,
        clock: Clock,
        ping: Ping,
        leading: Callable[[], bool],
        trouble: Callable[[], str],
        monotonic: Callable[[], float],
    ) -> None:
        """`leading`: whether this process evaluates. `trouble` returns why alerting does not work; it may block."""
        self._store, self._clock, self._ping, self._monotonic = store, clock, ping, monotonic
        self._leading, self._trouble = leading, trouble
        self._settings: WatchdogSettings | None = None
        self._every = Every(BEAT_S)
        self._expected = False
        self.report = WatchdogReport()

    def settings(self, config: Configuration) -> WatchdogSettings:
        """Return the settings of a configuration."""
        section = config.fleet.notifications
        watchdog = section.watchdog
        url = Secret("watchdog", "address that expects the requests", watchdog.url_env, watchdog.url_file) if (
            watchdog
        ) else None  # fmt: skip
        interval_s = watchdog.interval if watchdog else 0.0
        return WatchdogSettings(url, interval_s, tuple((one.name, one.within) for one in section.heartbeats))

    async def configure(self, settings: WatchdogSettings) -> Sequence[str]:
        """Use this address and expect these heartbeats from now on."""
        before, self._settings = self._settings, settings
        self._every, self._expected = Every(settings.interval_s), False
        if before is None:
            return ()
        told = []
        if (before.url, before.interval_s) != (settings.url, settings.interval_s):
            every = f"sends a request every {format_duration(settings.interval_s)}"
            told.append(every if settings.url else "sends no requests any more")
        if before.heartbeats != settings.heartbeats:
            told.append(f"expects {', '.join(name for name, _ in settings.heartbeats) or 'no heartbeats'}")
        return told

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that sends the requests."""
        return [make.plain("watchdog", BEAT_S, self.beat)]

    async def beat(self) -> None:
        """Send a request if one is due and alerting works."""
        settings = self._settings
        if settings is None:
            return
        if not self._expected:
            names = [name for name, _ in settings.heartbeats]
            await asyncio.to_thread(self._store.expect, names, self._clock.now())
            self._expected = self._settings is settings  # a reload meanwhile may expect others
        if settings.url is None or not self._leading() or not self._every.take(self._monotonic()):
            return
        try:
            trouble = await asyncio.to_thread(self._trouble)
        except Unavailable as error:
            trouble = str(error)
        if trouble:
            fault = f"no request is sent, because {trouble}"
            self._note(self.report._replace(fault=fault, withheld=self.report.withheld + 1))
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._ping(settings.url())
        except (DeliveryFailed, TimeoutError) as error:
            why = str(error) or f"no answer within {TIMEOUT_S:g} s"
            self._note(self.report._replace(fault=f"the request failed: {why}", failed=self.report.failed + 1))
        else:
            sent = self.report.sent + 1
            self._note(self.report._replace(fault="", sent=sent, sent_at=self._clock.now()))

    def _note(self, report: WatchdogReport) -> None:
        """Note the outcome. A fault, and its end, are logged once."""
        if report.fault != self.report.fault:
            if report.fault:
                log.error("watchdog: %s", report.fault)
            else:
                log.info("watchdog: requests are sent again")
        self.report = report


def trouble(fault: str, groups: Iterable[tuple[RuleGroup, float]], interval_s: float, stuck: Stuck, now: float) -> str:
    """Return why alerting does not work at unix second `now`; "" when it does.

    `fault`: why alert states cannot be stored. `groups`: each with the unix second of its last evaluation.
    `interval_s`: interval of groups without one of their own, in seconds.
    """
    if fault:
        return f"alert states cannot be stored: {fault}"
    for group, evaluated_at in groups:
        late_s = max(LATE_INTERVALS * (group.interval_s or interval_s), LATE_S)
        if now - evaluated_at > late_s:
            return f"rule group {group.key} was not evaluated for {format_duration(late_s)}"
    if stuck.waiting:
        return f"{stuck.waiting} message(s) wait for longer than {format_duration(STUCK_S)}"
    if stuck.given_up:
        return f"the last message of {stuck.given_up} group(s) was given up"
    return ""
