"""The loop of rollouts: observe, decide, store the intent, run one idempotent verb, confirm at the next tick."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from controlplane.config.models import ModelSection
from controlplane.errors import LeaseLost
from controlplane.rollout.advance import advance
from controlplane.rollout.announce import Announcer, stuck
from controlplane.rollout.copying import replace
from controlplane.rollout.decide import decide
from controlplane.rollout.drift import drift
from controlplane.rollout.findings import WorkKind
from controlplane.rollout.handlers.situation import NOTHING
from controlplane.rollout.model import Evidence, Phase, Rollout, RolloutKind
from controlplane.rollout.orders import Verb
from controlplane.rollout.reporting.progress import way_back
from controlplane.rollout.running import kept
from controlplane.rollout.running.orders import Orders
from controlplane.rollout.running.questions import Questions
from controlplane.rollout.running.stored import StoredObservations, StoredRollouts
from controlplane.rollout.running.turns import MOST, Turns
from controlplane.rollout.running.watching import Watch
from controlplane.rollout.running.works import Works
from controlplane.rollout.running.writing import Writer
from controlplane.rollout.steps import is_judged
from controlplane.rollout.stored import records
from controlplane.rollout.wishes import Wait
from controlplane.rollout.words.sentences import because
from controlplane.rollout.workers import Worker
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.quarantines import Quarantine
from controlplane.store.rollout_rows.records import EventRecord, ModelMark, StableChange
from controlplane.store.rollout_rows.saving import StepChange
from controlplane.traffic.driver import Driver, TrafficObservation

log = logging.getLogger(__name__)


Look = Callable[[Rollout, float, float], Awaitable[Evidence]]
"""Reads the evidence of (rollout, since, now), times in unix seconds. Never raises."""
Holds = Callable[[Rollout, float], Wait | None]
"""Returns why no further traffic may move in a rollout now, such as a freeze window, or None."""


async def _nobody(rollout: Rollout, since: float, now: float) -> Evidence:
    return NOTHING


def _free(rollout: Rollout, now: float) -> Wait | None:
    return None


class RolloutEngine:
    """Moves every running rollout one step a tick, and stores which version each backend serves.

    A model without a running rollout is only observed: the loop never changes a backend on its own.
    """

    def __init__(
        self,
        db: Database,
        models: Mapping[str, ModelSection],
        drivers: Mapping[str, Driver],
        *,
        lease: Callable[[], Lease | None] = lambda: None,
        patience_s: float = 0.5,
        observe_only: bool = False,
        look: Look = _nobody,
        workers: Mapping[WorkKind, Worker] | None = None,
        holds: Holds = _free,
        news: Callable[[], None] = lambda: None,
        most_steps: int = MOST,
    ) -> None:
        """`drivers` holds one driver for each model that can be switched. `lease` returns the current lease.

        `look` reads the evidence of a candidate. `workers` do the works of steps. `news` is called when an engine, a
        candidate or a worker has answered: the sooner the next tick comes, the shorter a bad version serves.

        A tick waits at most `patience_s` seconds for a verb to answer; slower verbs go on in the background. With
        `observe_only` a rollout that another process left running stays as it is. A tick stores at most `most_steps`
        steps, and those of rollouts that go back.
        """
        self._log = RolloutLog(db)
        self._models, self._drivers = dict(models), dict(drivers)
        self._lease, self._patience_s, self._observe_only = lease, patience_s, observe_only
        self._look, self._holds = look, holds
        self._announcer = Announcer()
        self._orders, self._questions = Orders(news), Questions(news)
        self._works = Works(self._log, workers or {}, news)
        self._turns = Turns(most_steps)
        self._writer = Writer(self._log)
        self._rollouts, self._observations = StoredRollouts(self._log), StoredObservations(self._log)
        self._watch = Watch()

    def clock_was_set(self, by_s: float) -> None:
        """Shift the deadlines of running rollouts by a step of the clock. They measure the time that really passes."""
        self._watch.clock_was_set(by_s)

    def update(
        self, models: Mapping[str, ModelSection], drivers: Mapping[str, Driver], announcer: Announcer | None = None
    ) -> None:
        """Replace the configuration after a reload. The caller closes the drivers that are gone."""
        self._models, self._drivers = dict(models), dict(drivers)
        self._announcer = announcer or self._announcer

    @property
    def drivers(self) -> Mapping[str, Driver]:
        """One driver for each model that can be switched."""
        return self._drivers

    async def tick(self, now: float) -> None:
        """Move every model one step. A fault of one model delays another model by no more than its timeouts.

        Raises LeaseLost when the lease is gone: nothing was written, and the caller must stop. Raises Unavailable
        without a database.
        """
        # Read once: a process that paused inside a tick must not go on under a lease that it got afterwards.
        lease = self._lease()
        active, marks = await asyncio.to_thread(self._read)
        if fresh := {name: self._models[name].stable for name in self._drivers if name not in marks}:
            marks = await asyncio.to_thread(self._log.seed_all, fresh)
        if self._observe_only:
            active = {}
        caught_up = self._watch.caught_up(active, marks, now)
        self._turns.begin()
        steps = [
            self._step(name, active.get(name), caught_up.get(name), marks[name], now, lease) for name in self._drivers
        ]
        steps += [self._wait(active[name], caught_up[name], now, lease) for name in active if name not in self._drivers]
        results = await asyncio.gather(*steps, return_exceptions=True)
        await asyncio.to_thread(self._observations.store, now, lease)
        self._watch.stored(now)
        failures = [r for r in results if isinstance(r, BaseException)]
        for failure in sorted(failures, key=lambda f: not isinstance(f, LeaseLost)):
            raise failure

    def _read(self) -> tuple[dict[str, Rollout], dict[str, ModelMark]]:
        """Read the running rollouts and the marks of all models, each by model. Blocking."""
        return self._rollouts.read(), self._log.marks()

    def under_way(self) -> list[asyncio.Task[Any]]:
        """Return the calls, questions and works that this process has begun."""
        return [*self._orders.tasks(), *self._questions.tasks(), *self._works.tasks()]

    async def close(self) -> None:
        """Stop waiting for replies. The engines carry out their orders, and the next start observes the result."""
        tasks: list[asyncio.Task[Any]] = [*self._orders.drop(), *self._questions.drop(), *self._works.drop()]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _step(
        self,
        name: str,
        rollout: Rollout | None,
        caught_up: Rollout | None,
        mark: ModelMark,
        now: float,
        lease: Lease | None,
    ) -> None:
        """Observe a model, and move its rollout. `caught_up` is the rollout with its times moved (Watch)."""
        driver = self._drivers[name]
        # Replies are noted before observing: what is seen is then younger than every reply that decide() is shown.
        noted = self._noted(caught_up, now) if caught_up else None
        seen = await driver.observe()
        if rollout is not None and noted is not None:
            evidence = await self._seen_by_others(noted, now)
            await self._advance(driver, rollout, noted, seen, evidence, now, lease)
        words = "" if rollout else drift(mark.stable, seen)
        self._observations.note(name, seen, words)
        self._watch.watched(name, now)

    async def _wait(self, rollout: Rollout, caught_up: Rollout, now: float, lease: Lease | None) -> None:
        """Record once that a rollout stands still because its model left fleet.yaml, until the model is back."""
        words = f"Waiting: {rollout.model} is no longer a model of fleet.yaml that can be switched; nothing moves"
        after = replace(caught_up, sentence=words, told_stuck=True, standing=True)
        if (after.sentence, after.clock_step) != (rollout.sentence, rollout.clock_step):
            await self._save(rollout, replace(after, updated_at=now), now, lease, back="")

    async def _advance(
        self,
        driver: Driver,
        before: Rollout,
        noted: Rollout,
        seen: TrafficObservation,
        evidence: Evidence,
        now: float,
        lease: Lease | None,
    ) -> None:
        hold = self._holds(noted, now) if noted.plan.kind is RolloutKind.PROMOTE else None
        decision = decide(noted, seen, now, evidence, hold)
        after = advance(noted, decision, now)
        after = replace(after, standing=False, told_stuck=after.told_stuck or stuck(after, now))
        # Times that were moved must be stored now: the next tick no longer sees the gap (Watch).
        moved = (noted.clock_step, noted.gap_until) != (before.clock_step, before.gap_until)
        urgent = after.phase is Phase.ROLLING_BACK or moved
        if after != before and not self._turns.take(after.id, urgent=urgent):
            return  # nothing is stored, so nothing follows: the next tick notes the same replies, and decides anew
        self._orders.forget(noted)
        if after != before:
            after = replace(after, updated_at=now)
            back = await self._back(after, seen) if self._announcer.offers(before, after) else ""
            await self._save(before, after, now, lease, back)
        if lease is not None and lease.left_s() <= 0:
            # Another process may hold the lease by now. The holder orders it again from the stored intent.
            log.warning("rollout %s of %s: its lease may have run out; nothing is ordered", after.id, after.model)
            return
        tasks: list[asyncio.Task[Any]] = [self._orders.send(driver, after, order, lease) for order in decision.orders]
        self._questions.forget(after)
        self._works.forget(after)
        tasks += [self._questions.ask(driver, after, url) for url in decision.asks]
        tasks += [self._questions.ask(driver, after, url, of_stable=True) for url in decision.asks_stable]
        tasks += [self._works.begin(after, work, again=before.work(work) is not None) for work in decision.works]
        if tasks and self._patience_s > 0:
            await asyncio.wait(tasks, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED)

    async def _back(self, rollout: Rollout, seen: TrafficObservation) -> str:
        """Return how long a rollback would take now, in words."""
        return way_back(rollout.plan, seen, await asyncio.to_thread(self._rollouts.past, rollout.model)).words

    async def _save(self, before: Rollout, after: Rollout, now: float, lease: Lease | None, back: str = "") -> None:
        """Store a step with all that follows from it, in one transaction. Raises LeaseLost and Conflict."""
        events = [EventRecord(now, after.phase.value, note) for note in after.notes[len(before.notes) :]]
        if (after.phase, after.sentence) != (before.phase, before.sentence):
            # The history already holds the reason of the rollback: the event repeats only the rest.
            known = f"{before.reason}. " if before.phase is Phase.ROLLING_BACK else ""
            events.append(EventRecord(now, after.phase.value, after.sentence.removeprefix(known)))
        known_works = {(state.work, state.finding is not None) for state in before.works}
        findings = [
            kept.to_record(state)
            for state in after.works
            if state.finding is not None and (state.work, True) not in known_works
        ]
        messages = self._announcer.messages(before, after, now, back)
        change = StepChange(
            records.to_record(after), events, stable_change(before, after), messages, findings, quarantine(after)
        )
        await self._writer.save(change, lease)
        self._rollouts.saved(after)
        _say(before, after, events)

    async def _seen_by_others(self, rollout: Rollout, now: float) -> Evidence:
        """Read the evidence of the candidate once it has served and while it is being judged."""
        ordered = [i.since for i in rollout.intents if i.order.verb is Verb.PLACE]
        if not ordered or not rollout.moved or not is_judged(rollout):
            return NOTHING
        return await self._look(rollout, min(ordered), now)

    def _noted(self, rollout: Rollout, now: float) -> Rollout:
        """Return the rollout with the replies, answers and findings that came since the last tick."""
        return self._works.noted(self._questions.noted(self._orders.noted(rollout)), now)


def _say(before: Rollout, after: Rollout, events: Sequence[EventRecord]) -> None:
    """Log one line for each event that was added to the history."""
    bad = after.phase in (Phase.FAILED, Phase.ROLLED_BACK, Phase.ROLLING_BACK) and not after.wished
    for event in events:
        level = logging.WARNING if after.standing or (bad and after.phase is not before.phase) else logging.INFO
        log.log(level, "rollout %s of %s: %s: %s", after.id, after.model, event.phase, event.sentence)


def quarantine(after: Rollout) -> Quarantine | None:
    """Return the quarantine that the end of a rollout puts a version in, or None.

    It is the version from which a promotion went back, or the one that an operator's rollback left.
    """
    plan = after.plan
    if after.phase is Phase.ROLLED_BACK and plan.kind is RolloutKind.PROMOTE:
        return Quarantine(after.model, plan.to_version, after.updated_at, after.id, after.reason)
    if after.finished and after.switched and plan.options.quarantine:
        reason = because(f"Rollback by {after.created_by}", plan.options.reason)
        return Quarantine(after.model, plan.from_version, after.updated_at, after.id, reason)
    return None


def stable_change(before: Rollout, after: Rollout) -> StableChange | None:
    """Return the change of the model's stable version in this step, or None.

    After a rollback the model has no previous version: a second `cp rollback` must not bring the bad version back.
    """
    plan = after.plan
    if after.switched and not before.switched:
        return StableChange(plan.to_version, plan.from_version if plan.kind is RolloutKind.PROMOTE else None)
    if before.switched and not after.switched:
        return StableChange(plan.from_version, after.previous)
    return None
