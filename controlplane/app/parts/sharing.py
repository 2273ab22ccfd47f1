"""The exchange of alert states and rule reports between replicas of one control plane, through the database."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from alerts.evaluate import GroupReport, StatesSeen, Told
from alerts.interfaces import Clock
from alerts.rule_ids import RuleIds
from controlplane.clock.every import Every
from controlplane.errors import NotStorable, Unavailable
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.replicas import Replicas
from controlplane.store.rule_reports import RuleReports

Stored = TypeVar("Stored")

log = logging.getLogger(__name__)

REPORT_S = 15.0
"""Seconds between two writes of the leader's rule reports, and between two reads by the others. A write is one commit
for all rules."""
PATIENCE_S = 0.5
"""Longest wait of a turn for the database, in seconds: recording rules must go on when it hangs."""


class Sharing:
    """One process's side of the exchange. Without `replicas` this is the only process, and nothing is exchanged."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        replicas: Replicas | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._monotonic, self._replicas = clock, monotonic, replicas
        self._alerts, self._reports = SqlAlertLog(db), RuleReports(db)
        self._reading: asyncio.Task[StatesSeen] | None = None
        self._report, self._hear = Every(REPORT_S), Every(REPORT_S)
        self.told: Mapping[str, Told] = {}
        """The last rule reports of the leader, by the id of the rule here."""
        self.fault = ""
        """Why alert states cannot be read; empty while they can."""

    @property
    def alone(self) -> bool:
        """Whether, as far as is known, no other process can acquire the lease."""
        return self._replicas is None or self._replicas.alone

    def shared_time(self, at: float) -> float:
        """Return a time of this process's clock converted to the database's clock, which all processes share."""
        return at if self._replicas is None else self._replicas.database_time(at)

    def clock_was_set(self, by_s: float) -> None:
        """Follow a step of this process's clock."""
        if self._replicas is not None:
            self._replicas.clock_was_set(by_s)

    async def beat(self) -> None:
        """Register this process as alive, and read the other processes. Raises Unavailable."""
        if self._replicas is not None:
            await asyncio.to_thread(self._replicas.beat)

    async def inherit(self, lease: Lease) -> bool:
        """Convert stored times to this process's clock, once for each tenure. False: they are of this clock already.

        True: the steps that this clock has made until now are in them. Raises LeaseLost and Unavailable.
        """
        self._report = Every(REPORT_S)
        if self._replicas is None:
            return False
        moved_s = await asyncio.to_thread(self._replicas.inherit, lease)
        if moved_s:
            log.warning("alerting: stored times moved by %+.1f s: another process wrote them by its clock", moved_s)
        return moved_s is not None

    async def tell(self, lease: Lease, reports: Sequence[GroupReport]) -> None:
        """Write the rule reports if they are due and another process may read them. Raises LeaseLost."""
        if self.alone or not self._report.take(self._monotonic()):
            return
        try:
            await asyncio.to_thread(self._reports.write, lease, reports, self._clock.now())
        except (Unavailable, NotStorable) as error:
            log.debug("alerting: rule reports for other replicas were not written: %s", error)

    async def states(self, rules: RuleIds) -> StatesSeen | None:
        """Return every stored active alert by the id of its rule here; None: the database did not answer in time."""
        late = self._reading
        if late is not None and late.done():
            self._reading = None
            late.exception()  # it was read for an earlier turn and is out of date
        reading = self._reading = self._reading or asyncio.create_task(asyncio.to_thread(self._read, rules))
        await asyncio.wait({reading}, timeout=PATIENCE_S)
        if not reading.done() or reading is late:
            self._say("the database does not answer")
            return None
        self._reading = None
        try:
            seen = reading.result()
        except Unavailable as error:
            self._say(str(error))
            return None
        self._say("")
        return seen

    async def close(self) -> None:
        """Unregister this process if the database can be reached. A read under way is cancelled."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._replicas is not None:
            with suppress(Unavailable):
                await asyncio.to_thread(self._replicas.leave)

    def _read(self, rules: RuleIds) -> StatesSeen:
        at = self._clock.now()
        if self._hear.due(now := self._monotonic()):
            self.told = _by_id(self._reports.read(), rules)
            self._hear.done(now)
        return StatesSeen(at, _by_id(self._alerts.active_by_rule(), rules))

    def _say(self, fault: str) -> None:
        if fault and not self.fault:
            log.error("alerting: %s; alert states are shown as they were last read", fault)
        elif self.fault and not fault:
            log.info("alerting: alert states can be read again")
        self.fault = fault


def _by_id(stored: Mapping[str, Stored], rules: RuleIds) -> dict[str, Stored]:
    """Return the stored values of this process's rules, by their ids here. Its own id wins over other ids."""
    known = [(meant, rule) for rule in stored if (meant := rules.meant(rule)) is not None]
    return {meant: stored[rule] for meant, rule in sorted(known, key=lambda found: found[0] == found[1])}
