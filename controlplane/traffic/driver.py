"""The contract of drivers: the verbs that move traffic between versions, and a driver's capabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from collectors.probe.question import Expectation
from controlplane.errors import ControlPlaneError, Unavailable


class EngineRefused(ControlPlaneError):
    """The engine refused the request. The message holds the engine's words, and the cure if it is known."""


class NotSent(Unavailable):
    """No connection was made. The engine never got the request, so this says nothing about the engine."""


class VersionState(StrEnum):
    """The state of one version on one backend. UNKNOWN: the backend did not answer. UNAVAILABLE: it is not loaded."""

    READY = "ready"
    LOADING = "loading"
    UNLOADING = "unloading"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of a driver. Planning refuses a plan that the driver cannot carry out, and never changes it."""

    weights: bool
    """Whether the driver can split traffic by weight (canary)."""
    prewarm: bool
    """Whether the driver can load a candidate beside the stable version without traffic to it."""
    notes: tuple[str, ...] = ()
    """Sentences about missing capabilities. They are true of every rollout of this driver; a dry run shows them."""
    endless_load: str = ""
    """The cure for a load that never ends; "" where the engine can cancel a load."""
    mirror: bool = False
    """Whether the driver can send copies of requests to the candidate, whose answers no client gets."""
    testers: bool = False
    """Whether a request can choose the candidate by a header, also while the candidate has no share."""
    restarts: bool = False
    """Whether a version changes only by a restart of its servers, one backend after another (rolling)."""


@dataclass(frozen=True)
class BackendObservation:
    """One backend as observed. `versions` maps a version ("v1") to its state; `reasons` holds the engine's words."""

    url: str
    reachable: bool
    versions: dict[str, VersionState]
    reasons: dict[str, str]
    weights: Mapping[str, float]
    """Share of unversioned requests that each version gets, 0 to 1, as far as the engine reports it."""
    error: str = ""
    """Why the backend could not be observed; "" when it was reachable."""
    pending: str = ""
    """Why `weights` are ordered and not yet known to hold everywhere; "" when they hold. It is unknown, not a fault."""
    requests: Mapping[str, int] | None = None
    """Requests by version since `weights` hold. None: the driver counts none."""
    open: Mapping[str, int] | None = None
    """Open requests by version. None: not known."""
    stays: tuple[str, ...] = ()
    """Versions that no placement unloads, because their servers serve nothing else."""
    holds: bool = False
    """Whether an order is kept for the backend while it does not answer."""
    mirror: Mapping[str, float] | None = None
    """Share of the requests of which each version gets copies, 0 to 1. None: the driver cannot say."""

    @property
    def serving(self) -> str | None:
        """The version that gets every request. None when no version does, or several share the requests."""
        return next((version for version, weight in self.weights.items() if weight == 1.0), None)

    @property
    def served(self) -> str:
        """The versions that get requests, in words: "v1", "v1 90% and v2 10%" or "no version"."""
        shares = [f"{version} {100 * weight:g}%" for version, weight in self.weights.items() if weight > 0]
        return self.serving or " and ".join(shares) or "no version"


def all_to(version: str | None) -> dict[str, float]:
    """Return the weights of a backend where `version` gets every request. None: no version gets any."""
    return {} if version is None else {version: 1.0}


@dataclass(frozen=True)
class TrafficObservation:
    """A model's backends as observed."""

    model: str
    backends: tuple[BackendObservation, ...]

    def backend(self, url: str) -> BackendObservation:
        """Return the backend with this URL. A backend that was not observed is returned as unreachable."""
        for backend in self.backends:
            if backend.url == url:
                return backend
        return BackendObservation(url, False, {}, {}, {}, "it was not observed")


@dataclass(frozen=True)
class Placement:
    """Desired state of one model on a backend: the versions that are loaded.

    `serve` is the version that must get the traffic. The versions in `keep` stay loaded beside it. `config` is the
    driver's own data from the time of planning (on Triton: the model configuration).
    """

    model: str
    serve: str
    keep: tuple[str, ...]
    config: str
    share: float = 1.0
    """Share of the requests that `serve` gets, 0 to 1. The rest goes to the first version in `keep`."""
    by: str = ""
    """Author of the order, such as "rollout r-1a2b3c4d"."""
    tenure: object = None
    """The caller's right to act, which a driver passes on to a store that checks it. None: nothing checks it."""
    mirror: float = 0.0
    """Share of the requests of which `serve` gets a copy, 0 to 1. No client gets the answer to a copy."""
    unload_first: bool = False
    """Whether every other version is unloaded before `serve` is loaded, because both do not fit. None serves then."""

    @property
    def weights(self) -> dict[str, float]:
        """The share of each version that gets requests."""
        rest = {self.keep[0]: 1.0 - self.share} if self.keep and self.share < 1.0 else {}
        return {self.serve: self.share, **rest} if self.share > 0.0 else rest


