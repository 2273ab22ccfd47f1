"""The JSON shapes of rollouts for API, console and CLI. Times are RFC 3339 in UTC, null is unknown."""

from __future__ import annotations

from pydantic import Field

from controlplane.fleet.view import View


class RolloutEventView(View):
    """One transition of a rollout."""

    at: str
    phase: str
    sentence: str


class StepView(View):
    """One step of a plan, with its state."""

    number: int
    """From 1."""
    kind: str
    words: str
    state: str
    """done, current, ahead, stopped (the rollout turned back here) or skipped (it is not reached any more)."""
    since: str | None
    until: str | None
    fraction: float | None
    """Part of the current step that is done, 0 to 1."""
    left_seconds: float | None
    """Time left of the current step. Null: not known, and `left` says why."""
    left: str


class WayBackView(View):
    """How long a rollback would take now."""

    words: str
    seconds: float | None
    """Null: not known, and `words` says why."""


class ProgressView(View):
    """Where a rollout stands."""

    fraction: float | None
    """Part of the way to the switch that is done, 0 to 1. Null: the rollout turned back."""
    left_seconds: float | None
    """Time until the switch, after it until the end. Null: not known, and `left` says why."""
    left: str
    waits_for: str
    """The thing that the rollout waits for, with the command that ends the wait; "": it waits for nothing."""
    waits_until: str | None
    next: str
    steps: tuple[StepView, ...]
    rollback: WayBackView


class SampleView(View):
    """The numbers of one metric that a finding rests on."""

    metric: str
    unit: str
    """ratio, seconds or tokens."""
    candidate: float | None
    """The candidate's value: a share, or a median."""
    stable: float | None
    candidate_requests: float
    stable_requests: float
    effect: float | None
    """Size of the difference, in the unit of the tolerance. Positive: the candidate is worse."""
    evidence: float | None
    """Evidence against equality as an e-value. 1: none."""
    fails_at: float | None
    """The e-value from which the candidate fails."""
    outcome: str
    words: str
    dry_run: bool


class FindingView(View):
    """One look, warm-up, golden set, hook, check or comparison of mirrored answers, and its result."""

    kind: str
    name: str
    """Name of the hook or check, or the backend of a warm-up."""
    words: str
    """Kind, name and number, for a person: `look 16`, `warm-up on http://10.0.0.5:8000`."""
    step: int
    """From 1."""
    number: int
    since: str
    at: str | None
    """Time of the result. Null: it runs."""
    outcome: str | None
    """pass, fail or not-enough-data. Null: it runs."""
    reasons: tuple[str, ...] = ()
    samples: tuple[SampleView, ...] = ()
    more_requests: int | None = None
    """Number of requests that are missing."""
    enough_at: str | None = None
    """Time at which there will be enough requests at the present rate."""


class WishView(View):
    """An operator's pause, resume, approve or full."""

    verb: str
    actor: str
    role: str
    at: str
    step: int
    """From 1."""
    reason: str
    ends: str = ""
    """The wait of the step that a resume ended: `pause`, `time`, `data`, or `hook` and its name."""


class QuarantineView(View):
    """A version that was rolled back and cannot be promoted."""

    model: str
    version: str
    since: str
    rollout: str
    reason: str


class AftermathView(View):
    """Cause, consequence and next step of a rollout that failed or went back."""

    cause: str
    consequence: str
    next: str


class RolloutView(View):
    """One attempt to move a model to another version."""

    id: str
    model: str
    from_: str | None = Field(alias="from")
    to: str
    kind: str
    """promote or rollback."""
    strategy: str
    phase: str
    finished: bool
    ok: bool | None
    """Null while the rollout runs."""
    switched: bool
    """The candidate is the stable version."""
    verified: bool | None = None
    """True: the candidate answered well. False: it is loaded, nothing tried it. Null: not judged, or rolled back."""
    evidence: str = ""
    """The facts behind `verified`, in words."""
    wished: bool = False
    """The rollout was rolled back because an operator asked for it."""
    needs_person: bool = False
    """The rollout ended and left a fault that only a person can repair."""
    sentence: str
    created_at: str
    updated_at: str
    finished_at: str | None
    created_by: str
    digest: str | None = None
    """Digest of the candidate's files, in hex, as they were at its beginning. Null: they were not checked."""
    notes: tuple[str, ...] = ()
    waits_for: str = ""
    """Kind of the wait: time, approval, operator (a resume), data, engine or work. "": it waits for nothing."""
    events: tuple[RolloutEventView, ...] = ()
    progress: ProgressView | None = None
    """Null in lists."""
    weights: dict[str, float] | None = None
    """Share of the model's requests that each version gets now, 0 to 1. Null: not known, or the rollout has ended."""
    aftermath: AftermathView | None = None
    """Null while the rollout runs, after a success, and in lists."""
    findings: tuple[FindingView, ...] = ()
    """The latest of each kind and name, oldest first."""
    wishes: tuple[WishView, ...] = ()


class PlanView(View):
    """The plan of a rollout."""

    model: str
    from_: str | None = Field(alias="from")
    to: str
    strategy: str
    steps: tuple[str, ...]
    left: str = ""
    """How long the rollout takes until the switch, in words."""
    rollback: str = ""
    """How long a rollback would take afterwards, in words."""
    notes: tuple[str, ...] = ()
