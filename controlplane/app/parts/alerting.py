"""The alerting part: evaluation of rule groups, grouping and delivery, and their reload."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from alerts.dispatch import Stages
from alerts.evaluate import GroupEvaluator, GroupReport
from alerts.interfaces import Clock, Notifier, Querier
from alerts.lookback import lookbacks
from alerts.origins import Origins
from alerts.refresh import REFRESH_S
from alerts.rule_ids import RuleIds
from alerts.rules import AlertingRule, RuleGroup
from alerts.template import Surroundings
from collectors.samples import SampleSink
from controlplane.app.parts.abreast import abreast
from controlplane.app.parts.alerting_settings import AlertingSettings, alerting_settings, changes, next_turn
from controlplane.app.parts.dispatching import Dispatching
from controlplane.app.parts.part import Configuration, Part
from controlplane.app.parts.receiving import Receiving
from controlplane.app.parts.sharing import Sharing
from controlplane.app.parts.tenure import Tenure, goes_on
from controlplane.app.rules import reads_own_metrics
from controlplane.app.steady import Steady
from controlplane.errors import LeaseLost
from controlplane.metrics.origins import RemoteOrigins, TargetOrigins
from controlplane.schedule import Loop, LoopFactory
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.backlog import Backlog, EnduringAlertLog, give_way, write_back
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.replicas import Replicas

log = logging.getLogger(__name__)

BEAT_S = 1.0
"""Seconds between two turns: the shortest interval of a rule group."""
DISPATCH_S, DELIVER_S = 1.0, 1.0
"""Seconds between two decisions on messages, and between two looks for messages that are due."""
WRITE_BACK_S, PRESENCE_S = 5.0, 5.0
"""Seconds between two tries to write to a database that could not be written, and two registrations as alive."""
LARGE_STEP_S = 60.0
"""Smallest step of the clock, in seconds, after which rules wait for new samples, because old ones are out of range."""


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
    ) -> None:
        """Create the part.

        `since`: Unix seconds from which on there are samples; by default now.
        `own`: given when `querier` is another server. It evaluates the groups that read only this process's own
        metrics, because such a rule reports that the other server does not answer.
        `origins`: the origins of series in targets. With it an alert outlives its data; without it, it resolves.
        `known`: whether the targets have been read. Until then, and for settle_s at most, no rule is evaluated: the
        series of removed targets would still look alive.
        `replicas`: the other processes on the database. None: there are none.
        """
        self._querier, self._sink, self._clock, self._holder = querier, sink, clock, holder
        self._own, self._origins, self._monotonic = own, origins, monotonic
        self._lease: Lease | None = None
        self._leading = False
        """Whether this process has read the stored state and, as far as is known, still holds the lease."""
        self._wait_until = 0.0
        """Monotonic seconds before which no rule is evaluated."""
        self._known, self._started = known, monotonic()
        self.steady = Steady()
        """Lock that is shared while times are read and written: no step of the clock may be applied in between."""
        self._changed = True
        """Whether alerts may have changed since the last dispatch."""
        self._evaluating = 0
        """Number of groups that are being evaluated: their alerts change at any moment."""
        self._sharing = Sharing(db, clock, replicas, monotonic)
        self._db, self._backlog = db, Backlog(clock, lambda: self._sharing.alone)
        stored = SqlAlertLog(db, self._held)
        self._log = EnduringAlertLog(stored, self._backlog)
        self.receiving = Receiving(db, self._log, self._sharing, clock, lambda: self._leading, alone=replicas is None)
        """Takes alerts of other senders."""
        steps = ClockSteps(db, self._held, claims_follow=replicas is None)
        self._tenure = Tenure(stored, steps, self._sharing, self._backlog, clock, self._stored_anew)
        self._evaluators: list[GroupEvaluator] = []
        self._here: set[str] = set()
        """Groups that are evaluated by `own`."""
        self._due, self._undecided = dict[str, float](), set[str]()
        """When each group is due; and groups of whose last turn another process was to decide on the alerts."""
        self._started_at = clock.now()
        self._since = self._started_at if since is None else since
        self._around, self._lookbacks = Surroundings(), dict[str, float]()
        self.settle_s = 0.0
        """`settle_s` of the current settings."""
        shared_time = self._sharing.shared_time
        self._dispatching = Dispatching(db, self._backlog, clock, holder, self._held, shared_time, monotonic)
        self._settings: AlertingSettings | None = None

    def settings(self, config: Configuration) -> AlertingSettings:
        """Return the settings of alerting of a configuration. Raises ConfigErrors."""
        return alerting_settings(config)

    async def configure(self, settings: AlertingSettings) -> Sequence[str]:
        """Apply the changes.

        An unchanged group keeps its evaluator, and an unchanged notifier its connections. The recorded series of a
        removed group end.
        """
        before, self._settings = self._settings, settings
        self._evaluate_by(settings)
        await self._dispatching.configure(settings, before)
        return changes(before, settings) if before else ()

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loops that register, evaluate, dispatch, deliver, and write the backlog to the database."""
        return [
            make.plain("replicas", PRESENCE_S, self.presence),
            make.enduring("alerting", BEAT_S, self.beat, self.follow),
            make.plain("dispatch", DISPATCH_S, self.dispatch),
            make.plain("delivery", DELIVER_S, self.deliver),
            make.plain("alert refresh", REFRESH_S, self.refresh),
            make.plain("alert backlog", WRITE_BACK_S, self.write_back),
        ]

    def not_ready(self) -> Mapping[str, str]:
        """Return why alert states are in memory only, or cannot be read."""
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
        """Follow a step of the clock. Must be called while `steady` is held."""
        self._tenure.moved_s += by_s
        self._sharing.clock_was_set(by_s)
        self._dispatching.clock_was_set(by_s)
        self.receiving.clock_was_set(by_s)
        if abs(by_s) >= LARGE_STEP_S:
            # As after a start: a missing series proves nothing before the targets are scraped again.
            self._started_at = self._since = self._clock.now()
            self._wait_until = self._monotonic() + self.settle_s

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
        # Set before the evaluation: this process may dispatch the stored alerts while a slow group is evaluated.
        self._leading = True
        self._changed |= await self.receiving.tick()
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

    def _groups_due(self, now: float) -> list[GroupEvaluator]:
        if not self._ready():
            return []
        # Groups that are evaluated here come first: they must not wait for another server that hangs.
        ordered = sorted(self._evaluators, key=lambda e: self._evaluated_here(e.group), reverse=True)
        # After a step back of the clock no group is due later than one interval from now.
        return [e for e in ordered if not now < self._due.get(e.group.key, 0.0) <= now + self._interval_of(e)]

    def _ready(self) -> bool:
        """Samples and targets are known well enough to evaluate any rule."""
        now = self._monotonic()
        return now >= self._wait_until and (self._known() or now - self._started >= self.settle_s)

    def _done(self, evaluator: GroupEvaluator, now: float) -> None:
        self._due[evaluator.group.key] = next_turn(now, self._interval_of(evaluator))

    def _interval_of(self, evaluator: GroupEvaluator) -> float:
        assert self._settings is not None  # a group comes from the settings
        return evaluator.group.interval_s or self._settings.interval_s

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
            write_back, self._db, self._backlog, self._held, self._holder
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
        """Send all messages that are due."""
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
        """Return the Unix seconds until which an empty result of a rule proves nothing, because its past is missing.

        Another server has the past and may lack only the first samples that this process ships.
        """
        seen = self._started_at if self._own else self._since + self._lookbacks.get(rule, 0.0)
        return max(self._started_at, seen) + self.settle_s

    def _stored_anew(self) -> None:
        self._changed = True
        self.receiving.forget()
        for evaluator in self._evaluators:
            evaluator.reset()

    def _held(self) -> Lease | None:
        return self._lease
