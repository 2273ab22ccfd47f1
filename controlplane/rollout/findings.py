"""Work beside the state machine, and its findings: looks at numbers, warm-ups, golden sets, hooks, checks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WorkKind(StrEnum):
    """The kind of a work. Each kind has a worker."""

    WARM = "warm"
    GOLDEN = "golden"
    LOOK = "look"
    HOOK = "hook"
    CHECK = "check"
    MIRRORED = "mirrored"
    """Comparison of mirrored answers."""
    FILES = "files"
    """The digest of the candidate's files."""
    TOP_UP = "top-up"
    """Synthetic requests to both versions, where clients send too few."""


@dataclass(frozen=True)
class Work:
    """One piece of work that a step asks for. Equal works are the same work: it is not begun twice at a time.

    After a crash of the control plane an unfinished work begins again, so a worker must bear repetition.
    """

    kind: WorkKind
    step: int
    """Index of the step that asks for it."""
    name: str = ""
    """Name of the hook or check."""
    number: int = 1
    """Number of the look, or of the attempt."""


class Outcome(StrEnum):
    """The outcome of a work."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NOT_ENOUGH = "not-enough-data"
    """Too few requests, or the numbers could not be read. It is never a reason to roll back."""


@dataclass(frozen=True)
class Sample:
    """The numbers of one metric that a finding rests on. None: not known."""

    metric: str
    unit: str
    """ratio, seconds or tokens."""
    candidate: float | None
    """The candidate's value: a share, or a median."""
    stable: float | None
    candidate_requests: float
    """Number of the candidate's requests that the value rests on."""
    stable_requests: float
    effect: float | None = None
    """Size of the difference, in the unit of the comparison's tolerance. Positive: the candidate is worse."""
    evidence: float | None = None
    """Evidence against equality as an e-value (1: none)."""
    fails_at: float | None = None
    """The e-value from which the candidate fails."""
    outcome: Outcome = Outcome.NOT_ENOUGH
    words: str = ""
    dry_run: bool = False


@dataclass(frozen=True)
class Finding:
    """The result of one work. It is kept with the rollout."""

    outcome: Outcome
    reasons: tuple[str, ...]
    """Sentences. The first one is shown where only one fits."""
    samples: tuple[Sample, ...] = ()
    more_requests: int | None = None
    """Number of requests that are missing, if the outcome is not-enough-data."""
    enough_at: float | None = None
    """Unix seconds at which there will be enough at the present rate. None: not known, or never."""
    carry: str = ""
    """The worker's own data for its next work of this kind, such as counters. At most 256 KiB of JSON."""


@dataclass(frozen=True)
class WorkState:
    """A work that was asked for. `finding` is None while it runs. Times in unix seconds."""

    work: Work
    since: float
    finding: Finding | None = None
    at: float | None = None
    """Time of the finding."""
