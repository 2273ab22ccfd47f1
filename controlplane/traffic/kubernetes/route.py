"""A route of the Gateway API as a split: the weights of its backends, all in one object. Pure.

docs/adr/0020-kubernetes.md has the facts: `spec.rules` is one value to a merge patch, so the whole list is written
under the resourceVersion from which it was read, and nobody's change is lost.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from controlplane.traffic.kubernetes.cluster import MANAGER
from controlplane.traffic.kubernetes.resource import (
    Json,
    Resource,
    condition_at,
    listed_at,
    reason_of,
    text_at,
    value_at,
)
from controlplane.traffic.kubernetes.splitting import Setup, States, Unfit, locked, warnings
from controlplane.traffic.proxies.shares import near, readable_numbers, shares_of

LEAST_SHARE = 0.0001
"""Smallest share above 0: weights with the sum 10,000. The API takes weights up to 1,000,000."""
DEFAULT_WEIGHT = 1
"""Weight of a backend that has none (gateway-api, apis/v1/shared_types.go)."""


class RouteSplit:
    """The weights of an HTTPRoute. `backends` maps a version to the name of its Service or InferencePool there."""

    weights = True

    def __init__(self, route: Resource, backends: Mapping[str, str], kind: str, rule: str | None = None) -> None:
        """`kind` is the kind of the backends. `rule` names the rule of the route. None: every rule with them counts."""
        self._route, self._kind, self._rule = route, kind, rule
        self._backends, self._versions = dict(backends), {name: version for version, name in backends.items()}
        self.resources: Sequence[Resource] = (route,)

    def shares(self, states: States) -> dict[str, float]:
        """Return the share of each version in the first rule. Requests to other backends of it count too."""
        return self._rule_shares(self._rules(states[self._route])[0])

    def pending(self, states: States) -> str:
        """Return what the gateways have not said about this generation of the route."""
        found = states[self._route]
        first, *others = [self._rule_shares(rule) for rule in self._rules(found)]
        if any(shares != first for shares in others):
            return f"rules of {self._route} have different weights; name one by rule:, or wait for the next order"
        parents = listed_at(found, "spec", "parentRefs")
        statuses = listed_at(found, "status", "parents")
        faults = [self._parent_fault(parent, statuses, _generation(found)) for parent in parents]
        if not parents:
            return f"{self._route} has no parentRefs, so no gateway serves it"
        return "; ".join(filter(None, faults))

    def changes(self, states: States, shares: Mapping[str, float]) -> list[tuple[Resource, Json]]:
        """Return one patch of all rules, under the resourceVersion of the state. Rules with these shares stay.

        A backend that a rule names twice gets its version's share where it comes first, and no request at the others.
        """
        found = states[self._route]
        rules = copy.deepcopy(value_at(found, "spec", "rules"))
        numbers = readable_numbers(shares)
        for rule in self._rules({"spec": {"rules": rules}}):
            if near(self._rule_shares(rule), shares):
                continue
            given: set[str] = set()
            for ref in listed_at(rule, "backendRefs"):
                if (version := self._version(ref)) is not None:
                    ref["weight"] = 0 if version in given else numbers.get(version, 0)
                    given.add(version)
        if rules == value_at(found, "spec", "rules"):
            return []
        return [(self._route, locked(found, {"rules": rules}))]

    def setup(self, states: States) -> Setup:
        """Check that each rule has every version and nothing else, and who else writes the route."""
        found = states[self._route]
        reasons = []
        try:
            rules = self._rules(found)
        except Unfit as error:
            return Setup((str(error),))
        for rule in rules:
            strange = [
                text_at(ref, "name")
                for ref in listed_at(rule, "backendRefs")
                if self._version(ref) is None and _weight(ref)
            ]
            if strange:
                reasons.append(
                    f"{', '.join(strange)} in {self._route} gets requests and is no version; take it out of the rule's "
                    "backendRefs, or set its weight to 0"
                )
        drawn = "the gateway draws the version of each request by chance or in turns, as its maker decided"
        known = (*warnings(self._route, found, MANAGER, "rules"), drawn)
        return Setup(tuple(reasons), known, least_share=LEAST_SHARE)

    def _rules(self, found: Json) -> list[Json]:
        """Return the rules with the versions' backends. Raises Unfit where one lacks a version's."""
        rules = listed_at(found, "spec", "rules")
        if self._rule is not None:
            rules = [rule for rule in rules if rule.get("name") == self._rule]
            if not rules:
                raise Unfit(f"{self._route} has no rule with the name {self._rule}")
        mine = [rule for rule in rules if any(map(self._version, listed_at(rule, "backendRefs")))]
        names = ", ".join(self._backends.values())
        if not mine:
            raise Unfit(f"no rule of {self._route} has the {self._kind} {names} in its backendRefs")
        for rule in mine:
            has = {self._version(ref) for ref in listed_at(rule, "backendRefs")}
            if missing := [name for version, name in self._backends.items() if version not in has]:
                raise Unfit(
                    f"a rule of {self._route} lacks the {self._kind} {missing[0]}; add it to backendRefs with weight: 0"
                )
        return mine

    def _rule_shares(self, rule: Json) -> dict[str, float]:
        total: dict[str, float] = {}
        for ref in listed_at(rule, "backendRefs"):
            name = self._version(ref) or f"{text_at(ref, 'kind') or 'Service'} {text_at(ref, 'name')}"
            total[name] = total.get(name, 0.0) + _weight(ref)
        return shares_of(total)

    def _version(self, ref: Json) -> str | None:
        """Return the version of a backend. None: it is another one."""
        if (text_at(ref, "kind") or "Service") != self._kind:
            return None
        if text_at(ref, "namespace") not in ("", self._route.namespace):
            return None
        return self._versions.get(text_at(ref, "name"))

    def _parent_fault(self, parent: Json, statuses: Sequence[Json], generation: int) -> str:
        """Return what a parent has not said yet. All its controllers must have said it."""
        place = f"gateway {text_at(parent, 'name')}"
        mine = [s for s in statuses if _same_parent(value_at(s, "parentRef"), parent, self._route.namespace)]
        if not mine:
            return f"{place} has not taken {self._route}"
        for status in mine:
            for wanted in ("Accepted", "ResolvedRefs"):
                said = condition_at(status, wanted)
                if said.get("status") != "True":
                    return f"{place} has not {wanted} for {self._route}: {reason_of(said)}"
                seen = said.get("observedGeneration")
                if not isinstance(seen, int) or seen < generation:
                    return f"{place} has not seen the last change of {self._route}"
        return ""


def _weight(ref: Json) -> float:
    value = ref.get("weight")
    if value is None:
        return DEFAULT_WEIGHT
    return value if isinstance(value, int | float) else 0


def _generation(found: Json) -> int:
    value = value_at(found, "metadata", "generation")
    return value if isinstance(value, int) else 0


_PARENT = (("group", "gateway.networking.k8s.io"), ("kind", "Gateway"), ("sectionName", None), ("port", None))
"""Fields of a parentRef beside name and namespace, and their defaults."""


def _same_parent(left: object, right: Json, namespace: str) -> bool:
    """Return whether two parentRefs name the same part of the same parent. Defaults may be written or left out."""
    if not isinstance(left, dict):
        return False
    same = all(left.get(name, default) == right.get(name, default) for name, default in _PARENT)
    places = left.get("namespace", namespace), right.get("namespace", namespace)
    return same and left.get("name") == right.get("name") and places[0] == places[1]
