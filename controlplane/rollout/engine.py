"""Drives rollouts: observe, decide, write the intent down, run one idempotent verb, confirm at the next tick."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from controlplane.config.model import ModelSection
from controlplane.errors import LeaseLost, Unavailable
from controlplane.rollout import records
from controlplane.rollout.decide import advance, decide
from controlplane.rollout.drift import drift
from controlplane.rollout.model import Intent, Kind, Order, Outcome, Rollout, Verb
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.rollout_log import EventRecord, RolloutLog, StableChange
from controlplane.traffic.driver import Driver, EngineRefused, Placement, TrafficObservation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Reply:
    outcome: Outcome
    detail: str = ""
    notes: tuple[str, ...] = ()


class RolloutEngine:
    """Moves every running rollout one step a tick, and remembers what the engines of every model serve.

    A model without a running rollout is only observed: the engine never changes anything on its own.
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
    ) -> None:
        """`drivers` holds one driver a model that can be switched; `lease` returns the current tenure.

        A tick waits `patience_s` seconds for verbs to answer; longer ones go on in the background. With
        `observe_only` a rollout that another process left running stays as it is.
        """
        self._log = RolloutLog(db)
        self._models, self._drivers = dict(models), dict(drivers)
        self._lease, self._patience_s, self._observe_only = lease, patience_s, observe_only
        self._running: dict[tuple[str, Order], asyncio.Task[_Reply]] = {}
        self._moved_s = 0.0
        """Steps of the clock that running rollouts have not followed yet."""

    def clock_was_set(self, by_s: float) -> None:
        """Take note of a step of the clock: deadlines measure the time that really passes."""
        self._moved_s += by_s

    def update(self, models: Mapping[str, ModelSection], drivers: Mapping[str, Driver]) -> None:
        """Take over a reloaded configuration. Drivers that are gone are the caller's to close."""
        self._models, self._drivers = dict(models), dict(drivers)

    @property
    def drivers(self) -> Mapping[str, Driver]:
        """One driver a model that can be switched."""
        return self._drivers

    async def tick(self, now: float) -> None:
        """Move every model one step. One model's trouble never keeps another one waiting for more than its timeouts.

        Raises LeaseLost: nothing was written, and the caller stops acting. Raises Unavailable without a database.
        """
        # Taken once: a process that pauses inside a tick must not go on under a tenure that it got afterwards.
        lease = self._lease()
        active = {record.model: records.from_record(record) for record in await asyncio.to_thread(self._log.active)}
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

    async def settle(self) -> None:
        """Wait until every verb that is out has answered; the next tick notes the replies."""
        if self._running:
            await asyncio.wait(self._running.values())

    async def close(self) -> None:
        """Stop waiting for replies. What was ordered goes on in the engines, and is observed after the next start."""
        tasks = list(self._running.values())
        self._running.clear()
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
            await self._advance(driver, rollout, noted, seen, now, lease)
        words = "" if rollout else drift(model.stable, seen)
        observation = records.observation_to_json(seen)
        await asyncio.to_thread(self._log.observed, name, observation, words, now, lease)

    async def _wait(self, rollout: Rollout, now: float, lease: Lease | None) -> None:
        """Say once that a rollout stands still because its model left fleet.yaml; when it is back, it goes on."""
        words = f"Waiting: {rollout.model} is no longer a model of fleet.yaml that can be switched; nothing moves"
        if rollout.sentence != words:
            record = records.to_record(replace(rollout, sentence=words, updated_at=now))
            event = EventRecord(now, rollout.phase.value, words)
            await asyncio.to_thread(self._log.save, record, [event], None, lease)

    async def _advance(
        self,
        driver: Driver,
        before: Rollout,
        noted: Rollout,
        seen: TrafficObservation,
        now: float,
        lease: Lease | None,
    ) -> None:
        decision = decide(noted, seen, now)
        after = advance(noted, decision, now)
        if after != before:
            after = replace(after, updated_at=now)
            events = [EventRecord(now, after.phase.value, note) for note in after.notes[len(before.notes) :]]
            if (after.phase, after.sentence) != (before.phase, before.sentence):
                events.append(EventRecord(now, after.phase.value, after.sentence))
            record, stable = records.to_record(after), stable_change(before, after)
            await asyncio.to_thread(self._log.save, record, events, stable, lease)
        tasks = [self._order(driver, after, order) for order in decision.orders]
        if tasks and self._patience_s > 0:
            await asyncio.wait(tasks, timeout=self._patience_s)

    def _order(self, driver: Driver, rollout: Rollout, order: Order) -> asyncio.Task[_Reply]:
        task = asyncio.create_task(_run(driver, rollout, order), name=f"rollout {rollout.id} {order.verb}")
        self._running[rollout.id, order] = task
        return task

    def _note_replies(self, rollout: Rollout) -> Rollout:
        intents, notes = [], list(rollout.notes)
        for intent in rollout.intents:
            if intent.outcome is not Outcome.ORDERED:
                intents.append(intent)
                continue
            reply = self._reply(rollout.id, intent)
            intents.append(replace(intent, outcome=reply.outcome, detail=reply.detail))
            notes += [note for note in reply.notes if note not in notes]
        return replace(rollout, intents=tuple(intents), notes=tuple(notes))

    def _reply(self, rollout_id: str, intent: Intent) -> _Reply:
        task = self._running.get((rollout_id, intent.order))
        if task is None:
            return _Reply(Outcome.INTERRUPTED)
        if not task.done():
            return _Reply(Outcome.ORDERED)
        del self._running[rollout_id, intent.order]
        return task.result()


async def _run(driver: Driver, rollout: Rollout, order: Order) -> _Reply:
    placement = Placement(rollout.model, order.serve, order.keep, rollout.plan.config)
    try:
        if order.verb is Verb.COMMIT:
            return _Reply(Outcome.TAKEN, notes=tuple(await driver.commit(placement)))
        await driver.place(order.backend, placement)
    except EngineRefused as error:
        return _Reply(Outcome.REFUSED, str(error))
    except Unavailable as error:
        return _Reply(Outcome.LOST, str(error))
    except Exception as error:  # a job's boundary: a fault in a driver must end in the rollout's history, not in a tick
        log.exception("rollout %s: %s failed", rollout.id, order)
        return _Reply(Outcome.LOST, f"{type(error).__name__}: {error}")
    return _Reply(Outcome.TAKEN)


def stable_change(before: Rollout, after: Rollout) -> StableChange | None:
    """Return how the model's stable version changes with this step.

    After a rollback there is nothing to go back to: a second `cp rollback` must not bring the bad version back.
    """
    plan = after.plan
    if after.switched and not before.switched:
        return StableChange(plan.to_version, plan.from_version if plan.kind is Kind.PROMOTE else None)
    if before.switched and not after.switched:
        return StableChange(plan.from_version, after.previous)
    return None
