"""Alerting as one part: rule groups, grouping and delivery, and how a reload changes them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from alerts.evaluate import GroupEvaluator, GroupReport
from alerts.interfaces import Clock, Notifier, Querier
from alerts.lookback import lookbacks
from alerts.origins import Origins
from alerts.rule_ids import RuleIds
from alerts.rules import AlertingRule, RuleGroup
from alerts.template import Surroundings
from collectors.samples import SampleSink
from controlplane.app.parts.abreast import abreast
from controlplane.app.parts.alerting_settings import AlertingSettings, alerting_settings, changes
from controlplane.app.parts.dispatching import Dispatching
from controlplane.app.parts.part import Configuration, Part
from controlplane.app.parts.sharing import Sharing
from controlplane.app.parts.tenure import Tenure, goes_on
from controlplane.app.rules import reads_own_metrics
from controlplane.app.steady import Steady
from controlplane.errors import LeaseLost
from controlplane.metrics.origins import RemoteOrigins, TargetOrigins
from controlplane.schedule import Loop, LoopFactory
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.backlog import (
    Backlog,
    EnduringAlertLog,
    EnduringGroupLog,
    EnduringOutbox,
    give_way,
    write_back,
)
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.outbox import OutboxStore
from controlplane.store.replicas import Replicas

log = logging.getLogger(__name__)

BEAT_S = 1.0
"""The finest interval of a rule group."""
DISPATCH_S = 1.0
"""How often groups of alerts are looked at."""
DELIVER_S = 1.0
WRITE_BACK_S = 5.0
"""How often it is tried to write a database that could not be written."""
PRESENCE_S = 5.0
"""How often a process says to the others that it is there."""
LARGE_STEP_S = 60.0
"""A step of the clock after which rules wait for the next samples: those of before are out of sight, or far away."""


class Alerting(Part[AlertingSettings]):
    """Evaluates, groups and delivers.

    `beat` acts under a lease, `follow` is the turn of a process that does not hold it. `deliver` needs none, since
    messages are claimed.
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
    ) -> None:
        """`since` is the unix second from which on there are samples; now, by default.

        `own`, where `querier` is another server, evaluates the groups that read this process's own metrics only.

        That the server does not answer is seen by such a rule, so the server cannot be the one to evaluate it.
        `origins` knows the targets, so that an alert outlives its data; without it what is gone is over.
        `known` tells whether it has been read what the targets are: before that, and for a while at most, no rule is
        evaluated, since the series of targets that are gone still look alive.
        `replicas` knows other processes on the database; without it there can be none.
        """
        self._querier, self._sink, self._clock, self._holder = querier, sink, clock, holder
        self._own, self._origins = own, origins
        self._lease: Lease | None = None
        self._leading = False
        """This process took over what is stored, and has not lost the lease since, as far as is known."""
        self._monotonic = monotonic
        self._wait_until = 0.0
        """Until when, in monotonic seconds, no rule is evaluated."""
        self._known, self._started = known, monotonic()
        self.steady = Steady()
        """Shared while times are read and written: no step of the clock may fall in between."""
        self._changed = True
        """Alerts may have changed since groups were last looked at."""
        self._evaluating = 0
        """Groups that are being evaluated: their alerts change at any moment."""
        self._sharing = Sharing(db, clock, replicas, monotonic)
        self._db, self._backlog = db, Backlog(clock, lambda: self._sharing.alone)
        stored = SqlAlertLog(db, self._held)
        self._log = EnduringAlertLog(stored, self._backlog)
        groups = EnduringGroupLog(SqlGroupLog(db, self._held), self._backlog)
        steps = ClockSteps(db, self._held, claims_follow=replicas is None)
        self._tenure = Tenure(stored, steps, self._sharing, self._backlog, clock, self._stored_anew)
        self._evaluators: list[GroupEvaluator] = []
        self._here: set[str] = set()
        """Groups that are evaluated by `own`."""
        self._due: dict[str, float] = {}
        self._undecided: set[str] = set()
        """Groups of whose last turn another process was to decide on the alerts."""
        self._around = Surroundings()
        self._started_at = clock.now()
        self._since = self._started_at if since is None else since
        self._lookbacks: dict[str, float] = {}
        self.settle_s = 0.0
        """As of the settings in force."""
        outbox = EnduringOutbox(OutboxStore(db, self._sharing.shared_time), self._backlog)
        self._dispatching = Dispatching(groups, outbox, clock, holder, lambda: self._backlog.may_send, monotonic)
        self._settings: AlertingSettings | None = None

    def settings(self, config: Configuration) -> AlertingSettings:
        """Return what a configuration wants evaluated and told. Raises ConfigErrors."""
        return alerting_settings(config)

    async def configure(self, settings: AlertingSettings) -> Sequence[str]:
        """Take over what changed.

        A group that did not change keeps its evaluator, and a notifier its connections; a group that is gone ends the
        series that it wrote.
        """
        before, self._settings = self._settings, settings
        self._evaluate_by(settings)
        await self._dispatching.configure(settings, before)
        return changes(before, settings) if before else ()

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return what evaluates, dispatches and delivers, and what brings to the database what waits in memory."""
        return [
            make.plain("replicas", PRESENCE_S, self.presence),
            make.enduring("alerting", BEAT_S, self.beat, self.follow),
            make.plain("dispatch", DISPATCH_S, self.dispatch),
            make.plain("delivery", DELIVER_S, self.deliver),
            make.plain("alert backlog", WRITE_BACK_S, self.write_back),
        ]

    def not_ready(self) -> Mapping[str, str]:
        """Return why alerting is in memory only, or does not know how alerts stand."""
        return {"alerting": fault} if (fault := self.fault) else {}

    def _evaluate_by(self, settings: AlertingSettings) -> None:
        groups = settings.groups
        self._lookbacks, self.settle_s = lookbacks(groups, settings.interval_s), settings.settle_s
        if self._origins:
            self._origins.configure(groups, self._lookbacks)
        self._here = {group.key for group in groups if self._own and reads_own_metrics(group)}
        before = {e.group.key: e for e in self._evaluators}
        unchanged = {g.key for g in groups if g.key in before and before[g.key].group == g}
        for key, evaluator in before.items():
            if key not in unchanged:
                evaluator.close(self._clock.now())
        self._around = Surroundings(url=settings.console_url)
        for evaluator in before.values():
            evaluator.around = self._around
        self._evaluators = [before[g.key] if g.key in unchanged else self._evaluator(g) for g in groups]
        self._due = {key: at for key, at in self._due.items() if key in unchanged}
        self._tenure.rules_changed()

    def clock_was_set(self, by_s: float) -> None:
        """Follow a step that the clock has just made. To be called while `steady` is held."""
        self._tenure.moved_s += by_s
        self._sharing.clock_was_set(by_s)
        self._dispatching.clock_was_set(by_s)
        if abs(by_s) >= LARGE_STEP_S:
            # As after a start: what is not seen yet proves nothing.
            self._started_at = self._since = self._clock.now()
            self._wait_until = self._monotonic() + self.settle_s

    async def beat(self, lease: Lease) -> None:
        """Evaluate the groups that are due, side by side.

        A database that cannot be written holds nothing up: see controlplane.store.backlog. Raises LeaseLost, and
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

        Nothing is decided, and nobody is told. A database that hangs or is away holds no recording rule up.
        """
        async with self.steady.shared():
            self._leading = False
            # Times that are stored are on the clock of the process that alerts: it moves them.
            self._tenure.moved_s = 0.0
            await self._follow()

    async def _follow(self) -> None:
        now = self._clock.now()
        if not (due := self._groups_due(now)):
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
        if not self._tenure.may_decide:
            self._leading = False
            await self._follow()
            return
        await self._tenure.follow_clock()
        now = self._clock.now()
        # From here on what is stored is ours to tell of: a group that is evaluated for long holds up no message.
        self._leading = True
        due = self._groups_due(now)
        # Whoever decided before may have died before the last turn of a group: its next one may be far off.
        behind = (
            [e for e in self._evaluators if e.group.key in self._undecided and e not in due] if self._ready() else []
        )
        self._undecided.difference_update(e.group.key for e in (*due, *behind))
        await self._abreast([*due, *behind], now, lambda e: e.catch_up(now) if e in behind else e.evaluate(now))
        await self._sharing.tell(lease, self.reports())

    async def _abreast(
        self, due: Sequence[GroupEvaluator], now: float, turn: Callable[[GroupEvaluator], Awaitable[object]]
    ) -> None:
        async def one(evaluator: GroupEvaluator) -> None:
            # A dispatch beside it reads what was written until then: what comes later is for the next one.
            self._evaluating += 1
            try:
                await turn(evaluator)
            finally:
                self._evaluating -= 1
                self._changed = True
            self._done(evaluator, now)

        await abreast([partial(one, evaluator) for evaluator in due])

    async def dispatch(self) -> None:
        """Decide what receivers must hear of the alerts as they are stored now, if this process holds the lease.

        It waits for no evaluation. Raises what a beat does.
        """
        async with self.steady.shared():
            if not (self._leading and self._backlog.may_send) or self._tenure.moved_s:
                return  # `_changed` stays: what was not told is told when this process may act again
            changed, self._changed = self._changed or self._evaluating > 0, False
            try:
                await self._dispatching.dispatch(changed=changed)
            except BaseException as error:
                self._changed = True
                self._leading = self._leading and not isinstance(error, LeaseLost)
                raise

    def _groups_due(self, now: float) -> list[GroupEvaluator]:
        if not self._ready():
            return []
        # What is evaluated here goes first: it must not wait for another server that hangs.
        ordered = sorted(self._evaluators, key=lambda e: self._evaluated_here(e.group), reverse=True)
        # A clock that was set back puts nothing off: no group is due later than one interval from now.
        return [e for e in ordered if not now < self._due.get(e.group.key, 0.0) <= now + self._interval_of(e)]

    def _ready(self) -> bool:
        """Samples and targets are known well enough to evaluate any rule."""
        now = self._monotonic()
        return now >= self._wait_until and (self._known() or now - self._started >= self.settle_s)

    def _done(self, evaluator: GroupEvaluator, now: float) -> None:
        self._due[evaluator.group.key] = _next(now, self._interval_of(evaluator))

    def _interval_of(self, evaluator: GroupEvaluator) -> float:
        assert self._settings is not None  # it named the group
        return evaluator.group.interval_s or self._settings.interval_s

    async def _take_over(self, lease: Lease) -> None:
        before = self._lease
        if self._backlog.paused and goes_on(before, lease):
            return  # nobody else had it: it ran out while it could not be renewed
        # Another process may have evaluated in between: what we remember is not what is true.
        self._lease = lease
        give_way(self._backlog)
        self._stored_anew()
        self._tenure.begin()
        # The database has just given the lease: go on from what is stored, and not from memory.
        await self.write_back()

    async def write_back(self) -> None:
        """Bring what waits in memory to the database, if it can be written again."""
        if self._backlog.paused and await asyncio.to_thread(
            write_back, self._db, self._backlog, self._held, self._holder
        ):
            self._changed = True

    async def presence(self) -> None:
        """Say to other processes on the database that this one is there. Raises Unavailable."""
        await self._sharing.beat()

    @property
    def fault(self) -> str:
        """Why alerting is in memory only, and what waits there, or why states are not known; empty if all is well."""
        return self._backlog.describe() or self._sharing.fault

    async def deliver(self) -> None:
        """Send everything that is due."""
        await self._dispatching.deliver()

    def reports(self) -> list[GroupReport]:
        """Return every group as of its last evaluation."""
        return [evaluator.report() for evaluator in self._evaluators]

    @property
    def groups(self) -> list[RuleGroup]:
        """The configured rule groups."""
        return [evaluator.group for evaluator in self._evaluators]

    @property
    def rule_ids(self) -> set[str]:
        """The ids of the configured rules."""
        return {rule.id for group in self.groups for rule in group.rules}

    @property
    def notifiers(self) -> Mapping[str, Notifier]:
        """The notifiers by name."""
        return self._dispatching.notifiers

    async def close(self) -> None:
        """Write what still waits, if that can be, and release the notifiers' connections."""
        await self.write_back()
        if self._backlog.paused:
            log.error("alerting: lost with this process: %s", self._backlog.describe())
        await self._sharing.close()
        await self._dispatching.close()

    def _evaluated_here(self, group: RuleGroup) -> bool:
        return self._own is None or group.key in self._here

    def _evaluator(self, group: RuleGroup) -> GroupEvaluator:
        here = self._own if self._own and group.key in self._here else None
        origins: Origins | None = self._origins
        if self._own and self._origins and not here:
            origins = RemoteOrigins(self._querier, self._origins)
        return GroupEvaluator(
            group,
            here or self._querier,
            self._log,
            self._sink,
            self._clock,
            around=self._around,
            blind_until=self._blind_until,
            origins=origins,
        )

    def _blind_until(self, rule: str) -> float:
        """A rule whose past is not there yet proves nothing by finding nothing.

        Another server has the past; what it may lack is the first samples that this process ships.
        """
        seen = self._started_at if self._own else self._since + self._lookbacks.get(rule, 0.0)
        return max(self._started_at, seen) + self.settle_s

    def _stored_anew(self) -> None:
        self._changed = True
        for evaluator in self._evaluators:
            evaluator.reset()

    def _held(self) -> Lease | None:
        return self._lease


def _next(now: float, interval_s: float) -> float:
    """Return the next multiple of the interval: groups keep their phase however long an evaluation takes."""
    return (now // interval_s + 1) * interval_s
