"""What a rollout is: frozen values, so that deciding is a function from one to the next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from controlplane.traffic.driver import Question


class Phase(StrEnum):
    """Where a rollout stands."""

    PLANNED = "planned"
    PREPARING = "preparing"
    """The candidate is being brought up; no backend serves it yet."""
    SWITCHING = "switching"
    """Some backends serve the candidate, others still the old version."""
    VERIFYING = "verifying"
    """All backends serve the candidate, which must now stay so for a while."""
    DRAINING = "draining"
    """The candidate is the stable version; the old one finishes its requests and goes."""
    ROLLING_BACK = "rolling-back"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """It ended before any traffic moved, or in a state that needs a person; the sentence says which."""
    ROLLED_BACK = "rolled-back"
    """Traffic had moved, and is back on the old version."""


TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.ROLLED_BACK})


class RolloutKind(StrEnum):
    """Why a rollout exists."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


class Verb(StrEnum):
    """The driver's verbs that change something."""

    PLACE = "place"
    COMMIT = "commit"


class StepKind(StrEnum):
    """What a step of a plan does. Each kind has a handler (handlers.py) and a sentence (step_words.py)."""

    BRING_UP = "bring-up"
    """Bring the candidate up on one backend after another, until it has the step's weight there."""
    ASK = "ask"
    """Ask the candidate the plan's questions."""
    WATCH = "watch"
    """Let it serve, and look at what others see of it."""
    COMMIT = "commit"
    """Make the candidate survive a restart of the engine."""
    RETIRE = "retire"
    """Take the old version away once its requests are finished."""


class Gate(StrEnum):
    """What must hold before the next step."""

    QUESTIONS = "questions"
    """The candidate's answers to the plan's questions."""
    EVIDENCE = "evidence"
    """What clients' requests and alerts say of the candidate."""


@dataclass(frozen=True)
class Step:
    """One step of a plan, as data. Durations in seconds."""

    kind: StepKind
    verb: Verb | None = None
    """The driver's verb that it orders, if any."""
    weight: float | None = None
    """The candidate's share of the traffic, 0 to 1, when the step is done; None: it stays as it is."""
    hold_s: float = 0.0
    """How long it lasts at least."""
    within_s: float | None = None
    """How long it may take; None: as long as its gate does."""
    gate: Gate | None = None


class OrderOutcome(StrEnum):
    """What is known of an order's reply. None of them says that the order was carried out: observing does."""

    ORDERED = "ordered"
    """Written down; the reply is still out."""
    TAKEN = "taken"
    REFUSED = "refused"
    LOST = "lost"
    """It was sent, and no reply came."""
    INTERRUPTED = "interrupted"
    """The control plane stopped while the reply was out: it may never have been sent."""


@dataclass(frozen=True)
class Order:
    """One driver verb to run now. `backend` is empty for a commit."""

    verb: Verb
    backend: str
    serve: str
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Intent:
    """The latest order of one verb on one backend, written down before it is acted on."""

    order: Order
    attempt: int
    since: float
    """When this order was given for the first time."""
    outcome: OrderOutcome
    detail: str = ""
    """The engine's words: why it refused, or what a commit did."""


@dataclass(frozen=True)
class RolloutLimits:
    """Deadlines, fixed when a rollout is planned. Seconds."""

    load_s: float
    drain_s: float
    verify_s: float
    """How long the candidate must serve without a break before the old version goes."""


@dataclass(frozen=True)
class Check:
    """What the candidate is asked, and what its numbers may be; fixed when a rollout is planned."""

    question: Question | None = None
    """None: there is nothing to ask."""
    requests: int = 0
    """How many times it is asked on each backend."""
    failures: int = 0
    """So many questions may fail."""
    latency_s: float | None = None
    """The median answer and the mean of clients' requests may take this long; None: any time."""
    error_ratio: float = 0.05
    """The share of clients' requests that may fail."""
    origin: str = ""
    """Where the question comes from, in words."""


@dataclass(frozen=True)
class Trial:
    """What became of the questions on one backend so far. Seconds."""

    backend: str
    since: float
    """When asking began: written down before the first question."""
    asked: int = 0
    """Questions that were answered, or that a good version would have answered."""
    failed: int = 0
    words: str = ""
    """What was wrong with the first one that failed."""
    median_s: float | None = None
    """Of the good answers."""
    slowest_s: float | None = None
    finished: bool = False
    """Nothing more will be asked."""


