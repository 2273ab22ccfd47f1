"""The running rollouts and the models' states in the database, read with as little work as a tick needs."""

from __future__ import annotations

import logging

from controlplane.rollout.copying import replace
from controlplane.rollout.model import Rollout
from controlplane.rollout.reporting.progress import EARLIER, Past, durations
from controlplane.rollout.stored import records
from controlplane.rollout.stored.observations import observation_to_json
from controlplane.store.lease import Lease
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.records import Stamp
from controlplane.traffic.driver import TrafficObservation

log = logging.getLogger(__name__)


class StoredRollouts:
    """The running rollouts. One that nobody changed since the last tick is not read and parsed again."""

    def __init__(self, rollouts: RolloutLog) -> None:
        self._log = rollouts
        self._known: dict[str, tuple[Stamp, Rollout]] = {}
        self._unreadable: frozenset[str] = frozenset()
        """Faults of stored rollouts that were logged: each is logged once."""

    def read(self) -> dict[str, Rollout]:
        """Return the running rollouts by model. Blocking. An unreadable one stands still and delays no other model."""
        stamps = self._log.stamps()
        stale = [id_ for id_, stamp in stamps.items() if id_ not in self._known or self._known[id_][0] != stamp]
        found, others = records.readable(self._log.running(stale) if stale else ())
        sentences = [str(other.fault) for other in others]
        for sentence in sentences:
            if sentence not in self._unreadable:
                log.error("%s; model and engines stay as they are", sentence)
        self._unreadable = frozenset(sentences)
        fresh = {rollout.id: (stamps[rollout.id], rollout) for rollout in found if rollout.id in stamps}
        known = {id_: self._known[id_] for id_ in stamps if id_ in self._known and id_ not in stale}
        self._known = {**known, **fresh}
        return {rollout.model: rollout for _, rollout in self._known.values()}

    def past(self, model: str) -> Past:
        """Return the durations of earlier steps of a model. Blocking."""
        return durations(records.readable(self._log.recent(model, EARLIER))[0])

    def saved(self, rollout: Rollout) -> None:
        """Note what was stored of a rollout that was read before."""
        known = self._known.get(rollout.id)
        if known is None:
            return
        works = tuple(records.without_carry(state) for state in rollout.works)
        stamp = known[0]._replace(updated_at=rollout.updated_at)
        self._known[rollout.id] = stamp, replace(rollout, works=works)


class StoredObservations:
    """The observations of a tick, and those that this process has stored. One that is equal only gets a new time."""

    def __init__(self, rollouts: RolloutLog) -> None:
        self._log = rollouts
        self._known: dict[str, tuple[TrafficObservation, str]] = {}
        self._fresh: dict[str, tuple[TrafficObservation, str]] = {}
        self._lease: Lease | None = None

    def note(self, model: str, seen: TrafficObservation, drift: str) -> None:
        """Note the observation of a model in this tick. Counts of requests are left out: they always change."""
        backends = tuple(replace(backend, requests=None, open=None) for backend in seen.backends)
        self._fresh[model] = replace(seen, backends=backends), drift

    def store(self, now: float, lease: Lease | None) -> None:
        """Store the observations of this tick in one write. Blocking. Raises LeaseLost."""
        if lease is not self._lease:
            # Another process may have stored other observations while it held the lease.
            self._lease, self._known = lease, {}
        fresh, self._fresh = self._fresh, {}
        damaged = self._log.damaged_models()
        changed = {m: found for m, found in fresh.items() if self._known.get(m) != found or m in damaged}
        same = [model for model in fresh if model not in changed]
        documents = {model: (observation_to_json(seen), drift) for model, (seen, drift) in changed.items()}
        if fresh:
            self._log.observed_all(documents, same, now, lease)
        self._known.update(changed)
