"""Alerts of other senders: any process takes and stores them, and the leader of alerting fires and ends them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from alerts.errors import NotStored
from alerts.interfaces import AlertInstance, AlertLog, Clock
from alerts.received import RESOLVE_TIMEOUT_S, ReceivedAlert, merged, step_received
from alerts.state import RESOLVED_RETENTION_S
from collectors.samples import Labels
from controlplane.app.parts.sharing import Sharing
from controlplane.clock.every import Every
from controlplane.errors import NotStorable, Unavailable
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.alerting.received import MOST, ReceivedStore
from controlplane.store.database import Database

log = logging.getLogger(__name__)

PRUNE_S = 300.0
"""Seconds between two deletions of alerts that are over."""
SLEPT_S = 30.0
"""Seconds between two turns after which this process counts as having slept: nobody could hear senders meanwhile."""


class Receiving:
    """Implements controlplane.api.services.ReceivedDesk, and the leader's turns.

    Times of received alerts are on the clock that all replicas share (`Sharing.shared_time`); those of instances are on
    this process's clock.
    """

    def __init__(
        self,
        db: Database,
        alerts: AlertLog,
        sharing: Sharing,
        clock: Clock,
        leading: Callable[[], bool],
        *,
        alone: bool,
        news: Callable[[], None] = lambda: None,
    ) -> None:
        """`leading`: whether this process leads alerting. `alone`: no other process can store alerts on `db`.

        `news` is called on the event loop when this process has stored alerts.
        """
        self._tell = news
        self._store, self._stored_rules = ReceivedStore(db), SqlAlertLog(db).received_rules
        self._log, self._sharing, self._clock = alerts, sharing, clock
        self._leading, self._alone = leading, alone
        self._anew = True
        """Whether the rule ids are to be read, because another process may have led."""
        self._known: dict[str, ReceivedAlert] = {}
        self._seq = 0
        self._waiting: dict[str, ReceivedAlert] = {}
        """Alerts that could not be stored, by fingerprint."""
        self._instances: dict[str, tuple[AlertInstance, ...]] = {}
        """Stored instances by rule id, as far as they were read."""
        self._firing: dict[str, frozenset[Labels]] = {}
        """Labels of the firing ones of `_instances`."""
        self._news = True
        self._heard: float | None = None
        """Shared time of the last turn."""
        self._deaf_until = -math.inf
        self._prune = Every(PRUNE_S)
        self._said = ""

    @property
    def shared_now(self) -> float:
        """Now, on the shared clock."""
        return self._sharing.shared_time(self._clock.now())

    async def take(self, alerts: Sequence[ReceivedAlert]) -> None:
        """Store alerts durably. Times are on the shared clock.

        While the database cannot be written, the only process of an installation keeps them in memory, as it does with
        the alerts of its own rules. Raises Unavailable otherwise, and NotStorable.
        """
        try:
            await asyncio.to_thread(self._store.put, alerts, self.shared_now)
        except Unavailable:
            if not (self._leading() and self._sharing.alone) or len(self._waiting) + len(alerts) > MOST:
                raise
            for alert in alerts:
                old = self._waiting.get(alert.fingerprint) or self._known.get(alert.fingerprint)
                self._waiting[alert.fingerprint] = merged(old, alert)
        self._news = True
        self._tell()

    def generator_urls(self, fingerprints: Collection[str]) -> Mapping[str, str]:
        """Return the senders' pages about alerts, by fingerprint. Blocking. Raises Unavailable."""
        return self._store.generator_urls(fingerprints)

    def reset(self) -> None:
        """Read everything anew: another process may have led."""
        self._known.clear()
        self._seq, self._anew = 0, True
        self.forget()

    def forget(self) -> None:
        """Read the instances anew: their stored times were moved."""
        self._instances.clear()
        self._firing.clear()
        self._news = True

    def clock_was_set(self, by_s: float) -> None:
        """Follow a step of this process's clock. The shared clock of replicas does not follow it."""
        if self._alone:
            self._known = {key: alert.moved_by(by_s) for key, alert in self._known.items()}
            self._waiting = {key: alert.moved_by(by_s) for key, alert in self._waiting.items()}
            self._heard = None if self._heard is None else self._heard + by_s
            self._deaf_until += by_s

    async def tick(self) -> bool:
        """Fire and end alerts; True when one changed. Raises LeaseLost."""
        now = self.shared_now
        if self._heard is None or now - self._heard > SLEPT_S:
            self._deaf_until = now
        self._heard = now
        rules = await self._read(now) | self._due(now)
        if self._anew:
            rules |= set(await asyncio.to_thread(self._stored_rules))
            self._anew = False
        current: dict[str, list[ReceivedAlert]] = {rule: [] for rule in rules}
        for alert in self._known.values() if rules else ():
            if alert.rule in current:
                current[alert.rule].append(alert)
        changed = False
        for rule, alerts in sorted(current.items()):
            changed |= await self._step(rule, alerts, now)
        await self._tidy(now)
        return changed

    async def _tidy(self, now: float) -> None:
        """Delete stored alerts that are long over. Nothing is deleted while ends wait for repetitions."""
        if now >= self._deaf_until + RESOLVE_TIMEOUT_S and self._prune.take(now):
            with suppress(Unavailable):
                await asyncio.to_thread(self._store.prune, now - RESOLVED_RETENTION_S)

    async def _read(self, now: float) -> set[str]:
        """Read the alerts that changed since the last turn. Return their rule ids."""
        if self._alone and not self._news and not self._waiting:
            return set()
        found: list[ReceivedAlert] = []
        try:
            if waiting := dict(self._waiting):
                await asyncio.to_thread(self._store.put, list(waiting.values()), now)
                self._waiting = {key: alert for key, alert in self._waiting.items() if waiting.get(key) is not alert}
            self._news = False
            is_all = False
            while not is_all:
                alerts, self._seq, is_all = await asyncio.to_thread(self._store.since, self._seq)
                found += alerts
            self._said = ""
        except (Unavailable, NotStorable) as error:
            # Repetitions may have been refused meanwhile: their senders get the time to repeat them again.
            self._news, self._deaf_until = True, now
            found += self._waiting.values()
            if not self._said:
                log.error("alerting: alerts of other senders cannot be stored, and none ends until they can: %s", error)
            self._said = str(error)
        changed = {alert.fingerprint: alert for alert in found}
        # An alert that comes again from another sender has another rule id.
        left = {old.rule for key in changed if (old := self._known.get(key)) is not None}
        self._known.update(changed)
        return left | {alert.rule for alert in found}

    def _due(self, now: float) -> set[str]:
        """Return the rules with an alert to end, or to forget."""
        over = [alert for alert in self._known.values() if now >= alert.over_at(self._deaf_until)]
        rules = {a.rule for a in over if a.labels in self._firing.get(a.rule, ()) or a.rule not in self._instances}
        at = self._clock.now()
        for rule, instances in self._instances.items():
            ended = (instance.resolved_at for instance in instances if instance.resolved_at is not None)
            if any(at - resolved_at > RESOLVED_RETENTION_S for resolved_at in ended):
                rules.add(rule)
        for alert in over:
            if now > alert.over_at(self._deaf_until) + RESOLVED_RETENTION_S and alert.rule not in rules:
                del self._known[alert.fingerprint]
        return rules

    async def _step(self, rule: str, current: Sequence[ReceivedAlert], now: float) -> bool:
        before = self._instances.get(rule)
        if before is None:
            before = tuple(await asyncio.to_thread(self._log.load, rule))
        at = self._clock.now()
        outcome = step_received(rule, before, current, at, at - now, self._deaf_until)
        if outcome.instances != before or outcome.transitions:
            self._instances.pop(rule, None)
            try:
                await asyncio.to_thread(self._log.record, rule, outcome.instances, outcome.transitions)
            except NotStored as error:
                log.error("alerting: alerts of %s: %s", rule, error)
                self._drop(current)
                return False
        self._instances[rule] = outcome.instances
        self._firing[rule] = frozenset(i.labels for i in outcome.instances if i.resolved_at is None)
        return bool(outcome.transitions)

    def _drop(self, alerts: Iterable[ReceivedAlert]) -> None:
        for alert in alerts:
            self._known.pop(alert.fingerprint, None)
