"""The four verbs that move traffic between versions, and what a driver says that it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from controlplane.errors import ControlPlaneError, Unavailable


class EngineRefused(ControlPlaneError):
    """The engine answered no. The message holds its own words, and the cure where one is known."""


class NotSent(Unavailable):
    """No connection was made: the engine never saw the request, so it says nothing of the engine."""


class VersionState(StrEnum):
    """What an engine says of one version on one backend. Unknown is not unavailable: the backend did not answer."""

    READY = "ready"
    LOADING = "loading"
    UNLOADING = "unloading"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Capabilities:
    """Checked when planning: a plan that a driver cannot carry out is refused, never rewritten."""

    weights: bool
    """Can split traffic by weight (canary)."""
    prewarm: bool
    """Can serve a candidate beside the stable version without giving it traffic."""
    notes: tuple[str, ...] = ()
    """What a dry run says to the operator in words about the missing ones: true of every rollout of this driver."""
    endless_load: str = ""
    """What to do about a load that never ends, where the engine cannot cancel one; "" where it can."""


@dataclass(frozen=True)
class BackendObservation:
    """One backend as it is now. `versions` maps `v1` to its state; `reason` is the engine's own words, if any."""

    url: str
    reachable: bool
    versions: dict[str, VersionState]
    reasons: dict[str, str]
    weights: Mapping[str, float]
    """The share of unversioned requests that each version gets, 0 to 1, as far as the engine lets us know."""
    error: str = ""
    """Why the backend could not be observed; empty when it was reachable."""

    @property
    def serving(self) -> str | None:
        """The version that gets every request; None where none does, or several share them."""
        return next((version for version, weight in self.weights.items() if weight == 1.0), None)

    @property
    def served(self) -> str:
        """What gets the requests, in words."""
        shares = [f"{version} {100 * weight:g}%" for version, weight in self.weights.items() if weight > 0]
        return self.serving or " and ".join(shares) or "no version"


def all_to(version: str | None) -> dict[str, float]:
    """Return the weights where one version gets every request; None: no version gets any."""
    return {} if version is None else {version: 1.0}


@dataclass(frozen=True)
class TrafficObservation:
    """A model's backends as they are now."""

    model: str
    backends: tuple[BackendObservation, ...]

    def backend(self, url: str) -> BackendObservation:
        """Return one backend; one that was not observed is unreachable, never absent."""
        for backend in self.backends:
            if backend.url == url:
                return backend
        return BackendObservation(url, False, {}, {}, {}, "it was not observed")


@dataclass(frozen=True)
class Placement:
    """Desired state of one model: which versions are loaded, in the order of preference for traffic.

    `serve` is the version that must get the traffic; `keep` are versions that stay resident beside it.
    `config` is driver-private data captured when the rollout was planned (on Triton: the model configuration).
    """

    model: str
    serve: str
    keep: tuple[str, ...]
    config: str


@dataclass(frozen=True)
class Question:
    """One request that a version is asked, by its own name and past whatever the traffic is. `body` is JSON."""

    path: str
    """The engine's word for the kind of request: on Triton `infer`, `generate` or `generate_stream`."""
    body: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    timeout_s: float = 10.0


@dataclass(frozen=True)
class Answer:
    """What became of a question. `fault` is "" for a good answer, else what was wrong, in the engine's words."""

    fault: str
    seconds: float


@dataclass(frozen=True)
class Preparation:
    """What checking a candidate yielded: `config` for placements, and what the operator should know, in words."""

    config: str
    notes: tuple[str, ...] = ()
    """Of this candidate: said with its rollout."""
    known: tuple[str, ...] = ()
    """Of the backends' set-up, and so of every rollout: said when planning."""


class Driver(Protocol):
    """Moves one model's traffic. Every verb is idempotent; what happened is learnt by `observe`, never by a reply."""

    capabilities: Capabilities

    def can_keep(self, serve: str, keep: str) -> bool:
        """Say whether `keep` can stay loaded while `serve` gets the traffic: then going back to it is instant."""
        ...

    async def observe(self) -> TrafficObservation:
        """Return the backends as they are. An unreachable backend is reported, not raised."""
        ...

    async def prepare(self, version: str) -> Preparation:
        """Check that `version` can be brought up.

        Changes nothing. Raises controlplane.errors.Refused with reasons.
        """
        ...

    async def place(self, backend: str, placement: Placement) -> None:
        """Bring one backend to the placement. A return means that the engine took the order, not that it is done.

        May take as long as the model loads. Raises EngineRefused with the engine's own reason, or Unavailable when
        no reply came: the order may have been carried out all the same.
        """
        ...

    async def ask(self, backend: str, version: str, question: Question) -> Answer:
        """Ask one version on one backend. A wrong, late, cut or missing answer is an Answer with its fault.

        Raises NotSent when the backend could not even be asked: that says nothing of the version.
        """
        ...

    async def commit(self, placement: Placement) -> Sequence[str]:
        """Make the placement survive an engine restart, where the driver can; return sentences on what was done.

        Raises EngineRefused when it cannot, with the reason and the cure.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
