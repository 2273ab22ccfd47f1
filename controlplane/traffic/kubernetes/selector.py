"""A Service as a split: its selector names the pods of one version, so every request moves at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.kubernetes.cluster import MANAGER
from controlplane.traffic.kubernetes.resource import Json, Resource, value_at
from controlplane.traffic.kubernetes.splitting import Setup, States, Unfit, locked, warnings

WHOLE_ONLY = "requests to a Service cannot be split by weight: its selector names the pods of one version"


class SelectorSplit:
    """The selector of a Service. `labels` maps a version to the labels that only its pods have."""

    weights = False

    def __init__(self, service: Resource, labels: Mapping[str, Mapping[str, str]]) -> None:
        self._service, self._labels = service, {version: dict(own) for version, own in labels.items()}
        self.resources: Sequence[Resource] = (service,)

    def shares(self, states: States) -> dict[str, float]:
        """Return the version whose labels the selector has. Empty: it has no version's."""
        selector = self._selector(states)
        serving = [version for version, own in self._labels.items() if own.items() <= selector.items()]
        return {serving[0]: 1.0} if len(serving) == 1 else {}

    def pending(self, states: States) -> str:
        """Return "": a selector holds when the endpoints follow it, which the driver reads apart."""
        return ""

    def changes(self, states: States, shares: Mapping[str, float]) -> list[tuple[Resource, Json]]:
        """Return one patch of the selector, under the resourceVersion of the state. Labels of no version stay.

        Raises Unfit, and EngineRefused when more than one version has a share, or none.
        """
        given = [version for version, share in shares.items() if share > 0]
        if len(given) != 1:
            raise EngineRefused(WHOLE_ONLY)
        wanted, selector = self._labels[given[0]], self._selector(states)
        change: dict[str, str | None] = {
            name: None for own in self._labels.values() for name in own if name in selector and name not in wanted
        }
        change |= {name: value for name, value in wanted.items() if selector.get(name) != value}
        if not change:
            return []
        return [(self._service, locked(states[self._service], {"selector": change}))]

    def setup(self, states: States) -> Setup:
        """Check that the selector has the labels of one version."""
        if not self.shares(states):
            names = " or ".join(_listed(own) for own in self._labels.values())
            return Setup(
                (f"the selector of {self._service} has the labels of no version, or of several; expected {names}",),
                whole_only=WHOLE_ONLY,
            )
        known = warnings(self._service, states[self._service], MANAGER, "selector")
        return Setup((), known, WHOLE_ONLY)

    def _selector(self, states: States) -> dict[str, str]:
        found = value_at(states[self._service], "spec", "selector")
        if not isinstance(found, dict) or not found:
            raise Unfit(f"{self._service} has no selector, so somebody else writes its endpoints")
        return {str(name): str(value) for name, value in found.items()}


def _listed(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())
