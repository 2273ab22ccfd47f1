"""The driver's view of gateways, from the database: assignments, and the reports of gateways."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from alerts.interfaces import Clock
from controlplane.config.model import Fleet
from controlplane.errors import Unavailable
from controlplane.fleet.gateway_desk import SHARING_S
from controlplane.fleet.gateways import seen_at
from controlplane.gateway.desired.build import Split, effective
from controlplane.store.assignments import WHOLE, AssignmentStore
from controlplane.store.database import Database
from controlplane.store.gateways import GatewayStore
from controlplane.store.lease import Lease
from controlplane.store.rollout_log import RolloutLog
from controlplane.traffic.gateway.driver import ModelTraffic


class StoredGateways:
    """Reads and sets the traffic of models behind gateways. Blocking. Raises Unavailable without a database."""

    def __init__(
        self, db: Database, config: Callable[[], Fleet], clock: Clock, changed: Callable[[], None] = lambda: None
    ) -> None:
        """Call `changed` after an assignment, so that gateways need not wait for the next look at the database."""
        self._config, self._clock, self._changed = config, clock, changed
        self._assignments, self._gateways, self._log = AssignmentStore(db), GatewayStore(db), RolloutLog(db)

    def traffic(self, model: str) -> ModelTraffic:
        """Return the traffic of a model. Raises Unavailable for a model that has just left fleet.yaml."""
        section = next((section for section in self._config().models if section.name == model), None)
        if section is None:
            raise Unavailable(f"{model} is no longer in fleet.yaml")
        assignment, stored = self._assignments.get(model), self._log.model(model)
        split = None if assignment is None else Split(assignment.generation, assignment.weights, assignment.mirror)
        weights = effective(section, split, section.stable if stored is None else stored.stable)
        gateways = self._gateways.all()
        return ModelTraffic(
            generation=0 if split is None else split.generation,
            weights={version: weight / WHOLE for version, weight in weights.items() if weight},
            live=tuple(seen_at(gateway, model) for gateway in gateways if gateway.live),
            silent=tuple(g.report.name for g in gateways if not g.live and not g.has_left and g.age_s <= SHARING_S),
            mirror={} if split is None else {version: share / WHOLE for version, share in split.mirror.items()},
        )

    def assign(
        self, model: str, weights: Mapping[str, float], mirror: Mapping[str, float], by: str, tenure: object
    ) -> None:
        """Set weights and copies, rounded to thousandths. Raises LeaseLost when the tenure is a lease that was lost."""
        assert tenure is None or isinstance(tenure, Lease)
        thousandths = {version: round(weight * WHOLE) for version, weight in weights.items()}
        largest = max(thousandths, key=thousandths.__getitem__)
        thousandths[largest] += WHOLE - sum(thousandths.values())
        copies = {version: max(1, round(share * WHOLE)) for version, share in mirror.items() if share > 0.0}
        self._assignments.assign(model, thousandths, tenure, by, self._clock.now(), copies)
        self._changed()
