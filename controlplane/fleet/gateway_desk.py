"""The control plane's side of gateways: it takes their reports, divides shared limits, and lists them for people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from alerts.interfaces import Clock
from controlplane.config.model import Fleet
from controlplane.fleet.desired import DesiredFeed
from controlplane.fleet.gateways import GatewayView, gateway_attention, gateway_views, models_behind
from controlplane.fleet.views import AttentionView
from controlplane.gateway.desired.document import LimitSpec
from controlplane.store.assignments import AssignmentStore
from controlplane.store.database import Database
from controlplane.store.gateways import Gateway, GatewayStore, Report
from controlplane.traffic.gateway.driver import one_name

log = logging.getLogger(__name__)

SHARING_S = 600.0
"""Seconds for which a silent gateway keeps its shares of limits: it may serve without the control plane. Chosen."""
Divide = Callable[[Mapping[str, Mapping[str, float]], Mapping[str, LimitSpec]], Mapping[str, Mapping[str, float]]]
"""Returns the shares of each gateway by limit id, from the gateways' demands and all limits by id."""


class Answer(NamedTuple):
    """The answer to a report."""

    shares: Mapping[str, float]
    """The gateway's shares of limits, by limit id. {}: every limit is wholly its own."""
    spent: Mapping[str, float]
    """Amounts that the gateway had spent before it lost its disk, by the budget's id."""


class GatewayDesk:
    """Serves gateways and people. Methods may raise Unavailable."""

    def __init__(
        self, db: Database, config: Callable[[], Fleet], feed: DesiredFeed, clock: Clock, divide: Divide
    ) -> None:
        self._config, self.feed, self._clock, self._divide = config, feed, clock, divide
        self._gateways, self._assignments = GatewayStore(db), AssignmentStore(db)
        self._shared: set[str] = set()

    async def report(self, report: Report, *, leaving: bool) -> Answer:
        """Store a report, and return the answer."""
        limits = await self.feed.limits()
        return await asyncio.to_thread(self._report, report, leaving, limits)

    def views(self) -> tuple[GatewayView, ...]:
        """Return all gateways by name. Blocking."""
        return gateway_views(self._gateways.all(), self._assignments.all())

    def attention(self) -> Sequence[AttentionView]:
        """Return what needs attention: silent gateways, and assignments that are not applied. Blocking."""
        gateways = self._gateways.all()
        return gateway_attention(self._config(), gateways, self._assignments.all(), self._clock.now())

    def behind(self) -> Mapping[str, str]:
        """Return, for each model on driver gateway, why its weights are not applied: "" when they are. Blocking."""
        return models_behind(self._config(), self._gateways.all(), self._assignments.all(), self._clock.now())

    def _report(self, report: Report, leaving: bool, limits: Mapping[str, LimitSpec]) -> Answer:
        owed = self._gateways.report(report, leaving=leaving)
        gateways = self._gateways.all()
        self._tell_shared(gateways)
        sharing = [g for g in gateways if not g.has_left and g.age_s <= SHARING_S]
        demands = {g.report.name: {**g.report.demand, **g.report.owed} for g in sharing}
        return Answer(self._divide(demands, limits).get(report.name, {}), owed)

    def _tell_shared(self, gateways: Sequence[Gateway]) -> None:
        """Log each name when several processes begin to share it, and when they end to."""
        now = {g.report.name: g.processes for g in gateways if g.processes > 1}
        for name in now.keys() - self._shared:
            log.error("%s", one_name(name, now[name]))
        for name in self._shared - now.keys():
            log.info("gateway %s is one process again", name)
        self._shared = set(now)
