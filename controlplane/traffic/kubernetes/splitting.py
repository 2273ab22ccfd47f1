"""The seam between the driver and one kind of object that splits requests: how it is read and changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.traffic.kubernetes.resource import Json, Resource

States = Mapping[Resource, Json]
"""The latest state of every object of a split."""


class Unfit(ValueError):
    """The objects cannot split requests between the versions. The message says why, and the cure."""


@dataclass(frozen=True)
class Setup:
    """Findings of a check of the objects. Sentences are for the operator."""

    reasons: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    whole_only: str = ""
    """Why only 0 and 100 % can be set; "" where other shares can be set too."""
    least_share: float = 0.0


class Split(Protocol):
    """One kind of object, or a group of them, that gives each version its share."""

    resources: Sequence[Resource]
    """Every object that is read."""
    weights: bool
    """Whether other shares than 0 and 100 % can be set."""

    def shares(self, states: States) -> dict[str, float]:
        """Return the share of each version, 0 to 1, as the objects order it. Raises Unfit."""
        ...

    def pending(self, states: States) -> str:
        """Return why the order is not known to hold: what its controllers have not said yet. "": they have."""
        ...

    def changes(self, states: States, shares: Mapping[str, float]) -> list[tuple[Resource, Json]]:
        """Return the merge patches, in order, that set these shares. Empty: they are set. Raises Unfit."""
        ...

    def setup(self, states: States) -> Setup:
        """Check the objects before a rollout."""
        ...


def writers(found: Json, mine: str, below: str) -> list[str]:
    """Return the other field managers that own a field with a name such as "f:weight" anywhere below `below`."""
    managed = found.get("metadata", {}).get("managedFields")
    others = []
    for one in managed if isinstance(managed, list) else ():
        name = one.get("manager") if isinstance(one, dict) else None
        if isinstance(name, str) and name != mine and one.get("operation") == "Apply":
            fields = one.get("fieldsV1")
            if isinstance(fields, dict) and below in fields.get("f:spec", {}):
                others.append(name)
    return sorted(set(others))
