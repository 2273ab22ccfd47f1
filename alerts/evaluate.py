"""Evaluates rule groups: queries each rule, steps its alerts, stores them, and writes series for the rules after it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from alerts.errors import NotStored, QueryFailed, RuleError
from alerts.gotemplate.values import Sample
from alerts.interfaces import AlertInstance, AlertLog, AlertState, Clock, Querier, VectorSample
from alerts.no_data import QUERY, Action
from alerts.origins import Absence, Lost, NoOrigins, Origins
from alerts.recording.stored_series import StoredSeries
from alerts.rules import AlertingRule, RecordingRule, Rule, RuleGroup
from alerts.state import Active, Step, activate, step
from alerts.template import Answers, Surroundings
from alerts.without_data import frozen, joined, parted, reported, uncovered
from collectors.samples import Labels, SampleSink, Series, labels_of


class Told(NamedTuple):
    """Last evaluation of a rule as the process that evaluated it reported. Times are unix seconds on its clock."""

    by: str
    """Name of the process."""
    at: float
    """Time of the report."""
    health: str
    last_error: str
    last_evaluation: float | None
    evaluation_s: float


@dataclass(frozen=True)
class RuleHealth:
    """Result of a rule's last evaluation, in the terms of Prometheus's /api/v1/rules."""

    rule: Rule
    health: str = "unknown"
    """ok, err, or unknown before the first evaluation."""
    last_error: str = ""
    last_evaluation: float | None = None
    """Unix seconds."""
    evaluation_s: float = 0.0
    """Duration of the evaluation, in seconds."""
    failures: int = 0
    """Evaluations that failed since this process started."""
    instances: tuple[AlertInstance, ...] = ()
    """An alerting rule's pending and firing alerts."""
    told_by: str = ""
    """Name of another process that evaluates the rule; "" for this one. Health, error and times are from its report."""
    told_at: float | None = None
    """Unix second of that report; None before the first one."""
    seen_at: float | None = None
    """Unix second at which `instances` were read from the database, when another process evaluates the rule."""

    @property
    def state(self) -> str:
        """The worst state of an alerting rule's instances: firing, pending or inactive."""
        states = {instance.state for instance in self.instances}
        worst = (AlertState.FIRING, AlertState.PENDING, AlertState.INACTIVE)
        return next((s.value for s in worst if s in states), AlertState.INACTIVE.value)


class StatesSeen(NamedTuple):
    """The active alerts that another process has stored, as read from the database."""

    at: float
    """Unix second of the read, on this process's clock."""
    states: Mapping[str, Sequence[AlertInstance]]
    """Active alerts by rule id. Rules without active alerts are absent."""


class GroupReport(NamedTuple):
    """A group as /api/v1/rules shows it."""

    group: RuleGroup
    rules: tuple[RuleHealth, ...]
    last_evaluation: float | None
    evaluation_s: float


@dataclass
class _Memory:
    """State of one rule in this process, kept between evaluations."""

    health: RuleHealth
    stored: StoredSeries
    instances: tuple[AlertInstance, ...] | None = None
    """None until loaded from the log, or when the last write may not have happened."""
    unseen: frozenset[Labels] = frozenset()
    """Active alerts of the log that no query has shown since they were loaded."""
    stepped_at: float | None = None
    """Unix second of this process's last successful query. All active alerts were in its result, except `unseen` and
    unknown ones."""


