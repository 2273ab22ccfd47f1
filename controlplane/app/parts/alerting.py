"""The alerting part: evaluation of rule groups, grouping and delivery, and their reload."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from alerts.charts import NO_CHARTS, ChartSource
from alerts.dispatch import Stages
from alerts.dispatch.routing import nobody_knows
from alerts.duty import Roster
from alerts.evaluate import GroupEvaluator, GroupReport
from alerts.interfaces import Clock, Notifier, Querier
from alerts.rule_ids import RuleIds
from alerts.rules import AlertingRule, RuleGroup
from alerts.sending.refresh import REFRESH_S
from collectors.samples import SampleSink
from controlplane.app.evaluators import Evaluators
from controlplane.app.parts.abreast import abreast
from controlplane.app.parts.alerting_settings import AlertingSettings, alerting_settings, changes
from controlplane.app.parts.dispatching import Dispatching
from controlplane.app.parts.part import Configuration, Part
from controlplane.app.parts.receiving import Receiving
from controlplane.app.parts.sharing import Sharing
from controlplane.app.parts.tenure import Tenure, goes_on
from controlplane.app.steady import Steady
from controlplane.errors import LeaseLost
from controlplane.metrics.origins import TargetOrigins
from controlplane.schedule import Loop, LoopFactory
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.alerting.mirror import Mirror
from controlplane.store.backlog import Backlog, EnduringAlertLog, give_way, write_back
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.replicas import Replicas

log = logging.getLogger(__name__)

EVALUATION, DISPATCH, DELIVERY = "alerting", "dispatch", "delivery"
"""Names of loops. Each wakes the next one when it has news for it."""
BEAT_S = 1.0
"""Seconds between two turns: the shortest interval of a rule group. Dispatch and delivery are woken by news before."""
GATHER_S = 0.5
"""Seconds for which alerts of other senders are gathered: a Prometheus sends thousands in many requests. Chosen."""
WRITE_BACK_S, PRESENCE_S = 5.0, 5.0
"""Seconds between two tries to write to a database that could not be written, and two registrations as alive."""


class Alerting(Part[AlertingSettings]):
    """Evaluates, groups and delivers.

    `beat` is the turn of the process that holds the lease, `follow` that of every other process. `deliver` needs no
    lease, because it claims messages.
    """

    name = "alerting"

    def __init__(
        self,
        db: Database,
        querier: Querier,
        sink: SampleSink,
        clock: Clock,
        holder: str,
        *,
        own: Querier | None = None,
        since: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        origins: TargetOrigins | None = None,
        known: Callable[[], bool] = lambda: True,
        replicas: Replicas | None = None,
        wake: Callable[[str, float], None] = lambda _loop, _after_s: None,
        charts: ChartSource = NO_CHARTS,
        rosters: Callable[[], Mapping[str, Roster]] = nobody_knows,
    ) -> None:
        """Create the part. `querier` answers the rules' queries.

        `since`: Unix seconds from which on there are samples; by default now. `own`: given when `querier` is another
        server: groups that read only this process's own metrics report that the other one does not answer.
        `origins`: the origins of series in targets. With it an alert outlives its data; without it, it resolves.
        `known`: whether the targets have been read. Until then, and for settle_s at most, no rule is evaluated: the
        series of removed targets would still look alive.
        `replicas`: the other processes on the database; None: there are none. `rosters`: what is known of each rota.
        `wake`: lets the next turn of one of `loops` begin in so many seconds at the latest.
        """
        self._clock, self._holder, self._wake, self._rosters = clock, holder, wake, rosters
        self._lease: Lease | None = None
        self._leading = False
        """Whether this process has read the stored state and, as far as is known, still holds the lease."""
        self.steady = Steady()
        """Lock that is shared while times are read and written: no step of the clock may be applied in between."""
        self._changed = True
        """Whether alerts may have changed since the last dispatch."""
        self._evaluating = 0
        """Number of groups that are being evaluated: their alerts change at any moment."""
        self._sharing = Sharing(db, clock, replicas, monotonic)
        self._db, self._backlog = db, Backlog(clock, lambda: self._sharing.alone)
        self._mirror = Mirror(monotonic)
        stored = SqlAlertLog(db, self._held, self._mirror)
        self._log = EnduringAlertLog(stored, self._backlog)
        news = partial(wake, EVALUATION, GATHER_S)
        self.receiving = Receiving(
            db, self._log, self._sharing, clock, lambda: self._leading, alone=replicas is None, news=news
        )
        """Takes alerts of other senders."""
        steps = ClockSteps(db, self._held, claims_follow=replicas is None)
        self._tenure = Tenure(stored, steps, self._sharing, self._backlog, clock, self._stored_anew)
        self._evaluators = Evaluators(
            querier, self._log, sink, clock, own=own, since=since, monotonic=monotonic, origins=origins, known=known
        )
        self._undecided: set[str] = set()
        """Groups of whose last turn another process was to decide on the alerts."""
        groups = SqlGroupLog(db, self._held, self._mirror)
        more = (self._sharing.shared_time, monotonic, partial(wake, DELIVERY, 0.0), charts)
        self._dispatching = Dispatching(db, groups, self._backlog, clock, holder, self._held, *more)
        self._settings: AlertingSettings | None = None

    def settings(self, config: Configuration) -> AlertingSettings:
        """Return the settings of alerting of a configuration. Raises ConfigErrors."""
        found = alerting_settings(config)
        return replace(found, stages=replace(found.stages, rosters=self._rosters))

    async def configure(self, settings: AlertingSettings) -> Sequence[str]:
        """Apply the changes.

        An unchanged group keeps its evaluator, and an unchanged notifier its connections. The recorded series of a
        removed group end.
        """
        before, self._settings = self._settings, settings
        self._evaluators.configure(settings)
        self._tenure.rules_changed()
        await self._dispatching.configure(settings, before)
        return changes(before, settings) if before else ()

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loops that register, evaluate, dispatch, deliver, and write the backlog to the database."""
        return [
            make.plain("replicas", PRESENCE_S, self.presence),
            make.enduring(EVALUATION, BEAT_S, self.beat, self.follow),
            make.plain(DISPATCH, BEAT_S, self.dispatch),
            make.plain(DELIVERY, BEAT_S, self._dispatching.hand_out),
            make.plain("alert refresh", REFRESH_S, self.refresh),
            make.plain("alert backlog", WRITE_BACK_S, self.write_back),
        ]

    @property
    def settle_s(self) -> float:
        """`settle_s` of the current settings."""
        return self._evaluators.settle_s

    def not_ready(self) -> Mapping[str, str]:
        """Return why alert states are in memory only, or cannot be read."""
        return {"alerting": fault} if (fault := self.fault) else {}

    def clock_was_set(self, by_s: float) -> None:
        """Follow a step of the clock. Must be called while `steady` is held."""
        self._tenure.moved_s += by_s
        self._sharing.clock_was_set(by_s)
        self.receiving.clock_was_set(by_s)
        self._evaluators.clock_was_set(by_s)

    async def beat(self, lease: Lease) -> None:
        """Evaluate the groups that are due, side by side.

        A database that cannot be written delays nothing: see controlplane.store.backlog. Raises LeaseLost. Raises
        Unavailable as long as the database was never read.
        """
        async with self.steady.shared():
            self._leading = self._leading and self._lease == lease
            try:
                await self._beat(lease)
            except BaseException:
                self._leading = False
                raise

    async def follow(self) -> None:
        """Evaluate the recording rules of the groups that are due, and show alerts as another process has stored them.

        No alert changes, and nothing is sent. A database that hangs or cannot be reached delays no recording rule.
        """
        async with self.steady.shared():
            self._leading = False
            # Stored times are on the leader's clock, and the leader moves them.
            self._tenure.moved_s = 0.0
            await self._follow()

    async def _follow(self) -> None:
        now = self._clock.now()
        if not (due := self._evaluators.due(now)):
            return
        alerting = {e.group.key for e in due if any(isinstance(rule, AlertingRule) for rule in e.group.rules)}
        seen = await self._sharing.states(RuleIds(self.rule_ids)) if alerting else None
        self._undecided |= alerting
        await self._abreast(due, now, lambda evaluator: evaluator.follow(now, seen, self._sharing.told))

    async def _beat(self, lease: Lease) -> None:
        if self._lease != lease:
            await self._take_over(lease)
        self._lease = lease
        if await self._tenure.take_over(lease, self.rule_ids):
            self._changed = True
            self._mirror.forget()
        if not self._tenure.may_decide:
            self._leading = False
            await self._follow()
            return
        await self._tenure.follow_clock()
        now = self._clock.now()
        # Set before the evaluation: this process may dispatch the stored alerts while a slow group is evaluated.
        self._leading = True
        if await self.receiving.tick():
            self._changed = True
            self._wake(DISPATCH, 0.0)
        due = self._evaluators.due(now)
        # Whoever decided before may have died before the last turn of a group: its next one may be far off.
        behind = [e for e in self._evaluators if e.group.key in self._undecided and e not in due]
        behind = behind if self._evaluators.ready() else []
        self._undecided.difference_update(e.group.key for e in (*due, *behind))
        await self._abreast([*due, *behind], now, lambda e: e.catch_up(now) if e in behind else e.evaluate(now))
        await self._sharing.tell(lease, self.reports())

    async def _abreast(
        self, due: Sequence[GroupEvaluator], now: float, turn: Callable[[GroupEvaluator], Awaitable[object]]
    ) -> None:
        async def one(evaluator: GroupEvaluator) -> None:
            # A dispatch beside it reads what was written until then: what comes later is for the next one.
            self._evaluating += 1
            before = evaluator.transitions
            try:
                await turn(evaluator)
            finally:
                self._evaluating -= 1
                self._changed = True
            if evaluator.transitions != before:
                self._wake(DISPATCH, 0.0)
            self._evaluators.done(evaluator, now)

        await abreast([partial(one, evaluator) for evaluator in due])

    async def dispatch(self) -> None:
        """Decide on messages about the stored alerts, if this process holds the lease.

        It waits for no evaluation. Raises LeaseLost and Unavailable, as `beat` does.
        """
        async with self.steady.shared():
            if not (self._leading and self._backlog.may_send) or self._tenure.moved_s:
                return  # `_changed` stays set: the messages follow when this process may act again
            changed, self._changed = self._changed or self._evaluating > 0, False
            try:
                await self._dispatching.dispatch(changed=changed)
            except BaseException as error:
                self._changed = True
                self._leading = self._leading and not isinstance(error, LeaseLost)
                raise
        if (rest := self._dispatching.due_at - self._clock.now()) < BEAT_S:
            self._wake(DISPATCH, max(0.0, rest))

    async def _take_over(self, lease: Lease) -> None:
        before = self._lease
        if self._backlog.paused and goes_on(before, lease):
            return  # no other process held the lease: it expired while it could not be renewed
        # Another process may have evaluated in between, so the state in memory may be out of date.
        self._lease = lease
        give_way(self._backlog)
        self.receiving.reset()
        self._stored_anew()
        self._tenure.begin()
        # The lease is new, so the database can be reached: go on from the stored state and not from memory.
        await self.write_back()

    async def write_back(self) -> None:
        """Write the backlog in memory to the database, if the database can be written again."""
        if self._backlog.paused and await asyncio.to_thread(
            write_back, self._db, self._backlog, self._held, self._holder, self._mirror
        ):
            self._changed = True

    async def presence(self) -> None:
        """Register this process as alive for the other processes on the database. Raises Unavailable."""
        await self._sharing.beat()

    @property
    def fault(self) -> str:
        """Why alert states are in memory only, with their number, or why they cannot be read; "" without a fault."""
        return self._backlog.describe() or self._sharing.fault

    async def refresh(self) -> None:
        """Send firing alerts again to receivers that forget them, if this process decides on messages."""
        if self._leading and self._backlog.may_send and not self._backlog.paused:
            await self._dispatching.refresh()

    async def deliver(self) -> None:
        """Send all messages that are due, and wait for the receivers. It is for callers without a loop."""
        await self._dispatching.deliver()

    def reports(self) -> list[GroupReport]:
        """Return the report of each group's last evaluation."""
        return [evaluator.report() for evaluator in self._evaluators]

    @property
    def groups(self) -> list[RuleGroup]:
        """The configured rule groups."""
        return [evaluator.group for evaluator in self._evaluators]

    @property
    def rule_ids(self) -> set[str]:
        """The ids of the configured rules."""
        return {rule.id for group in self.groups for rule in group.rules}

    def stages(self) -> Stages:
        """Return the running routing. Must not be called before `configure`."""
        assert self._settings is not None
        return self._settings.stages

    @property
    def notifiers(self) -> Mapping[str, Notifier]:
        """The notifiers by name."""
        return self._dispatching.notifiers

    async def close(self) -> None:
        """Write the backlog, if the database can be written, and close the notifiers' connections."""
        await self._dispatching.finish()
        await self.write_back()
        if self._backlog.paused:
            log.error("alerting: lost with this process: %s", self._backlog.describe())
        await self._sharing.close()
        await self._dispatching.close()

    def _stored_anew(self) -> None:
        self._changed = True
        self._mirror.forget()
        self.receiving.forget()
        self._evaluators.reset()

    def _held(self) -> Lease | None:
        return self._lease
