"""The values of rollouts. They are frozen: a decision is a function from one rollout value to the next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from controlplane.traffic.driver import Question


class Phase(StrEnum):
    """The phase of a rollout."""

    PLANNED = "planned"
    PREPARING = "preparing"
    """The candidate loads; no backend serves it yet."""
    SWITCHING = "switching"
    """Some backends serve the candidate, others still the old version."""
    VERIFYING = "verifying"
    """All backends serve the candidate. It must serve without a break for a while."""
    DRAINING = "draining"
    """The candidate is the stable version. The old version finishes its requests and is unloaded."""
    ROLLING_BACK = "rolling-back"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The rollout ended before any traffic moved, or in a state that needs a person. The sentence says which."""
    ROLLED_BACK = "rolled-back"
    """Traffic had moved to the candidate, and is back on the old version."""


TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.ROLLED_BACK})


class RolloutKind(StrEnum):
    """The kind of request that started a rollout."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


class Verb(StrEnum):
    """The driver's verbs that change something."""

    PLACE = "place"
    COMMIT = "commit"


class StepKind(StrEnum):
    """The kind of a plan's step. Each kind has a handler (handlers.py) and a sentence (step_words.py)."""

    BRING_UP = "bring-up"
    """Load the candidate on one backend after another, until it has the step's weight there."""
    ASK = "ask"
    """Ask the candidate the plan's questions."""
    SHIFT = "shift"
    """Send the step's weight of the requests to the candidate, which is ready everywhere. Requests must be counted."""
    WATCH = "watch"
    """Let the candidate serve, and judge it by clients' requests and alerts."""
    COMMIT = "commit"
    """Make the candidate survive a restart of the engine."""
    RETIRE = "retire"
    """Unload the old version when its requests are finished."""


class Gate(StrEnum):
    """The condition for the next step."""

    QUESTIONS = "questions"
    """The candidate's answers to the plan's questions."""
    EVIDENCE = "evidence"
    """Clients' requests to the candidate, and its alerts."""


@dataclass(frozen=True)
class Step:
    """One step of a plan, as data. Durations in seconds."""

    kind: StepKind
    verb: Verb | None = None
    """The driver's verb that the step orders, if any."""
    weight: float | None = None
    """The candidate's share of the traffic, 0 to 1, when the step is done. None: the share stays as it is."""
    hold_s: float = 0.0
    """Minimum duration of the step."""
    within_s: float | None = None
    """Maximum duration of the step. None: only its gate limits it."""
    gate: Gate | None = None


class OrderOutcome(StrEnum):
    """The reply to an order. No reply proves that the order was carried out: only an observation does."""

    ORDERED = "ordered"
    """The order is stored, and the reply is still out."""
    TAKEN = "taken"
    """The engine accepted the order."""
    REFUSED = "refused"
    LOST = "lost"
    """The order was sent, and no reply came."""
    INTERRUPTED = "interrupted"
    """The control plane stopped before the reply came. The order may never have been sent."""


@dataclass(frozen=True)
class Order:
    """One driver verb to run now. `backend` is empty for a commit."""

    verb: Verb
    backend: str
    serve: str
    keep: tuple[str, ...] = ()
    share: float = 1.0
    """Share of the requests that `serve` gets, 0 to 1. The rest goes to the first version in `keep`."""
    mirror: float = 0.0
    """Share of the requests of which `serve` gets a copy, 0 to 1."""


@dataclass(frozen=True)
class Intent:
    """The latest order of one verb on one backend. It is stored before it is sent."""

    order: Order
    attempt: int
    since: float
    """Time of the first attempt of this order, in unix seconds."""
    outcome: OrderOutcome
    detail: str = ""
    """The engine's words: why it refused the order, or what a commit left open."""


@dataclass(frozen=True)
class RolloutLimits:
    """Deadlines in seconds, fixed when a rollout is planned."""

    load_s: float
    drain_s: float
    verify_s: float
    """Seconds for which the candidate must serve without a break before the old version is unloaded."""


@dataclass(frozen=True)
class Check:
    """The question for the candidate, and the limits for its numbers. Fixed when a rollout is planned."""

    question: Question | None = None
    """None: the candidate is not asked."""
    requests: int = 0
    """Number of questions on each backend."""
    failures: int = 0
    """Number of questions that may fail on each backend."""
    latency_s: float | None = None
    """Limit in seconds for the median answer and for the mean of clients' requests. None: no limit."""
    error_ratio: float = 0.05
    """Share of clients' requests that may fail, 0 to 1."""
    origin: str = ""
    """Source of the question, in words."""


@dataclass(frozen=True)
class Trial:
    """The questions on one backend and their results so far. Durations in seconds."""

    backend: str
    since: float
    """Start of the trial in unix seconds, stored before the first question."""
    asked: int = 0
    """Number of questions that were answered, or that a good version would have answered."""
    failed: int = 0
    words: str = ""
    """Fault of the first question that failed."""
    median_s: float | None = None
    """Median duration of the good answers."""
    slowest_s: float | None = None
    finished: bool = False
    """No further question follows."""


@dataclass(frozen=True)
class Evidence:
    """Requests to the candidate since it was ordered, by the best source that counted them, and its alerts."""

    requests: float | None = None
    """Number of requests. None: no source counted any, which is not the same as zero."""
    failed: float = 0.0
    source: str = ""
    """gateway, probe or engine."""
    mean_s: float | None = None
    """Mean duration of a request, in seconds."""
    alerts: tuple[str, ...] = ()
    """The alerts that fire on the model and this version, in words."""
    unknown: str = ""
    """Why nothing could be read; "" when it could."""


