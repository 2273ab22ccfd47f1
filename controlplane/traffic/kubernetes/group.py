"""A group of KServe LLMInferenceServices as a split: each version is an object with a weight of its own. Pure.

Two weights are two writes. The larger one comes first: in between, both versions have requests, and none has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.traffic.kubernetes.cluster import MANAGER
from controlplane.traffic.kubernetes.resource import (
    Json,
    Resource,
    condition_at,
    listed_at,
    number_at,
    reason_of,
    text_at,
)
from controlplane.traffic.kubernetes.splitting import Setup, States, Unfit, locked, warnings
from controlplane.traffic.proxies.shares import near, readable_numbers, shares_of

LEAST_SHARE = 0.0001
"""Smallest share above 0: weights with the sum 10,000. KServe's CRD takes any number from 0."""


class GroupSplit:
    """The members of a routing group: one LLMInferenceService for each version."""

    weights = True

    def __init__(self, members: Mapping[str, Resource]) -> None:
        self._members = dict(members)
        self.resources: Sequence[Resource] = tuple(members.values())

    def shares(self, states: States) -> dict[str, float]:
        """Return the share of each version by the weights of its members. Raises Unfit."""
        self._group(states)
        if unset := [member for member in self._present(states).values() if self._weight(states[member]) is None]:
            raise Unfit(f"{unset[0]} has no weight; set its spec.router.route.weight, to 0 for no requests")
        return self._shares(states)

    def pending(self, states: States) -> str:
        """Return the first member whose route does not hold its weight yet."""
        faults = (self._member_fault(member, states[member]) for member in self._present(states).values())
        return next(filter(None, faults), "")

    def changes(self, states: States, shares: Mapping[str, float]) -> list[tuple[Resource, Json]]:
        """Return a patch for each member whose weight differs, the raised ones first. Raises Unfit."""
        self._group(states)
        members = self._present(states)
        if absent := [self._members[version] for version, share in shares.items() if share and version not in members]:
            raise Unfit(f"{absent[0]} does not exist, so it cannot get requests; create it with weight: 0")
        unset = any(self._weight(states[member]) is None for member in members.values())
        if not unset and near(self._shares(states), shares):
            return []
        numbers = readable_numbers(shares)
        found: list[tuple[float, Resource, Json]] = []
        for version, member in members.items():
            before, wanted = self._weight(states[member]), numbers.get(version, 0)
            if before == wanted:
                continue
            patch = locked(states[member], {"router": {"route": {"weight": wanted}}})
            found.append(((before or 0) - wanted, member, patch))
        return [(member, patch) for _, member, patch in sorted(found, key=lambda one: one[0])]

    def setup(self, states: States) -> Setup:
        """Check that all members are of one group, and have a weight."""
        try:
            self.shares(states)
        except Unfit as error:
            return Setup((str(error),))
        missing = [
            f"{member} does not exist; create it with weight: 0"
            for member in self._members.values()
            if member not in states
        ]
        if missing:
            return Setup(tuple(missing))
        between = "two weights are two writes, so for a moment the shares are between the old and the new ones"
        known = [
            warning
            for member in self._members.values()
            for warning in warnings(member, states[member], MANAGER, "router", "route", "weight")
        ]
        return Setup((), (between, *known), least_share=LEAST_SHARE)

    def _shares(self, states: States) -> dict[str, float]:
        return shares_of({v: self._weight(states[member]) or 0 for v, member in self._present(states).items()})

    def _present(self, states: States) -> dict[str, Resource]:
        """Return the members that exist, by version. A missing one keeps no order from the others."""
        return {version: member for version, member in self._members.items() if member in states}

    def _group(self, states: States) -> str:
        members = self._present(states).values()
        groups = {text_at(states[member], "spec", "router", "route", "group") for member in members}
        names = ", ".join(member.name for member in self._members.values())
        if not members:
            raise Unfit(f"none of the LLMInferenceServices {names} exists; create them in one routing group")
        if len(groups) != 1 or "" in groups:
            raise Unfit(f"{names} are not of one routing group; set spec.router.route.group of each to one name")
        return groups.pop()

    def _weight(self, found: Json) -> float | None:
        return number_at(found, "spec", "router", "route", "weight")

    def _member_fault(self, member: Resource, found: Json) -> str:
        if (degraded := condition_at(found, "GroupDegraded", "status")).get("status") == "True":
            return f"the group of {member} is degraded: {reason_of(degraded)}"
        for kind in ("HTTPRoutesReady", "GroupReady"):
            said = condition_at(found, kind, "status")
            if said.get("status") != "True":
                return f"{member} is not {kind}: {reason_of(said)}"
        listed = {text_at(m, "name"): m.get("weight") for m in listed_at(found, "status", "router", "group", "members")}
        if listed.get(member.name) != self._weight(found):
            return f"the group's route has not taken the weight of {member}"
        return ""
