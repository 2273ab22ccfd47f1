"""A KServe InferenceService as a split: `canaryTrafficPercent` for its latest revision, the rest for the other. Pure.

Somebody else applies the new model, with `canaryTrafficPercent: 0`, and KServe starts its revision beside the old one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.kubernetes.cluster import MANAGER
from controlplane.traffic.kubernetes.resource import (
    Json,
    Resource,
    condition_at,
    listed_at,
    number_at,
    reason_of,
    text_at,
    value_at,
)
from controlplane.traffic.kubernetes.splitting import Setup, States, Unfit, locked, warnings
from controlplane.traffic.proxies.shares import PRECISION

PERCENT = 100
_PREDICTOR = ("spec", "predictor")
_COMPONENT = ("status", "components", "predictor")


class CanarySplit:
    """The latest revision and the one before. `models` maps the two versions to their `storageUri`."""

    weights = True

    def __init__(self, service: Resource, models: Mapping[str, str]) -> None:
        self._service, self._models = service, dict(models)
        self.resources: Sequence[Resource] = (service,)

    def shares(self, states: States) -> dict[str, float]:
        """Return the share of each version, as canaryTrafficPercent orders it. Raises Unfit."""
        latest, before = self._versions(states)
        percent = _ordered(states[self._service])
        return {v: part / PERCENT for v, part in ((latest, percent), (before, PERCENT - percent)) if part > 0}

    def pending(self, states: States) -> str:
        """Return what KServe has not done yet with this generation."""
        found = states[self._service]
        generation, seen = value_at(found, "metadata", "generation"), value_at(found, "status", "observedGeneration")
        if generation != seen:
            return f"KServe has not seen the last change of {self._service}"
        created = text_at(found, *_COMPONENT, "latestCreatedRevision")
        ready = text_at(found, *_COMPONENT, "latestReadyRevision")
        if created != ready:
            return f"revision {created} of {self._service} is not ready; {ready} serves its share"
        said = condition_at(found, "Ready", "status")
        if said.get("status") != "True":
            return f"{self._service} is not ready: {reason_of(said)}"
        traffic = listed_at(found, *_COMPONENT, "traffic")
        if not traffic:
            return f"KServe has not told the traffic of {self._service}; without Knative it makes no canary"
        sent = sum(number_at(entry, "percent") or 0 for entry in traffic if entry.get("latestRevision") is True)
        if sent != _ordered(found):
            return f"KServe sends {sent:g}% to the latest revision of {self._service}, and not {_ordered(found):g}%"
        return ""

    def changes(self, states: States, shares: Mapping[str, float]) -> list[tuple[Resource, Json]]:
        """Return one patch of canaryTrafficPercent, under the resourceVersion of the state.

        Raises Unfit, and EngineRefused for a share that is no whole percent.
        """
        found = states[self._service]
        latest, _ = self._versions(states)
        share = shares.get(latest, 0.0)
        percent = round(share * PERCENT)
        if abs(percent / PERCENT - share) > PRECISION:
            raise EngineRefused(f"{latest} cannot get {100 * share:g}% of the requests: KServe takes whole percents")
        if _ordered(found) == percent:
            return []
        return [(self._service, locked(found, {"predictor": {"canaryTrafficPercent": percent}}))]

    def setup(self, states: States) -> Setup:
        """Check that the revision before is still there, so that both versions can serve."""
        latest, before = self._versions(states)
        found = states[self._service]
        if value_at(found, *_PREDICTOR, "canaryTrafficPercent") is None:
            return Setup(
                (
                    f"{self._service} has only {latest}: KServe keeps the revision before only under a canary. Apply "
                    f"the other version's model with canaryTrafficPercent: 0, then promote it",
                )
            )
        known = (
            f"{before} is the revision before, and stays while canaryTrafficPercent is set; take the field out of "
            "the manifest when no rollback to it is wanted any more",
        )
        others = warnings(self._service, found, MANAGER, "predictor", "canaryTrafficPercent")
        return Setup((), known + others, least_share=1 / PERCENT)

    def _versions(self, states: States) -> tuple[str, str]:
        """Return the version of the latest revision, and the other one. Raises Unfit."""
        place = (*_PREDICTOR, "model", "storageUri")
        uri = text_at(states[self._service], *place)
        latest = next((version for version, model in self._models.items() if model == uri), None)
        if latest is None:
            raise Unfit(f"{self._service} has storageUri {uri or 'of no model'}, which is of no version in models:")
        return latest, next(version for version in self._models if version != latest)


def _ordered(found: Json) -> float:
    """Return the ordered percentage of the latest revision. Without the field it gets every request."""
    percent = number_at(found, *_PREDICTOR, "canaryTrafficPercent")
    return PERCENT if percent is None else percent