class GroupEvaluator:
    """Evaluates one group's rules in order at one timestamp. Later rules see what earlier ones wrote.

    The log holds the alert states. They are read at the first evaluation after a start, so pending and firing alerts
    survive a restart. A new state is written to the log before anything else shows it.
    """

    def __init__(
        self,
        group: RuleGroup,
        querier: Querier,
        log: AlertLog,
        sink: SampleSink,
        clock: Clock,
        *,
        around: Surroundings,
        blind_until: Callable[[str], float] = lambda _rule: 0.0,
        timer: Callable[[], float] = time.perf_counter,
        origins: Origins | None = None,
    ) -> None:
        """`blind_until` maps a rule's id to the unix second before which the samples in its range are incomplete.

        Until then, an alert of the log that no query has returned since the start keeps its state: the start of a
        process must not resolve an alert. `around` holds the values for templates beside the alert. It may be replaced;
        the next evaluation uses the new one. `origins` decides whether a missing result means "over" or "data lost";
        without it, a missing result means "over".
        """
        self.group = group
        self._querier, self._log, self._sink, self._clock, self._timer = querier, log, sink, clock, timer
        self._memory: Mapping[str, _Memory] = {
            rule.id: _Memory(RuleHealth(rule), StoredSeries(f"rule:{rule.id}")) for rule in group.rules
        }
        self.around = around
        self._blind_until, self._origins = blind_until, origins or NoOrigins()
        self._last_at: float | None = None
        self._took = 0.0
        self.transitions = 0
        """Number of transitions that were stored since the start of this process."""

    async def evaluate(self, at: float | None = None) -> GroupReport:
        """Evaluate every rule at unix second `at` (None: now) and return the report.

        A rule whose query, labels, limit or storage fails is reported as failed. Its alerts keep their states and are
        marked unknown (unless the storage failed), and the rules after it are evaluated. Raises other errors of the
        log, such as a lost lease: this process must then stop acting.
        """
        return await self._evaluate(self.group.rules, self._clock.now() if at is None else at)

    async def catch_up(self, at: float) -> GroupReport:
        """Evaluate the alerting rules alone at unix second `at`: at their last turn this process did not decide.

        Raises what `evaluate` raises.
        """
        return await self._evaluate([rule for rule in self.group.rules if isinstance(rule, AlertingRule)], at)

    async def _evaluate(self, rules: Iterable[Rule], at: float) -> GroupReport:
        started = self._timer()
        for rule in rules:
            await self._evaluate_rule(rule, at)
        self._last_at, self._took = at, self._timer() - started
        return self.report()

    async def follow(self, at: float, seen: StatesSeen | None, told: Mapping[str, Told]) -> GroupReport:
        """Run one evaluation at unix second `at` in a process that does not evaluate alerting rules.

        Recording rules are evaluated, in order. Alerting rules are shown, and their series are written, from `seen`.
        When `seen` is None, the alerts could not be read: nothing is written, and the previous alerts are still shown.
        `told` holds the reports of the process that evaluates the alerting rules, by rule id.
        """
        started = self._timer()
        for rule in self.group.rules:
            if isinstance(rule, RecordingRule):
                await self._evaluate_rule(rule, at)
            else:
                self._mirror(rule, at, seen, told.get(rule.id))
        self._last_at, self._took = at, self._timer() - started
        return self.report()

    def report(self) -> GroupReport:
        """Return the group as of its last evaluation."""
        rules = tuple(self._memory[rule.id].health for rule in self.group.rules)
        return GroupReport(self.group, rules, self._last_at, self._took)

    def reset(self) -> None:
        """Read alert states anew at the next evaluation. Call it after the lease was lost: another process may have
        written."""
        for memory in self._memory.values():
            memory.instances = memory.stepped_at = None

    def close(self, at: float) -> None:
        """Mark every series of this group stale at unix second `at`: its rules are no longer configured."""
        for memory in self._memory.values():
            memory.stored.end(self._sink, round(at * 1000))

    async def _evaluate_rule(self, rule: Rule, at: float) -> None:
        memory = self._memory[rule.id]
        started = self._timer()
        error = ""
        try:
            samples = await self._querier.instant(rule.expr, at - self.group.query_offset_s)
            if self.group.limit and len(samples) > self.group.limit:
                raise RuleError(f"{rule.name}: {len(samples)} results, the group's limit is {self.group.limit}")
            if isinstance(rule, RecordingRule):
                self._append(memory, *_recorded(rule, samples), at)
            else:
                await self._alert(rule, memory, samples, at)
        except (QueryFailed, RuleError, NotStored) as failure:
            error = str(failure)
            if isinstance(rule, AlertingRule) and not isinstance(failure, NotStored):
                with suppress(NotStored):  # the error of the query is the first to cure
                    await self._freeze(rule, memory, error, at)
        health = memory.health
        memory.health = replace(
            health,
            health="err" if error else "ok",
            last_error=error,
            last_evaluation=at,
            evaluation_s=self._timer() - started,
            failures=health.failures + bool(error),
            instances=health.instances if memory.instances is None else _active(memory.instances),
            told_by="",
            told_at=None,
            seen_at=None,
        )

    def _mirror(self, rule: Rule, at: float, seen: StatesSeen | None, told: Told | None) -> None:
        memory = self._memory[rule.id]
        # A process that evaluates alerting rules again must first read the stored states.
        memory.instances = memory.stepped_at = None
        if told is not None:
            memory.health = replace(
                memory.health,
                health=told.health,
                last_error=told.last_error,
                last_evaluation=told.last_evaluation,
                evaluation_s=told.evaluation_s,
                told_by=told.by,
                told_at=told.at,
            )
        if seen is not None:
            found = tuple(seen.states.get(rule.id, ()))
            memory.health = replace(memory.health, instances=found, seen_at=seen.at)
            self._append(memory, *_alert_series(found), at)

    async def _alert(self, rule: AlertingRule, memory: _Memory, samples: Sequence[VectorSample], at: float) -> None:
        active = await self._activated(rule, samples, at)
        observed, reports = parted(await self._loaded(rule, memory))
        memory.unseen -= {result.labels for result in active}
        kept = memory.unseen if at < self._blind_until(rule.id) else frozenset()
        absences = await self._absences(rule, memory, observed, kept | {result.labels for result in active}, at)
        outcome = step(rule, observed, active, at, kept, absences)
        if reports or rule.no_data.action is Action.FIRE:
            silent = await self._silent(rule, outcome.instances, reports, at)
            outcome = joined(outcome, reported(rule, reports, silent, at, kept))
        memory.stepped_at = at
        await self._keep(rule, memory, outcome, at)

    async def _freeze(self, rule: AlertingRule, memory: _Memory, error: str, at: float) -> None:
        """Mark the rule's alerts unknown: its evaluation failed."""
        outcome = frozen(rule, await self._loaded(rule, memory), f"failed: {error}", at)
        await self._keep(rule, memory, outcome, at)

    async def _loaded(self, rule: AlertingRule, memory: _Memory) -> tuple[AlertInstance, ...]:
        if memory.instances is None:
            memory.instances = tuple(await asyncio.to_thread(self._log.load, rule.id))
            memory.unseen = frozenset(instance.labels for instance in _active(memory.instances))
        return memory.instances

    async def _keep(self, rule: AlertingRule, memory: _Memory, outcome: Step, at: float) -> None:
        """Store the outcome of an evaluation if it differs from what is stored, and write its series."""
        if outcome.transitions or outcome.instances != memory.instances:
            # None during the write: after a failure or a cancellation the stored state is unknown and is read again.
            memory.instances = None
            await asyncio.to_thread(self._log.record, rule.id, outcome.instances, outcome.transitions)
            memory.instances = outcome.instances
            self.transitions += len(outcome.transitions)
        self._append(memory, *_alert_series(outcome.instances), at)

    async def _silent(
        self, rule: AlertingRule, instances: Sequence[AlertInstance], reports: Sequence[AlertInstance], at: float
    ) -> Mapping[str, str]:
        """Return the targets without data that no other alert of the rule waits for, each with the reason."""
        known = {"/".join((dict(i.labels).get("job", ""), dict(i.labels).get("instance", ""))) for i in reports}
        silent = await self._origins.silent(rule, known, at - self.group.query_offset_s)
        if at < self._blind_until(rule.id):  # what has not been scraped yet is no news
            silent = {name: why for name, why in silent.items() if name in known}
        return uncovered(instances, silent)

    async def _activated(self, rule: AlertingRule, samples: Sequence[VectorSample], at: float) -> tuple[Active, ...]:
        """Return the alerts of a result. Renders again until every query in their templates has an answer."""
        around = replace(self.around, at=at, answers=Answers())
        while True:
            active = activate(rule, samples, around)
            if not around.answers.wanted:
                return active
            for expr in list(around.answers.wanted):
                around.answers.known[expr] = await self._answer(expr, at)
            around.answers.wanted.clear()

    async def _answer(self, expr: str, at: float) -> tuple[Sample, ...] | str:
        try:
            found = await self._querier.instant(expr, at)
        except QueryFailed as failure:
            return str(failure)
        return tuple(Sample(dict(sample.labels), sample.value) for sample in found)

    async def _absences(
        self,
        rule: AlertingRule,
        memory: _Memory,
        observed: Sequence[AlertInstance],
        accounted: Collection[Labels],
        at: float,
    ) -> Mapping[Labels, Absence]:
        lost = [
            Lost(_without_marker(instance), None if instance.labels in memory.unseen else memory.stepped_at)
            for instance in _active(observed)
            if instance.labels not in accounted
        ]
        return await self._origins.explain(rule, lost, at - self.group.query_offset_s) if lost else {}

    def _append(self, memory: _Memory, series: tuple[Series, ...], values: list[float], at: float) -> None:
        memory.stored.append(self._sink, series, values, round((at - self.group.query_offset_s) * 1000))


