"""Operators' requests for rollouts. The service records requests; the engine carries them out."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from alerts.interfaces import Clock
from controlplane.config.models import ModelSection
from controlplane.errors import Conflict, Refused, Unreadable
from controlplane.rollout import records
from controlplane.rollout.announce import Announcer
from controlplane.rollout.attention import Attention, Need, attention, mended
from controlplane.rollout.model import Phase, Plan, RecordedRollout, Rollout, RolloutEvent, RolloutKind
from controlplane.rollout.observations import observation_from_json
from controlplane.rollout.planning import plan as planning
from controlplane.rollout.planning.planner import Planner
from controlplane.rollout.verification import Verification
from controlplane.store.database import Database
from controlplane.store.rollout_log import ModelRecord, RolloutLog, RolloutRecord
from controlplane.traffic.driver import Driver, TrafficObservation

log = logging.getLogger(__name__)

_VERB = {RolloutKind.PROMOTE: "promote", RolloutKind.ROLLBACK: "roll back"}


@dataclass(frozen=True)
class ModelStatus:
    """One model as the control plane last saw it."""

    name: str
    stable: str
    previous: str | None
    """The target version of a rollback. None: there is none."""
    observation: TrafficObservation | None
    """None: the model was never observed (it has no driver, or there was no tick yet)."""
    observed_at: float | None
    drift: str
    """A sentence when an engine serves another version than `stable`; "" otherwise."""
    rollout: Rollout | None
    """The running rollout."""
    can_promote: bool


class RolloutService:
    """Plans, starts, rolls back and shows rollouts. Every method is safe to repeat."""

    def __init__(
        self,
        db: Database,
        models: Mapping[str, ModelSection],
        drivers: Mapping[str, Driver],
        clock: Clock,
        *,
        observe_only: bool = False,
        verifications: Mapping[str, Verification] | None = None,
        news: Callable[[], None] = lambda: None,
    ) -> None:
        """`drivers` holds one driver for each model that can be switched. Keys of all mappings are model names.

        `news` is called, on the event loop, when a request was recorded.
        """
        self._log, self._unread = RolloutLog(db), db.unread
        self._models, self._drivers = dict(models), dict(drivers)
        self._clock, self.observe_only = clock, observe_only
        self._verifications, self._announcer = dict(verifications or {}), Announcer()
        self._news = news
        self._planner = Planner(self._log, clock)
        self._planner.update(self._models, self._drivers, self._verifications)

    def update(
        self,
        models: Mapping[str, ModelSection],
        drivers: Mapping[str, Driver],
        verifications: Mapping[str, Verification] | None = None,
        announcer: Announcer | None = None,
    ) -> None:
        """Replace the configuration after a reload."""
        self._models, self._drivers = dict(models), dict(drivers)
        self._verifications, self._announcer = dict(verifications or {}), announcer or self._announcer
        self._planner.update(self._models, self._drivers, self._verifications)

    async def plan(self, model: str, version: str, strategy: str = "blue-green") -> Plan:
        """Return the plan of `start`, and change nothing. Raises NotFound, and Refused with every reason."""
        return await self._planner.dry_run(planning.Request(model, version, strategy=strategy))

    async def plan_rollback(self, model: str) -> Plan:
        """Return the plan of `rollback` when no rollout is running. Raises NotFound and Refused."""
        status = await self.model(model)
        target = planning.rollback_target(model, status.stable, status.previous)
        return await self._planner.dry_run(planning.Request(model, target, RolloutKind.ROLLBACK))

    async def start(
        self,
        model: str,
        version: str,
        strategy: str = "blue-green",
        *,
        actor: str,
        idempotency_key: str | None = None,
    ) -> Rollout:
        """Record a rollout for the engine. The same idempotency key returns the same rollout again.

        Raises NotFound for an unknown model, Refused when the plan is refused (nothing has moved), and Conflict when
        another rollout was started meanwhile or the key was used for another request.
        """
        request = planning.Request(model, version, strategy=strategy)
        return await self._start(request, actor, idempotency_key)

    async def rollback(self, model: str, *, actor: str, idempotency_key: str | None = None) -> Rollout:
        """Roll the running promotion back, or start a rollout to the previous stable version.

        A rollback that is running already is returned as it is.

        Raises NotFound, and Refused when there is no previous version.
        """
        planning.known(model, self._models)
        repeated = await self._repeated(idempotency_key, model)
        if repeated is not None:
            return repeated
        running = await self._active(model)
        if running is not None:
            self._refuse_observe_only()
            if running.plan.kind is RolloutKind.ROLLBACK:
                return running  # a repeated request: rolling a rollback back would bring the bad version back
            return await self._turn_back(running.id, f"Rollback by {actor}", actor, "rollout.rollback")
        status = await self.model(model)
        target = planning.rollback_target(model, status.stable, status.previous)
        return await self._start(planning.Request(model, target, RolloutKind.ROLLBACK), actor, idempotency_key)

    async def abort(self, rollout_id: str, *, actor: str) -> Rollout:
        """Roll a running rollout back. Raises NotFound, and Conflict when it has finished or already switched."""
        self._refuse_observe_only()
        rollout = records.from_record(await asyncio.to_thread(self._log.get, rollout_id))
        if rollout.switched and not rollout.finished:
            raise Conflict(
                f"rollout {rollout_id} has switched {rollout.model} to {rollout.plan.to_version} already and is "
                f"{rollout.phase}; `cp rollback {rollout.model}` goes back"
            )
        return await self._turn_back(rollout_id, f"Aborted by {actor}", actor, "rollout.abort")

    async def close(self, rollout_id: str, *, actor: str) -> Rollout:
        """End a running rollout that cannot be read as failed. Its stored state and the engines stay as they are.

        Raises NotFound, and Conflict when the rollout has finished, or can be read: then `abort` is the cure. Raises
        Unreadable when the rollout is closed, but not even its columns can be shown.
        """
        self._refuse_observe_only()
        record = await asyncio.to_thread(self._log.get, rollout_id)
        try:
            records.from_record(record)
        except Unreadable as fault:
            log.warning("rollout %s: closed by %s: %s", rollout_id, actor, fault)
        else:
            raise Conflict(f"rollout {rollout_id} of model {record.model} can be read; `cp rollouts abort` undoes it")
        sentence = (
            f"Closed by {actor} because it could not be read; nothing was ordered, so check what the engines of "
            f"{record.model} serve and load"
        )
        closed = await asyncio.to_thread(self._log.close, rollout_id, sentence, actor, self._clock.now())
        self._news()
        shown = records.outline(closed, sentence)
        if shown is None:
            raise Unreadable(f"rollout {rollout_id} is closed; it cannot be shown, as its row is damaged")
        return shown

    async def list(self, model: str | None = None, limit: int = 50) -> list[RecordedRollout]:
        """Return the newest rollouts first, without their events. Raises NotFound for an unknown model.

        An unreadable rollout is shown from its columns, and its sentence is the fault.
        """
        if model is not None:
            planning.known(model, self._models)
        found = await asyncio.to_thread(self._log.recent, model, limit)
        return [RecordedRollout(rollout) for rollout in map(_shown, found) if rollout is not None]

    async def show(self, rollout_id: str) -> RecordedRollout:
        """Return one rollout with its history, as far as it can be read. Raises NotFound and Unreadable."""
        record = await asyncio.to_thread(self._log.get, rollout_id)
        events = await asyncio.to_thread(self._log.events, rollout_id)
        return RecordedRollout(
            _shown(record) or records.from_record(record), tuple(RolloutEvent(*event) for event in events)
        )

    async def model(self, name: str) -> ModelStatus:
        """Return one model as last observed, without a request to an engine. Raises NotFound."""
        section = planning.known(name, self._models)
        record = await asyncio.to_thread(self._log.model, name)
        try:
            running, free = await self._active(name), True
        except Unreadable:
            running, free = None, False  # an unreadable rollout is running: no other may begin
        can = name in self._drivers and running is None and free and not self.observe_only
        if record is None:
            return ModelStatus(name, section.stable, None, None, None, "", running, can)
        observed_at, observation = record.observed_at, self._observation(record)
        return ModelStatus(
            name,
            record.stable,
            record.previous,
            observation,
            None if observation is None else observed_at,
            record.drift,
            running,
            can,
        )

    async def models(self) -> tuple[ModelStatus, ...]:
        """Return every model of fleet.yaml as last observed, in the order of fleet.yaml."""
        return tuple([await self.model(name) for name in self._models])

    def attention(self) -> tuple[Attention, ...]:
        """Return the rollouts that need attention. Blocking. Raises Unavailable without a database."""
        newest, others = records.readable(self._log.newest())
        mine = [rollout for rollout in newest if not rollout.finished or rollout.model in self._models]
        done = {rollout.model for rollout in mine if rollout.needs_person and self._mended(rollout)}
        standing = [
            Attention(record.model, record.id, Need.PERSON, str(fault), record.updated_at)
            for record, fault in others
            if record.finished_at is None
        ]
        return (*standing, *attention(mine, done, self._clock.now()))

    def _mended(self, rollout: Rollout) -> bool:
        record = self._log.model(rollout.model)
        seen = None if record is None else self._observation(record)
        return record is not None and mended(rollout, record.stable, seen, record.observed_at)

    def _observation(self, record: ModelRecord) -> TrafficObservation | None:
        """Return the last observation. None when there is none or it cannot be read: the next tick observes anew."""
        if record.observation is None:
            return None
        found = self._unread.readable(
            "model_state", [record], lambda r: r.model, lambda r: observation_from_json(r.observation)
        )
        return found[0] if found else None

    async def _start(self, request: planning.Request, actor: str, idempotency_key: str | None) -> Rollout:
        repeated = await self._repeated(idempotency_key, request.fingerprint())
        if repeated is not None:
            return repeated
        try:
            plan = await self._planner.plan(request, observe_only=self.observe_only)
        except Refused:
            # The running rollout may be that of the same key: a repeated request was recorded during this planning.
            repeated = await self._repeated(idempotency_key, request.fingerprint())
            if repeated is None:
                raise
            return repeated
        now = self._clock.now()
        previous = (await asyncio.to_thread(self._log.seed, request.model, plan.from_version)).previous
        switch = f"{_VERB[request.kind]} {plan.model} from {plan.from_version} to {plan.to_version}"
        rollout = Rollout(
            id=f"r-{secrets.token_hex(4)}",
            plan=plan,
            phase=Phase.PLANNED,
            sentence=f"{actor} asked to {switch}",
            created_by=actor,
            created_at=now,
            updated_at=now,
            phase_at=now,
            notes=plan.notes,
            previous=previous,
            idempotency_key=idempotency_key,
            request=request.fingerprint(),
        )
        try:
            messages = self._announcer.messages(None, rollout, now)
            await asyncio.to_thread(self._log.start, records.to_record(rollout), messages)
            self._news()
            log.info("rollout %s of %s: %s: %s", rollout.id, rollout.model, rollout.phase, rollout.sentence)
        except Conflict:
            # Two requests with one key raced: the loser answers with the winner's rollout.
            repeated = await self._repeated(idempotency_key, request.fingerprint())
            if repeated is None:
                raise
            return repeated
        return rollout

    async def _repeated(self, idempotency_key: str | None, request: str) -> Rollout | None:
        """Return the rollout that the key was used for, or None.

        `request` is a fingerprint, or the model's name where the target version is not known yet.
        """
        if idempotency_key is None:
            return None
        record = await asyncio.to_thread(self._log.by_key, idempotency_key)
        if record is None:
            return None
        if request not in (record.request, record.model if record.kind == RolloutKind.ROLLBACK else None):
            raise Conflict(f"idempotency key {idempotency_key!r} was used for another request ({record.request})")
        return records.from_record(record)

    async def _turn_back(self, rollout_id: str, reason: str, actor: str, action: str) -> Rollout:
        at = self._clock.now()
        record = await asyncio.to_thread(self._log.request_turn_back, rollout_id, reason, actor, action, at)
        self._news()
        log.info("rollout %s of %s: %s: %s", record.id, record.model, record.phase, record.turn_back)
        return replace(records.from_record(record), turn_back=record.turn_back)

    async def _active(self, model: str) -> Rollout | None:
        found = await asyncio.to_thread(self._log.active)
        return next((records.from_record(record) for record in found if record.model == model), None)

    def _refuse_observe_only(self) -> None:
        if self.observe_only:
            raise Refused("this control plane only observes (--observe-only); start it without that flag to act")


def _shown(record: RolloutRecord) -> Rollout | None:
    try:
        return records.from_record(record)
    except Unreadable as fault:
        return records.outline(record, record.sentence if record.finished_at is not None else str(fault))