@dataclass(frozen=True)
class Evidence:
    """What others saw of the candidate since it was ordered: requests by their best counter, and alerts."""

    requests: float | None = None
    """None: nobody counted any, which is not the same as zero."""
    failed: float = 0.0
    source: str = ""
    """gateway, probe or engine."""
    mean_s: float | None = None
    """Of a request."""
    alerts: tuple[str, ...] = ()
    """Those that fire on the model and this version, in words."""
    unknown: str = ""
    """Why it could not be looked; "" when it could."""


@dataclass(frozen=True)
class Plan:
    """What a rollout will do, before anything moved."""

    model: str
    from_version: str
    to_version: str
    kind: RolloutKind
    strategy: str
    backends: tuple[str, ...]
    resident: bool
    """The old version stays loaded until the candidate is verified: going back to it is instant."""
    config: str
    """The driver's own, handed back to it with every placement."""
    limits: RolloutLimits
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    known: tuple[str, ...] = ()
    """What is true of every rollout of this driver: said when planning, and not again with each rollout."""
    check: Check = Check()
    endless_load: str = ""
    """What to do about a load that never ends; "" where the engine can cancel it."""


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
    """When the phase was entered."""
    step: int = 0
    """The place in the plan's steps of the one that is carried out."""
    finished_at: float | None = None
    turn_back: str = ""
    """Set by an operator's abort or rollback: who, and what."""
    reason: str = ""
    """Why it was turned back."""
    moved: bool = False
    """Some backend has served the candidate."""
    switched: bool = False
    """The candidate serves everywhere, nothing spoke against it, and it is the stable version."""
    verified_since: float | None = None
    """Since when the candidate has served everywhere without a break."""
    silent_since: float | None = None
    """Since when a backend that is waited for has not answered."""
    intents: tuple[Intent, ...] = ()
    trials: tuple[Trial, ...] = ()
    verified: bool | None = None
    """True: it answered questions or clients. False: it is loaded, and nothing tried it. None: not judged yet."""
    evidence: str = ""
    """What that rests on, in words."""
    needs_person: bool = False
    """It ended, and the old version is not known to serve as if nothing had happened."""
    told_stuck: bool = False
    """Somebody was told that it waits."""
    standing: bool = False
    """Nothing moves it: its model is not in fleet.yaml."""
    notes: tuple[str, ...] = ()
    previous: str | None = None
    """What the model could be rolled back to before this rollout."""
    idempotency_key: str | None = None
    request: str = ""

    @property
    def model(self) -> str:
        """The model's name in fleet.yaml."""
        return self.plan.model

    @property
    def finished(self) -> bool:
        """Nothing more will happen."""
        return self.phase in TERMINAL

    @property
    def ok(self) -> bool | None:
        """True: succeeded. None: not known yet."""
        return self.phase is Phase.SUCCEEDED if self.finished else None

    def moved_by(self, by_s: float) -> Rollout:
        """Return it as it is after the clock was set: what waits goes on waiting for as long as it would have."""

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
        """It was turned back because an operator asked for that, and is back."""
        return bool(self.turn_back) and self.reason == self.turn_back and not self.needs_person

    def trial(self, backend: str) -> Trial | None:
        """Return what became of the questions on one backend; None: it was not asked."""
        return next((t for t in self.trials if t.backend == backend), None)

    def latest(self, verb: Verb, backend: str = "") -> Intent | None:
        """Return the latest order of `verb` on `backend`."""
        return next((i for i in self.intents if i.order.verb is verb and i.order.backend == backend), None)

    def intent(self, order: Order) -> Intent | None:
        """Return the latest intent where it is exactly this order."""
        latest = self.latest(order.verb, order.backend)
        return latest if latest and latest.order == order else None


@dataclass(frozen=True)
class Decision:
    """What to do now, and the sentence that says why."""

    phase: Phase
    sentence: str
    orders: tuple[Order, ...] = ()
    step: int = 0
    asks: tuple[str, ...] = ()
    """Backends on which the candidate is to be asked, unless that goes on already."""
    reason: str = ""
    moved: bool = False
    switched: bool = False
    verified: bool | None = None
    evidence: str = ""
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