def _without_marker(instance: AlertInstance) -> AlertInstance:
    return replace(instance, away=()) if instance.away == (QUERY,) else instance  # a query is no target


def _active(instances: Iterable[AlertInstance]) -> tuple[AlertInstance, ...]:
    return tuple(i for i in instances if i.state is not AlertState.INACTIVE)


def _recorded(rule: RecordingRule, samples: Sequence[VectorSample]) -> tuple[tuple[Series, ...], list[float]]:
    found: dict[Labels, float] = {}
    for sample in samples:
        own = {k: v for k, v in sample.labels if k != "__name__" and k not in rule.removed}
        labels = labels_of(own | dict(rule.labels))
        if labels in found:
            raise RuleError(f"{rule.record}: two results have the same labels {dict(labels)}")
        found[labels] = sample.value
    ordered = sorted(found)
    return tuple(Series(rule.record, labels) for labels in ordered), [found[labels] for labels in ordered]


def _alert_series(instances: Iterable[AlertInstance]) -> tuple[tuple[Series, ...], list[float]]:
    """Return ALERTS and ALERTS_FOR_STATE (whole unix seconds) as Prometheus writes them; none for inactive alerts."""
    rows: list[tuple[Series, float]] = []
    for instance in _active(instances):
        labels = {k: v for k, v in instance.labels if k != "__name__"}
        rows.append((Series("ALERTS", labels_of(labels | {"alertstate": instance.state.value})), 1.0))
        rows.append((Series("ALERTS_FOR_STATE", labels_of(labels)), math.floor(instance.active_at)))
    rows.sort()
    return tuple(series for series, _ in rows), [value for _, value in rows]