@dataclass(frozen=True)
class Plan:
    """The plan of a rollout, made before anything moved."""

    model: str
    from_version: str
    to_version: str
    kind: RolloutKind
    strategy: str
    backends: tuple[str, ...]
    resident: bool
    """The old version stays loaded until the candidate is verified: a rollback to it is instant."""
    config: str
    """The driver's own configuration, passed to it with every placement."""
    limits: RolloutLimits
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    known: tuple[str, ...] = ()
    """Remarks that are true of every rollout of this driver. A plan shows them; a rollout's history does not."""
    check: Check = Check()
    endless_load: str = ""
    """The cure for a load that never ends; "" where the engine can cancel a load."""


@dataclass(frozen=True)
class Rollout:
    """One attempt to move a model from its stable version to a candidate. Times are unix seconds."""

    id: str
    plan: Plan
    phase: Phase
    sentence: str
    created_by: str
    created_at: float
    updated_at: float
    phase_at: float
    """Time at which the phase was entered."""
    step: int = 0
    """Index of the current step in the plan's steps."""
    finished_at: float | None = None
    turn_back: str = ""
    """The operator's request to roll back: "Aborted by ann" or "Rollback by ann". "": there is none."""
    reason: str = ""
    """The reason of the rollback."""
    moved: bool = False
    """A backend has served the candidate."""
    switched: bool = False
    """The candidate is the stable version: it serves on every backend, and nothing counted against it."""
    verified_since: float | None = None
    """Time since which the candidate has served on every backend without a break."""
    silent_since: float | None = None
    """Time since which the backend that the rollout waits for has not answered."""
    intents: tuple[Intent, ...] = ()
    trials: tuple[Trial, ...] = ()
    verified: bool | None = None
    """True: the candidate answered questions or clients. False: it is loaded, nothing tried it. None: not judged."""
    evidence: str = ""
    """The facts behind `verified`, in words."""
    counted: bool | None = None
    """Whether requests were counted on the candidate's last share. None: no driver counted any, or none was set yet."""
    needs_person: bool = False
    """The rollout ended in a state that a person must repair, or that is unknown."""
    told_stuck: bool = False
    """A notification said that the rollout waits."""
    standing: bool = False
    """The rollout stands still because its model is not in fleet.yaml."""
    notes: tuple[str, ...] = ()
    previous: str | None = None
    """The version that the model could be rolled back to before this rollout."""
    idempotency_key: str | None = None
    request: str = ""

    @property
    def model(self) -> str:
        """The model's name in fleet.yaml."""
        return self.plan.model

    @property
    def finished(self) -> bool:
        """Whether the rollout has ended."""
        return self.phase in TERMINAL

    @property
    def ok(self) -> bool | None:
        """True: succeeded. False: failed or rolled back. None: still running."""
        return self.phase is Phase.SUCCEEDED if self.finished else None

    def moved_by(self, by_s: float) -> Rollout:
        """Return the rollout with its waiting times shifted by a step of the clock, so that no deadline changes."""

        def moved(at: float | None) -> float | None:
            return None if at is None else at + by_s

        return replace(
            self,
            phase_at=self.phase_at + by_s,
            verified_since=moved(self.verified_since),
            silent_since=moved(self.silent_since),
            intents=tuple(replace(intent, since=intent.since + by_s) for intent in self.intents),
            trials=tuple(replace(trial, since=trial.since + by_s) for trial in self.trials),
        )

    @property
    def wished(self) -> bool:
        """Whether an operator asked for the rollback, and it left nothing to a person."""
        return bool(self.turn_back) and self.reason == self.turn_back and not self.needs_person

    def trial(self, backend: str) -> Trial | None:
        """Return the trial on one backend, or None when the candidate was not asked there."""
        return next((t for t in self.trials if t.backend == backend), None)

    def latest(self, verb: Verb, backend: str = "") -> Intent | None:
        """Return the intent of the latest order of `verb` on `backend`, or None."""
        return next((i for i in self.intents if i.order.verb is verb and i.order.backend == backend), None)

    def intent(self, order: Order) -> Intent | None:
        """Return the latest intent of the order's verb and backend if it is exactly this order, else None."""
        latest = self.latest(order.verb, order.backend)
        return latest if latest and latest.order == order else None


@dataclass(frozen=True)
class Decision:
    """The next state of a rollout, its orders, and the sentence that says why."""

    phase: Phase
    sentence: str
    orders: tuple[Order, ...] = ()
    step: int = 0
    asks: tuple[str, ...] = ()
    """Backends on which the candidate is to be asked. A trial that is running there already goes on."""
    reason: str = ""
    moved: bool = False
    switched: bool = False
    verified: bool | None = None
    evidence: str = ""
    counted: bool | None = None
    needs_person: bool = False
    verified_since: float | None = None
    silent_since: float | None = None


@dataclass(frozen=True)
class RolloutEvent:
    """One sentence of a rollout's history."""

    at: float
    phase: str
    sentence: str


@dataclass(frozen=True)
class RecordedRollout:
    """A rollout with its history: what an API, a console or a CLI shows."""

    rollout: Rollout
    events: tuple[RolloutEvent, ...] = field(default=())
