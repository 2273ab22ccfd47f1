"""The seam between the driver and one kind of object that splits requests: how it is read and changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.traffic.kubernetes.resource import Json, Resource, listed_at, text_at, value_at, version_of

States = Mapping[Resource, Json]
"""The latest state of every object of a split. An object of a group that is missing has none."""


class Unfit(ValueError):
    """The objects cannot split requests between the versions. The message says why, and the cure."""


@dataclass(frozen=True)
class Setup:
    """Result of a check of the objects. Sentences are for the operator."""

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
        """Return the share of each version, 0 to 1, as the objects' specs order it. Raises Unfit.

        A status is behind its spec: an order that it already shows may have been taken back.
        """
        ...

    def pending(self, states: States) -> str:
        """Return why the order is not known to hold: what its controllers have not said yet. "": they have."""
        ...

    def changes(self, states: States, shares: Mapping[str, float]) -> list[tuple[Resource, Json]]:
        """Return the merge patches, in order, that set these shares. Empty: no write brings them nearer.

        Raises Unfit, and EngineRefused for shares that the objects cannot have.
        """
        ...

    def setup(self, states: States) -> Setup:
        """Check the objects before a rollout."""
        ...


def locked(found: Json, spec: Json) -> Json:
    """Return the merge patch that changes the spec of an object if nobody has written to it since it was read."""
    return {"metadata": {"resourceVersion": version_of(found)}, "spec": spec}


RECONCILERS = ("argocd-", "helm", "kapp", "fleetagent")
"""Beginnings of field managers that write objects again and again by client-side apply, which is an Update: Argo CD,
Helm, kapp-controller, Rancher Fleet. Flux and newer settings of Argo CD use server-side apply, which tells itself."""


def warnings(resource: Resource, found: Json, mine: str, *field: str) -> tuple[str, ...]:
    """Return a sentence for each other program that applies a field of the spec, such as ("rules",), again and again.

    Such a program sets the order back at its next turn.
    """
    others = {
        text_at(one, "manager")
        for one in listed_at(found, "metadata", "managedFields")
        if (one.get("operation") == "Apply" or text_at(one, "manager").startswith(RECONCILERS))
        and value_at(one, "fieldsV1", "f:spec", *(f"f:{name}" for name in field)) is not None
    }
    return tuple(
        f"{name} applies /spec/{'/'.join(field)} of {resource} too, and may set it back; let {name} ignore that field"
        for name in sorted(others - {mine, ""})
    )
