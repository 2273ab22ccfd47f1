"""Operators' requests for rollouts. The service records requests; the engine carries them out."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial

from alerts.interfaces import Clock
from controlplane.config.models import ModelSection
from controlplane.config.rollout.section import RolloutsSection
from controlplane.errors import Conflict, NotFound, Refused, Unreadable
from controlplane.rollout.announce import Announcer
from controlplane.rollout.findings import WorkKind
from controlplane.rollout.model import Phase, Plan, Rollout, RolloutKind
from controlplane.rollout.planning import plan as planning
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.planning.planner import Planner
from controlplane.rollout.reporting.reader import RolloutReader
from controlplane.rollout.steering import wishing
from controlplane.rollout.steering.again import again
from controlplane.rollout.stored import records
from controlplane.rollout.verification import Verification
from controlplane.rollout.wishes import Wish
from controlplane.rollout.words.sentences import because
from controlplane.rollout.workers import needed_works
from controlplane.store.database import Database
from controlplane.store.rollout_rows.quarantines import Quarantine
from controlplane.store.rollout_rows.records import RolloutRecord
from controlplane.store.rollout_rows.wishes import WishRecord
from controlplane.traffic.driver import Driver

log = logging.getLogger(__name__)

NO_OVERRIDES = Overrides()
_VERB = {RolloutKind.PROMOTE: "promote", RolloutKind.ROLLBACK: "roll back"}


class RolloutService(RolloutReader):
    """Plans, starts, steers, rolls back and shows rollouts. Every method is safe to repeat."""

    def __init__(
        self,
        db: Database,
        models: Mapping[str, ModelSection],
        drivers: Mapping[str, Driver],
        clock: Clock,
        *,
        observe_only: bool = False,
        verifications: Mapping[str, Verification] | None = None,
        planner: Planner | None = None,
        workers: Collection[WorkKind] = frozenset(WorkKind),
        news: Callable[[], None] = lambda: None,
    ) -> None:
        """`drivers` holds one driver for each model that can be switched. Keys of all mappings are model names.

        `workers` are the kinds of work that the engine can do. `news` is called, on the event loop, when a request was
        recorded.
        """
        super().__init__(db, models, drivers, clock, observe_only=observe_only)
        self._announcer, self._news, self._workers = Announcer(), news, frozenset(workers)
        self._planner = planner or Planner(self._log, clock)
        self._planner.update(self._models, self._drivers, dict(verifications or {}))

    def update(
        self,
        models: Mapping[str, ModelSection],
        drivers: Mapping[str, Driver],
        verifications: Mapping[str, Verification] | None = None,
        announcer: Announcer | None = None,
        shared: RolloutsSection | None = None,
    ) -> None:
        """Replace the configuration after a reload. `shared` is `rollouts:` of fleet.yaml."""
        self._models, self._drivers = dict(models), dict(drivers)
        self._announcer = announcer or self._announcer
        self._planner.update(self._models, self._drivers, dict(verifications or {}), shared)

    async def plan(
        self,
        model: str,
        version: str,
        strategy: str = "",
        *,
        overrides: Overrides = NO_OVERRIDES,
        actor: str = "",
        role: str = "operator",
    ) -> Plan:
        """Return the plan of `start`, and change nothing. Raises NotFound, and Refused with every reason."""
        request = planning.Request(model, version, RolloutKind.PROMOTE, strategy, overrides, actor, role)
        return self._workable(await self._planner.dry_run(request, await self.quarantines()))

    async def plan_rollback(self, model: str, to: str | None = None, *, quarantine: bool = True) -> Plan:
        """Return the plan of `rollback` when no rollout is running. Raises NotFound and Refused."""
        target = await self._target(model, to)
        request = planning.Request(model, target, RolloutKind.ROLLBACK, quarantine=quarantine)
        return await self._planner.dry_run(request, await self.quarantines())

    async def start(
        self,
        model: str,
        version: str,
        strategy: str = "",
        *,
        overrides: Overrides = NO_OVERRIDES,
        actor: str,
        role: str = "operator",
        idempotency_key: str | None = None,
    ) -> Rollout:
        """Record a rollout for the engine. The same idempotency key returns the same rollout again.

        Raises NotFound for an unknown model, Refused when the plan is refused (nothing has moved), and Conflict when
        another rollout was started meanwhile or the key was used for another request.
        """
        request = planning.Request(model, version, RolloutKind.PROMOTE, strategy, overrides, actor, role)
        return await self._start(request, idempotency_key)

    async def retry(
        self, rollout_id: str, *, actor: str, role: str = "operator", idempotency_key: str | None = None
    ) -> Rollout:
        """Start the request of a rollout that has ended without success again, as a new rollout.

        Raises NotFound, Unreadable, Conflict for a rollout that is running or has succeeded, and Refused as `start`.
        """
        record = await asyncio.to_thread(self._log.get, rollout_id)
        request = again(records.from_record(record), actor, role)
        return await self._start(request, idempotency_key)

    async def rollback(
        self,
        model: str,
        to: str | None = None,
        *,
        actor: str,
        role: str = "operator",
        reason: str = "",
        quarantine: bool = True,
        idempotency_key: str | None = None,
    ) -> Rollout:
        """Roll the running promotion back, or start a rollout to the previous stable version, or to version `to`.

        A rollback that is running already is returned as it is. Its end puts the version that it leaves in quarantine,
        unless `quarantine` is off. A version from which a running promotion goes back is always put there.

        Raises NotFound, Refused when there is no previous version, and Conflict when another version is wanted than
        the running rollout goes back to, or when it is just ending.
        """
        planning.known(model, self._models)
        repeated = await self._repeated(idempotency_key, model)
        if repeated is not None:
            return repeated
        running = await self._active(model)
        if running is None:
            target = await self._target(model, to)
            request = planning.Request(
                model, target, RolloutKind.ROLLBACK, actor=actor, role=role, reason=reason, quarantine=quarantine
            )
            return await self._start(request, idempotency_key)
        self._refuse_observe_only()
        promotes = running.plan.kind is RolloutKind.PROMOTE
        back_to = running.plan.from_version if promotes else running.plan.to_version
        if to not in (None, back_to):
            raise Conflict(
                f"rollout {running.id} of {model} is running and would go back to {back_to}, not to {to}; abort it "
                f"(`cp rollouts abort {running.id}`), then roll back to {to}"
            )
        _refuse_ending(running)
        if not promotes:
            return running  # a repeated request: rolling a rollback back would bring the bad version back
        if not quarantine:
            raise Conflict(
                f"rollout {running.id} of {model} is running, and a version from which a promotion goes back is always "
                "put in quarantine; leave out `--no-quarantine`"
            )
        return await self._turn_back(running.id, because(f"Rollback by {actor}", reason), actor, "rollout.rollback")

    async def abort(self, rollout_id: str, *, actor: str, reason: str = "") -> Rollout:
        """Roll a running rollout back. Raises NotFound, and Conflict when it has finished or already switched."""
        self._refuse_observe_only()
        rollout = records.from_record(await asyncio.to_thread(self._log.get, rollout_id))
        if rollout.switched and not rollout.finished:
            raise Conflict(
                f"rollout {rollout_id} has switched {rollout.model} to {rollout.plan.to_version} already and is "
                f"{rollout.phase}; `cp rollback {rollout.model}` goes back"
            )
        _refuse_ending(rollout)
        return await self._turn_back(rollout_id, because(f"Aborted by {actor}", reason), actor, "rollout.abort")

    async def pause(self, rollout_id: str, *, actor: str, role: str = "operator", reason: str = "") -> Rollout:
        """Stop a running rollout before its next step. Raises NotFound, and Conflict in a state without a next step."""
        return await self._wish(rollout_id, wishing.pause, actor, role, reason)

    async def resume(self, rollout_id: str, *, actor: str, role: str = "operator", reason: str = "") -> Rollout:
        """End a pause. Raises NotFound, and Conflict when the rollout waits for no operator."""
        return await self._wish(rollout_id, wishing.resume, actor, role, reason)

    async def approve(
        self, rollout_id: str, *, actor: str, role: str = "operator", reason: str = "", only: int | None = None
    ) -> Rollout:
        """Approve the step that a rollout waits for. `only` is the index of the step that is meant.

        Raises NotFound, Conflict when it waits for no approval or is not at the step that is meant, and Forbidden for a
        person who may not approve.
        """
        return await self._wish(rollout_id, partial(wishing.approve, only=only), actor, role, reason)

    async def full(self, rollout_id: str, *, actor: str, role: str = "operator", reason: str = "") -> Rollout:
        """Give the candidate every request at once. Raises NotFound, and Conflict when no share is ahead."""
        return await self._wish(rollout_id, wishing.full, actor, role, reason)

    async def lift(
        self, model: str, version: str, *, actor: str, role: str = "operator", reason: str = ""
    ) -> Quarantine:
        """Lift the quarantine of a version. Raises NotFound when the version is in no quarantine."""
        planning.known(model, self._models)
        self._refuse_observe_only()
        lifted = await asyncio.to_thread(self._log.lift, model, version, actor, reason, self._clock.now())
        if lifted is None:
            raise NotFound(f"{version} of {model} is in no quarantine; `cp quarantine` names the versions")
        log.info("quarantine of %s of %s: lifted by %s: %s", version, model, actor, reason)
        return lifted

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

    async def _target(self, model: str, to: str | None) -> str:
        """Return the target version of a rollback. Raises NotFound and Refused."""
        status = await self.model(model)
        return to or planning.rollback_target(model, status.stable, status.previous)

    async def _wish(
        self,
        rollout_id: str,
        make: Callable[[Rollout, str, str, str, float], Wish | None],
        actor: str,
        role: str,
        reason: str,
    ) -> Rollout:
        """Store a wish, if it is possible now. The engine carries it out."""
        self._refuse_observe_only()

        def wish(record: RolloutRecord) -> WishRecord | None:
            made = make(records.from_record(record), actor, role, reason, self._clock.now())
            if made is None:
                return None
            return WishRecord(made.verb.value, made.actor, made.role, made.at, made.step, made.reason, made.ends)

        stored = await asyncio.to_thread(self._log.wish, rollout_id, wish)
        self._news()
        return records.from_record(stored)

    def _workable(self, plan: Plan) -> Plan:
        """Return the plan. Raises Refused when it needs a worker that this control plane does not have."""
        if lacking := needed_works(plan) - self._workers:
            names = ", ".join(sorted(lacking))
            raise Refused(f"this control plane cannot do {names}, which the options of {plan.model} ask for")
        return plan

    async def _start(self, request: planning.Request, idempotency_key: str | None) -> Rollout:
        repeated = await self._repeated(idempotency_key, request.fingerprint())
        if repeated is not None:
            return repeated
        try:
            planned = self._planner.plan(request, await self.quarantines(), observe_only=self.observe_only)
            plan = self._workable(await planned)
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
            sentence=because(f"{request.actor} asked to {switch}", request.reason),
            created_by=request.actor,
            created_at=now,
            updated_at=now,
            phase_at=now,
            progress_at=now,
            notes=plan.notes,
            previous=previous,
            idempotency_key=idempotency_key,
            request=request.fingerprint(),
        )
        try:
            messages = self._announcer.messages(None, rollout, now)
            await asyncio.to_thread(self._log.start, records.to_record(rollout), messages, plan.options.notes)
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

    def _refuse_observe_only(self) -> None:
        if self.observe_only:
            raise Refused(planning.OBSERVES)


def _refuse_ending(rollout: Rollout) -> None:
    """Raise Conflict for a rollout that did not succeed and only calls its last hooks: it is back already."""
    if rollout.ending not in (None, Phase.SUCCEEDED):
        raise Conflict(
            f"rollout {rollout.id} of {rollout.model} is just ending ({rollout.ending}) and calls its last hooks; "
            "try again in a moment"
        )
