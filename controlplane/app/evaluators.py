"""The evaluators of the configured rule groups: which are due, where each is evaluated, and how much of the past it
can see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from alerts.evaluate import GroupEvaluator
from alerts.interfaces import AlertLog, Clock, Querier
from alerts.lookback import lookbacks
from alerts.origins import Origins
from alerts.rules import RuleGroup
from alerts.template import Surroundings
from collectors.samples import SampleSink
from controlplane.app.parts.alerting_settings import AlertingSettings, next_turn
from controlplane.app.rules import reads_own_metrics
from controlplane.metrics.origins import RemoteOrigins, TargetOrigins

LARGE_STEP_S = 60.0
"""Smallest step of the clock, in seconds, after which rules wait for new samples, because old ones are out of range."""


class Evaluators:
    """Makes an evaluator for each configured group, and keeps those whose group does not change."""

    def __init__(
        self,
        querier: Querier,
        log: AlertLog,
        sink: SampleSink,
        clock: Clock,
        *,
        own: Querier | None = None,
        since: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        origins: TargetOrigins | None = None,
        known: Callable[[], bool] = lambda: True,
    ) -> None:
        """See Alerting for the arguments."""
        self._querier, self._log, self._sink, self._clock = querier, log, sink, clock
        self._own, self._origins, self._monotonic = own, origins, monotonic
        self._wait_until = 0.0
        """Monotonic seconds before which no rule is evaluated."""
        self._known, self._started = known, monotonic()
        self._all: list[GroupEvaluator] = []
        self._here: set[str] = set()
        """Groups that are evaluated by `own`."""
        self._due: dict[str, float] = {}
        self._started_at = clock.now()
        self._since = self._started_at if since is None else since
        self._settings: AlertingSettings | None = None
        self._lookbacks: dict[str, float] = {}

    def __iter__(self) -> Iterator[GroupEvaluator]:
        """Yield the evaluators in the order of the configuration."""
        return iter(self._all)

    def configure(self, settings: AlertingSettings) -> None:
        """Evaluate the groups of these settings. The recorded series of a removed group end."""
        groups, self._settings = settings.groups, settings
        self._lookbacks = lookbacks(groups, settings.interval_s)
        if self._origins:
            self._origins.configure(groups, self._lookbacks)
        self._here = {group.key for group in groups if self._own and reads_own_metrics(group)}
        before = {e.group.key: e for e in self._all}
        unchanged = {g.key for g in groups if g.key in before and before[g.key].group == g}
        for key, evaluator in before.items():
            if key not in unchanged:
                evaluator.close(self._clock.now())
        around = Surroundings(url=settings.console_url)
        self._all = [before[g.key] if g.key in unchanged else self._made(g, around) for g in groups]
        for evaluator in self._all:
            evaluator.around = around
        self._due = {key: at for key, at in self._due.items() if key in unchanged}

    def clock_was_set(self, by_s: float) -> None:
        """Follow a step of the clock."""
        if abs(by_s) >= LARGE_STEP_S:
            # As after a start: a missing series proves nothing before the targets are scraped again.
            self._started_at = self._since = self._clock.now()
            self._wait_until = self._monotonic() + self.settle_s

    def ready(self) -> bool:
        """Return whether samples and targets are known well enough to evaluate any rule."""
        now = self._monotonic()
        return now >= self._wait_until and (self._known() or now - self._started >= self.settle_s)

    def due(self, now: float) -> list[GroupEvaluator]:
        """Return the evaluators that are due at unix second `now`; none while nothing is ready."""
        if not self.ready():
            return []
        # Groups that are evaluated here come first: they must not wait for another server that hangs.
        ordered = sorted(self._all, key=lambda e: self._own is None or e.group.key in self._here, reverse=True)
        # After a step back of the clock no group is due later than one interval from now.
        return [e for e in ordered if not now < self._due.get(e.group.key, 0.0) <= now + self._interval_of(e)]

    def done(self, evaluator: GroupEvaluator, now: float) -> None:
        """Note that a group's turn of unix second `now` is over.

        One that `configure` replaced meanwhile has recorded on after its end, so its series end again, and the new one
        stays due.
        """
        if evaluator not in self._all:
            evaluator.close(self._clock.now())
            return
        self._due[evaluator.group.key] = next_turn(now, self._interval_of(evaluator))

    def reset(self) -> None:
        """Read alert states anew at the next evaluation."""
        for evaluator in self._all:
            evaluator.reset()

    @property
    def settle_s(self) -> float:
        """`settle_s` of the current settings; 0 before the first ones."""
        return 0.0 if self._settings is None else self._settings.settle_s

    def _interval_of(self, evaluator: GroupEvaluator) -> float:
        assert self._settings is not None  # a group comes from the settings
        return evaluator.group.interval_s or self._settings.interval_s

    def _made(self, group: RuleGroup, around: Surroundings) -> GroupEvaluator:
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
            around=around,
            blind_until=self._blind_until,
            origins=origins,
        )

    def _blind_until(self, rule: str) -> float:
        """Return the Unix seconds until which an empty result of a rule proves nothing, because its past is missing.

        Another server has the past and may lack only the first samples that this process ships.
        """
        seen = self._started_at if self._own else self._since + self._lookbacks.get(rule, 0.0)
        return max(self._started_at, seen) + self.settle_s