@dataclass(frozen=True)
class Question:
    """One request to a version by its own address, independent of the traffic's routing. `body` is JSON."""

    path: str
    """The kind of request in the engine's API: on Triton `infer`, `generate` or `generate_stream`, on others the path
    below /v1/, such as `chat/completions`."""
    body: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    timeout_s: float = 10.0
    expect: Expectation = field(default_factory=Expectation)
    """Required properties of a good answer. Drivers do not look at it."""
    output: str = ""
    """Triton: the tensor that holds the answer. "": the usual one."""
    prompt: str = ""
    """The question for people; "" where it has no words."""


@dataclass(frozen=True)
class ServerReply:
    """One server's whole reply to a question."""

    url: str
    fault: str
    """"" for a good answer, else the fault in the engine's words."""
    seconds: float
    first_s: float | None
    """Seconds to the first token of a stream. None: it was no stream, or had no output."""
    body: bytes = field(repr=False)
    """The body as it came. It is private: nothing stores or logs it unless an operator asked for that."""
    status: int = 0
    """HTTP status. 0: not known."""


@dataclass(frozen=True)
class Answer:
    """The result of a question. `fault` is "" for a good answer, else the fault in the engine's words."""

    fault: str
    seconds: float
    replies: tuple[ServerReply, ...] = ()
    """The replies of the servers that were asked. Without a reply there is a fault, or the driver has none to show."""

    @property
    def first_s(self) -> float | None:
        """Seconds to the first token on the slowest server. None: not known."""
        return max((reply.first_s for reply in self.replies if reply.first_s is not None), default=None)


@dataclass(frozen=True)
class Preparation:
    """The result of checking a candidate: `config` for placements, and sentences for the operator."""

    config: str
    notes: tuple[str, ...] = ()
    """Sentences about this candidate. The rollout's history holds them."""
    known: tuple[str, ...] = ()
    """Sentences about the backends' set-up, true of every rollout. Only a plan shows them."""
    whole_only: str = ""
    """Why the backends take no share but 0 and 100 % as they are set up; "" where they take others too."""
    least_share: float = 0.0
    """Smallest share above 0 that the backends take as they are set up."""

    def unfit(self, shares: Iterable[float]) -> tuple[str, ...]:
        """Return why the backends cannot set these shares (0 to 1), in sentences. Empty: they can."""
        parts = sorted({share for share in shares if 0.0 < share < 1.0})
        if not parts:
            return ()
        if self.whole_only:
            return (f"{100 * parts[0]:g}% of the requests cannot be set: {self.whole_only}",)
        if parts[0] < self.least_share:
            return (f"{100 * parts[0]:g}% of the requests cannot be set: the least is {100 * self.least_share:.2g}%",)
        return ()


class Driver(Protocol):
    """Moves one model's traffic. Every verb is idempotent. A reply proves nothing: `observe` shows a verb's result."""

    capabilities: Capabilities

    def can_keep(self, serve: str, keep: str) -> bool:
        """Return whether `keep` can stay loaded while `serve` gets the traffic. A rollback to it is then instant."""
        ...

    async def observe(self) -> TrafficObservation:
        """Return the state of all backends. An unreachable backend is part of the result, not an error."""
        ...

    async def prepare(self, version: str) -> Preparation:
        """Check that `version` can be loaded, and change nothing.

        Raises controlplane.errors.Refused with all reasons.
        """
        ...

    async def place(self, backend: str, placement: Placement) -> None:
        """Bring one backend to the placement. A return means that the engine accepted the order, not that it is done.

        The call may take as long as the model loads. Raises EngineRefused with the engine's reason, and Unavailable
        when no reply came: the order may still have been carried out.
        """
        ...

    async def ask(self, backend: str, version: str, question: Question) -> Answer:
        """Ask one version on one backend. A wrong, late, cut or missing answer is an Answer with its fault.

        Raises NotSent when the question could not be sent: that says nothing about the version.
        """
        ...

    async def commit(self, placement: Placement) -> Sequence[str]:
        """Make the placement survive a restart of the engine, if the driver can. Return sentences on what was done.

        Raises EngineRefused with the reason and the cure when it cannot.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
