"""Rollouts as one part: what operators ask of them, what moves them, and how a reload changes both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from alerts.interfaces import Clock
from controlplane.config.model import Fleet
from controlplane.metrics.query.queries import Queries
from controlplane.rollout.announce import Announcer
from controlplane.rollout.engine import RolloutEngine
from controlplane.rollout.evidence import EvidenceReader
from controlplane.rollout.service import RolloutService
from controlplane.rollout.verification import verifications
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.rollout_log import RolloutLog
from controlplane.traffic.driver import Driver

OBSERVE_S = 5.0
LOOK_S = 2.0
"""How often it is looked whether another process was asked to move a model; what this one is asked is seen at once."""


class Rolling:
    """Takes requests (`service`) and moves rollouts (`tick`), the latter under a lease."""

    def __init__(
        self,
        db: Database,
        querier: Queries,
        clock: Clock,
        *,
        observe_only: bool,
        news: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`news` is called when an engine or a candidate has answered and the next tick should come at once."""
        self._db, self._clock, self._monotonic = db, clock, monotonic
        self._lease: Lease | None = None
        self._observed_at = self._looked_at = -OBSERVE_S
        self._rolling, self._asked = False, 0
        self.service = RolloutService(db, {}, {}, clock, observe_only=observe_only)
        self.engine = RolloutEngine(
            db,
            {},
            {},
            lease=lambda: self._lease,
            observe_only=observe_only,
            look=EvidenceReader(querier, SqlAlertLog(db)).read,
            news=news,
        )

    def configure(self, fleet: Fleet, drivers: dict[str, Driver], receiver: str, console_url: str) -> None:
        """Take over a configuration; `receiver` is the notifier that is told of rollouts."""
        models = {model.name: model for model in fleet.models}
        announcer = Announcer(receiver, console_url)
        self.service.update(models, drivers, verifications(fleet), announcer)
        self.engine.update(models, drivers, announcer)

    async def tick(self, lease: Lease) -> None:
        """Move rollouts often; where none runs, look at the engines now and then."""
        self._lease = lease
        now, asked = self._monotonic(), self.service.asked
        if not self._rolling and asked == self._asked and now - self._looked_at < LOOK_S:
            return
        self._rolling = bool(await asyncio.to_thread(RolloutLog(self._db).active))
        # Not before: a database that could not be asked is asked again at once.
        self._looked_at, self._asked = now, asked
        if self._rolling or now - self._observed_at >= OBSERVE_S:
            self._observed_at = now
            await self.engine.tick(self._clock.now())

    async def close(self) -> None:
        """Stop waiting for replies."""
        await self.engine.close()
