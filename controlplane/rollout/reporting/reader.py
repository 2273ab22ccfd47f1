"""Rollouts and models as they are stored: what the API, the console and the CLI show."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alerts.interfaces import Clock
from controlplane.config.models import ModelSection
from controlplane.errors import Unreadable
from controlplane.rollout.attention import Attention, Need, attention, mended
from controlplane.rollout.findings import WorkState
from controlplane.rollout.model import Rollout
from controlplane.rollout.planning import plan as planning
from controlplane.rollout.running import kept
from controlplane.rollout.stored import records
from controlplane.rollout.stored.observations import observation_from_json
from controlplane.rollout.stored.recorded import RecordedRollout, RolloutEvent
from controlplane.store.database import Database
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.quarantines import Quarantine
from controlplane.store.rollout_rows.records import ModelRecord, RolloutRecord
from controlplane.traffic.driver import Driver, TrafficObservation


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


class RolloutReader:
    """Reads rollouts and models. It asks no engine."""

    def __init__(
        self,
        db: Database,
        models: Mapping[str, ModelSection],
        drivers: Mapping[str, Driver],
        clock: Clock,
        *,
        observe_only: bool = False,
    ) -> None:
        """`drivers` holds one driver for each model that can be switched. Keys of all mappings are model names."""
        self._log, self._unread = RolloutLog(db), db.unread
        self._models, self._drivers = dict(models), dict(drivers)
        self._clock, self.observe_only = clock, observe_only

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
        section = planning.known(name, self._models)  # before the reading: a reload may take it away meanwhile
        record, active = await asyncio.to_thread(lambda: (self._log.model(name), self._log.active()))
        return self._status(section, record, _first_of_each_model(active).get(name))

    async def models(self) -> tuple[ModelStatus, ...]:
        """Return every model of fleet.yaml as last observed, in the order of fleet.yaml."""
        sections = tuple(self._models.values())
        known, active = await asyncio.to_thread(lambda: (self._log.models(), self._log.active()))
        running = _first_of_each_model(active)
        return tuple(self._status(each, known.get(each.name), running.get(each.name)) for each in sections)

    def _status(self, section: ModelSection, record: ModelRecord | None, active: RolloutRecord | None) -> ModelStatus:
        name = section.name
        try:
            running, free = None if active is None else records.from_record(active), True
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

    def running(self) -> tuple[Rollout, ...]:
        """Return the rollouts that have not ended, at most one a model. Blocking. Raises Unavailable."""
        newest, _ = records.readable(self._log.newest())
        return tuple(rollout for rollout in newest if not rollout.finished)

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

    async def findings(self, rollout_id: str, limit: int = 200) -> Sequence[WorkState]:
        """Return the newest findings of a rollout, oldest first. Unreadable ones are left out. Raises NotFound."""
        return kept.readable(await asyncio.to_thread(self._log.findings, rollout_id, limit))

    async def quarantines(self, model: str | None = None) -> Sequence[Quarantine]:
        """Return the versions in quarantine, newest first, of all models or of `model`. Raises NotFound."""
        if model is not None:
            planning.known(model, self._models)
        return (await asyncio.to_thread(self._log.quarantines, model))[::-1]

    async def _active(self, model: str) -> Rollout | None:
        active = _first_of_each_model(await asyncio.to_thread(self._log.active)).get(model)
        return None if active is None else records.from_record(active)


def _first_of_each_model(active: Sequence[RolloutRecord]) -> dict[str, RolloutRecord]:
    return {record.model: record for record in reversed(active)}


def _shown(record: RolloutRecord) -> Rollout | None:
    try:
        return records.from_record(record)
    except Unreadable as fault:
        return records.outline(record, record.sentence if record.finished_at is not None else str(fault))
