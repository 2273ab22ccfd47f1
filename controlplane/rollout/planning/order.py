"""Conditions for a start: the order of models, rollouts that run, and quarantined versions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.config.models import ModelSection
from controlplane.rollout.model import Phase


class Quarantined(Protocol):
    """A version in quarantine. controlplane.store.rollout_rows.quarantines.Quarantine is one."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def version(self) -> str:
        """The version that is not promoted."""
        ...

    @property
    def rollout_id(self) -> str:
        """The rollout that went back from the version."""
        ...

    @property
    def reason(self) -> str:
        """The reason of that rollback."""
        ...


@dataclass(frozen=True)
class RolloutBrief:
    """The columns of a rollout on which the order depends. They are known also where its state is unreadable."""

    id: str
    model: str
    to_version: str
    kind: str
    phase: str
    finished: bool


def servers(section: ModelSection) -> frozenset[str]:
    """Return the addresses of all servers of a model, of every version."""
    own = [backend for version in section.versions.values() for backend in version.backends]
    return frozenset(backend.url.rstrip("/") for backend in (*section.traffic.backends, *own))


def running_reasons(model: str, sections: Mapping[str, ModelSection], running: Sequence[RolloutBrief]) -> list[str]:
    """Return a reason for each running rollout of the model, or of a model that shares a server with it."""
    mine, reasons = servers(sections[model]), []
    for one in running:
        cure = f"wait for it, or `cp rollouts abort {one.id}`"
        if one.model == model:
            reasons.append(f"rollout {one.id} of {model} to {one.to_version} is running ({one.phase}); {cure}")
        elif one.model in sections and (both := mine & servers(sections[one.model])):
            what = f"rollout {one.id} of {one.model} is running on {sorted(both)[0]}, which serves {model} too"
            reasons.append(f"{what}: both would load there; {cure}")
    return reasons


def order_reasons(
    after: Sequence[str], running: Sequence[RolloutBrief], latest: Mapping[str, RolloutBrief]
) -> Iterator[str]:
    """Yield a reason for each model of `after:` that is rolling, or whose last promotion did not succeed.

    `latest` holds the newest finished promotion of each model. A model without one is at its first version.
    """
    for model in after:
        rolling = next((one for one in running if one.model == model), None)
        last = latest.get(model)
        if rolling is not None:
            yield f"{model} comes first (rollout.after), and rollout {rolling.id} of it is running ({rolling.phase})"
        elif last is not None and last.phase != Phase.SUCCEEDED:
            yield (
                f"{model} comes first (rollout.after), and its last promotion, {last.id} to {last.to_version}, ended "
                f"as {last.phase}; promote {model} again"
            )


def quarantine_reasons(model: str, version: str, quarantines: Sequence[Quarantined]) -> Iterator[str]:
    """Yield the reason against a version in quarantine."""
    for one in quarantines:
        if (one.model, one.version) == (model, version):
            yield (
                f"{version} of {model} has been in quarantine since rollout {one.rollout_id} went back from it "
                f"({one.reason}); lift it with `cp quarantine lift {model} {version} --reason TEXT`"
            )
