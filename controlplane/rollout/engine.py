"""The loop of rollouts: observe, decide, store the intent, run one idempotent verb, confirm at the next tick."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controlplane.config.models import ModelSection
from controlplane.errors import LeaseLost, Unavailable
from controlplane.rollout import records, trial
from controlplane.rollout.announce import Announcer, stuck
from controlplane.rollout.decide import advance, decide
from controlplane.rollout.drift import drift
from controlplane.rollout.handlers import NOTHING
from controlplane.rollout.model import Evidence, Phase, Rollout, RolloutKind, Trial
from controlplane.rollout.observations import observation_to_json
from controlplane.rollout.orders import Intent, Order, OrderOutcome, Verb
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.rollout_log import EventRecord, RolloutLog, RolloutRecord, StableChange
from controlplane.traffic.driver import Driver, EngineRefused, Placement, TrafficObservation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Reply:
    outcome: OrderOutcome
    detail: str = ""
    notes: tuple[str, ...] = ()


JUDGED = (Phase.PREPARING, Phase.SWITCHING, Phase.VERIFYING)
"""Phases in which the candidate may still be rejected."""
MAX_ASKING = 8
"""Maximum number of trials that run at a time, of all models together; each has one question out. Chosen."""
Look = Callable[[str, str, float, float], Awaitable[Evidence]]
"""Reads the evidence of (model, version, since, now), times in unix seconds. Never raises."""


async def _nobody(model: str, version: str, since: float, now: float) -> Evidence:
    return NOTHING


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
        news: Callable[[], None] = lambda: None,
    ) -> None:
        """`drivers` holds one driver for each model that can be switched. `lease` returns the current lease.

        `look` reads the evidence of a candidate. `news` is called when an engine or a candidate has answered: the
        sooner the next tick comes, the shorter a bad version serves.

        A tick waits at most `patience_s` seconds for a verb to answer; slower verbs go on in the background. With
        `observe_only` a rollout that another process left running stays as it is.
        """
        self._log = RolloutLog(db)
        self._models, self._drivers = dict(models), dict(drivers)
        self._lease, self._patience_s, self._observe_only = lease, patience_s, observe_only
        self._look, self._news = look, news
        self._announcer = Announcer()
        self._running: dict[tuple[str, Order], asyncio.Task[_Reply]] = {}
        self._asking: dict[tuple[str, str], asyncio.Task[None]] = {}
        """Running trials, by rollout and backend."""
        self._answered: dict[tuple[str, str], Trial] = {}
        self._turns = asyncio.Semaphore(MAX_ASKING)
        self._unreadable: frozenset[str] = frozenset()
        """Faults of stored rollouts that the last tick logged: each is logged once."""
        self._moved_s = 0.0
        """Seconds by which the clock was set and by which running rollouts were not shifted yet."""

    def clock_was_set(self, by_s: float) -> None:
        """Shift the deadlines of running rollouts by a step of the clock. They measure the time that really passes."""
        self._moved_s += by_s

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
        active = self._readable(await asyncio.to_thread(self._log.active))
        if self._observe_only:
            active = {}
        elif self._moved_s:
            active = {model: rollout.moved_by(self._moved_s) for model, rollout in active.items()}
            for rollout in active.values():
                await asyncio.to_thread(self._log.save, records.to_record(rollout), [], None, lease)
        self._moved_s = 0.0
        steps = [self._step(name, active.get(name), now, lease) for name in self._drivers]
        steps += [self._wait(rollout, now, lease) for name, rollout in active.items() if name not in self._drivers]
        results = await asyncio.gather(*steps, return_exceptions=True)
        failures = [r for r in results if isinstance(r, BaseException)]
        for failure in sorted(failures, key=lambda f: not isinstance(f, LeaseLost)):
            raise failure

    def _readable(self, found: Sequence[RolloutRecord]) -> dict[str, Rollout]:
        """Return the running rollouts by model. An unreadable rollout stands still and delays no other model."""
        rollouts, others = records.readable(found)
        sentences = [str(other.fault) for other in others]
        for sentence in sentences:
            if sentence not in self._unreadable:
                log.error("%s; model and engines stay as they are", sentence)
        self._unreadable = frozenset(sentences)
        return {rollout.model: rollout for rollout in rollouts}

    async def close(self) -> None:
        """Stop waiting for replies. The engines carry out their orders, and the next start observes the result."""
        tasks = [*self._running.values(), *self._asking.values()]
        self._running.clear()
        self._asking.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _step(self, name: str, rollout: Rollout | None, now: float, lease: Lease | None) -> None:
        driver, section = self._drivers[name], self._models[name]
        model = await asyncio.to_thread(self._log.seed, name, section.stable)
        # Replies are noted before observing: what is seen is then younger than every reply that decide() is shown.
        noted = self._note_replies(rollout) if rollout else None
        seen = await driver.observe()
        if rollout is not None and noted is not None:
            evidence = await self._seen_by_others(noted, now)
            await self._advance(driver, rollout, noted, seen, evidence, now, lease)
        words = "" if rollout else drift(model.stable, seen)
        observation = observation_to_json(seen)
        await asyncio.to_thread(self._log.observed, name, observation, words, now, lease)

    async def _wait(self, rollout: Rollout, now: float, lease: Lease | None) -> None:
        """Record once that a rollout stands still because its model left fleet.yaml, until the model is back."""
        words = f"Waiting: {rollout.model} is no longer a model of fleet.yaml that can be switched; nothing moves"
        if rollout.sentence != words:
            after = replace(rollout, sentence=words, updated_at=now, told_stuck=True, standing=True)
            event = EventRecord(now, rollout.phase.value, words)
            messages = self._announcer.messages(rollout, after, now)
            await asyncio.to_thread(self._log.save, records.to_record(after), [event], None, lease, messages)
            log.warning("rollout %s of %s: %s: %s", rollout.id, rollout.model, rollout.phase, words)

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
        decision = decide(noted, seen, now, evidence)
        after = advance(noted, decision, now)
        after = replace(after, standing=False, told_stuck=after.told_stuck or stuck(after, now))
        if after != before:
            after = replace(after, updated_at=now)
            events = [EventRecord(now, after.phase.value, note) for note in after.notes[len(before.notes) :]]
            if (after.phase, after.sentence) != (before.phase, before.sentence):
                # The history already holds the reason of the rollback: the event repeats only the rest.
                known = f"{before.reason}. " if before.phase is Phase.ROLLING_BACK else ""
                events.append(EventRecord(now, after.phase.value, after.sentence.removeprefix(known)))
            record, stable = records.to_record(after), stable_change(before, after)
            messages = self._announcer.messages(before, after, now)
            await asyncio.to_thread(self._log.save, record, events, stable, lease, messages)
            _say(before, after, events)
        if lease is not None and lease.left_s() <= 0:
            # Another process may hold the lease by now. The holder orders it again from the stored intent.
            log.warning("rollout %s of %s: its lease may have run out; nothing is ordered", after.id, after.model)
            return
        tasks: list[asyncio.Task[Any]] = [self._order(driver, after, order, lease) for order in decision.orders]
        self._forget(after)
        tasks += [self._ask(driver, after, url) for url in decision.asks]
        if tasks and self._patience_s > 0:
            await asyncio.wait(tasks, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED)

    def _order(self, driver: Driver, rollout: Rollout, order: Order, lease: Lease | None) -> asyncio.Task[_Reply]:
        task = asyncio.create_task(_run(driver, rollout, order, lease), name=f"rollout {rollout.id} {order.verb}")
        task.add_done_callback(self._answer_came)
        self._running[rollout.id, order] = task
        return task

    def _answer_came(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            self._news()

    def _ask(self, driver: Driver, rollout: Rollout, url: str) -> asyncio.Task[None]:
        """Start the trial on one backend unless it is running. After a restart of the process it begins anew."""
        key = rollout.id, url
        asked = rollout.trial(url)
        assert asked is not None  # advance() stores the trial before the first question
        if key not in self._asking or self._asking[key].done():
            fresh = self._answered.get(key, Trial(url, asked.since))
            task = asyncio.create_task(self._questions(driver, rollout, fresh), name=f"rollout {rollout.id} asks {url}")
            task.add_done_callback(self._answer_came)
            self._asking[key] = task
        return self._asking[key]

    async def _questions(self, driver: Driver, rollout: Rollout, fresh: Trial) -> None:
        key = rollout.id, fresh.backend

        def note(answered: Trial) -> None:
            self._answered[key] = answered

        try:
            async with self._turns:
                await trial.run(driver, rollout.plan.to_version, rollout.plan.check, fresh, note)
        except Exception as error:  # a job's boundary: a fault in a driver must end in the rollout's history
            log.exception("rollout %s: asking %s failed", rollout.id, fresh.backend)
            failures = rollout.plan.check.failures + 1
            words = f"it could not be asked ({type(error).__name__}: {error})"
            note(replace(fresh, asked=failures, failed=failures, words=words, finished=True))

    def _forget(self, rollout: Rollout) -> None:
        """Cancel the trials that nothing waits for, and those on backends that load the candidate again."""
        for key in {*self._asking, *self._answered}:
            over = rollout.phase not in JUDGED or rollout.trial(key[1]) is None
            if key[0] == rollout.id and over:
                self._answered.pop(key, None)
                if task := self._asking.pop(key, None):
                    task.cancel()

    async def _seen_by_others(self, rollout: Rollout, now: float) -> Evidence:
        """Read the evidence of the candidate once it has served and while it is being judged."""
        ordered = [i.since for i in rollout.intents if i.order.verb is Verb.PLACE]
        if not ordered or not rollout.moved or rollout.phase not in JUDGED:
            return NOTHING
        return await self._look(rollout.model, rollout.plan.to_version, min(ordered), now)

    def _note_replies(self, rollout: Rollout) -> Rollout:
        intents, notes = [], list(rollout.notes)
        for intent in rollout.intents:
            if intent.outcome is not OrderOutcome.ORDERED:
                intents.append(intent)
                continue
            reply = self._reply(rollout.id, intent)
            intents.append(replace(intent, outcome=reply.outcome, detail=reply.detail))
            notes += [note for note in reply.notes if note not in notes]
        trials = tuple(t if t.finished else self._answered.get((rollout.id, t.backend), t) for t in rollout.trials)
        return replace(rollout, intents=tuple(intents), trials=trials, notes=tuple(notes))

    def _reply(self, rollout_id: str, intent: Intent) -> _Reply:
        task = self._running.get((rollout_id, intent.order))
        if task is None:
            return _Reply(OrderOutcome.INTERRUPTED)
        if not task.done():
            return _Reply(OrderOutcome.ORDERED)
        del self._running[rollout_id, intent.order]
        return task.result()


def _say(before: Rollout, after: Rollout, events: Sequence[EventRecord]) -> None:
    """Log one line for each event that was added to the history."""
    bad = after.phase in (Phase.FAILED, Phase.ROLLED_BACK, Phase.ROLLING_BACK) and not after.wished
    for event in events:
        level = logging.WARNING if bad and after.phase is not before.phase else logging.INFO
        log.log(level, "rollout %s of %s: %s: %s", after.id, after.model, event.phase, event.sentence)


async def _run(driver: Driver, rollout: Rollout, order: Order, lease: Lease | None) -> _Reply:
    placement = Placement(
        rollout.model,
        order.serve,
        order.keep,
        rollout.plan.config,
        order.share,
        f"rollout {rollout.id}",
        lease,
        order.mirror,
    )
    try:
        if order.verb is Verb.COMMIT:
            return _Reply(OrderOutcome.TAKEN, notes=tuple(await driver.commit(placement)))
        await driver.place(order.backend, placement)
    except EngineRefused as error:
        return _Reply(OrderOutcome.REFUSED, str(error))
    except (Unavailable, LeaseLost) as error:
        return _Reply(OrderOutcome.LOST, str(error))
    except Exception as error:  # a job's boundary: a fault in a driver must end in the rollout's history, not in a tick
        log.exception("rollout %s: %s failed", rollout.id, order)
        return _Reply(OrderOutcome.LOST, f"{type(error).__name__}: {error}")
    return _Reply(OrderOutcome.TAKEN)


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
