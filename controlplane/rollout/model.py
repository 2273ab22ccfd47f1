"""The values of rollouts. They are frozen: a decision is a function from one rollout value to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from controlplane.rollout.copying import replace
from controlplane.rollout.findings import Work, WorkKind, WorkState
from controlplane.rollout.options import Moment, Options
from controlplane.rollout.orders import Intent, Order, Verb
from controlplane.rollout.wishes import Wait, Wish
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


class StepKind(StrEnum):
    """The kind of a plan's step. Each kind has a handler (handlers/) and a sentence (step_words.py)."""

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
    HOOK = "hook"
    """Call the hooks of the step's moment, one after another."""
    CHECK = "check"
    """Check every item of the pre-launch checklist."""
    APPROVE = "approve"
    """Wait for the approvals of the step's moment."""
    WARM = "warm"
    """Send fixed prompts to the candidate until its time to first token settles."""
    GOLDEN = "golden"
    """Ask the candidate the golden set."""
    MIRROR = "mirror"
    """Send copies of clients' requests to the candidate. Clients get the stable version's answers."""
    TESTERS = "testers"
    """Let testers reach the candidate by a header. It gets no other requests."""
    PAUSE = "pause"
    """Wait for a time, or until an operator approves or resumes."""
    ANALYSE = "analyse"
    """Wait for a time, and until the latest look at the candidate's numbers passed."""
    FILES = "files"
    """Check that the candidate's files are those that were approved."""
    KEEP = "keep"
    """Keep the old version loaded after the switch, so that a rollback is instant."""


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
    moment: Moment | None = None
    """The moment of a step HOOK or APPROVE."""
    mirror: float = 0.0
    """Share of clients' requests of which the candidate gets a copy during the step, 0 to 1."""
    until_approved: bool = False
    """Whether the step lasts until it is approved or resumed, and not for `hold_s`."""
    at_once: bool = False
    """Whether a BRING_UP orders all backends at once, which interrupts the service."""


@dataclass(frozen=True)
class RolloutLimits:
    """Deadlines in seconds, fixed when a rollout is planned."""

    load_s: float
    drain_s: float
    verify_s: float
    """Seconds for which the candidate must serve without a break before the old version is unloaded."""


@dataclass(frozen=True)
class Check:
    """The questions for the candidate, and the limits for its numbers. Fixed when a rollout is planned."""

    questions: tuple[Question, ...] = ()
    """Asked in turn. Empty: the candidate is not asked."""
    requests: int = 0
    """Number of requests on each backend, at least one for each question."""
    failures: int = 0
    """Number of requests that may fail on each backend."""
    latency_s: float | None = None
    """Limit in seconds for the median answer and for the mean of clients' requests. None: no limit."""
    error_ratio: float = 0.05
    """Share of clients' requests that may fail, 0 to 1."""
    origin: str = ""
    """Source of the questions, in words."""
    answered: tuple[bool, ...] = ()
    """Whether the stable version answered each question well at planning. Shorter: the rest is not known."""

    @property
    def patience_s(self) -> float:
        """Longest duration of all requests on one backend, and of the stable version's answers, in seconds."""
        longest_s = max((question.timeout_s for question in self.questions), default=0.0)
        return (self.requests + len(self.questions)) * longest_s


@dataclass(frozen=True)
class Trial:
    """The questions on one backend and their results so far. Durations in seconds."""

    backend: str
    since: float
    """Start of the trial in unix seconds, stored before the first question."""
    asked: int = 0
    """Number of questions that were answered, or that a good version would have answered."""
    failed: int = 0
    misfits: int = 0
    """Number of questions that the version refused and that are not known to fit: they say nothing about it."""
    words: str = ""
    """Fault of the first question that failed."""
    remark: str = ""
    """Words of the first question that does not fit."""
    median_s: float | None = None
    """Median duration of the good answers."""
    slowest_s: float | None = None
    finished: bool = False
    """No further question follows."""
    of_stable: bool = False
    """Whether the old version is asked, after a rollback, and not the candidate."""


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
    called_off_by: tuple[str, ...] = ()
    """The alerts of `rollback_on` that fire on the model, whatever version they name, in words."""
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
    options: Options = field(default_factory=Options)


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
    wishes: tuple[Wish, ...] = ()
    """Operators' wishes, oldest first. The service writes them; they are not part of the stored state."""
    works: tuple[WorkState, ...] = ()
    """The latest work of each kind and name. Findings are stored without their `carry`."""
    wait: Wait | None = None
    """The thing that the rollout waits for now. None: an engine, or nothing."""
    looks_failed: int = 0
    """Number of looks that failed by a threshold."""
    progress_at: float = 0.0
    """Time of the latest progress. A wait for people, for data or for a time counts as progress until it ends."""
    steps_at: tuple[float, ...] = ()
    """Time at which each step up to the current one was entered. Empty in rollouts of earlier releases."""
    turned_at: float | None = None
    """Time at which the rollback began."""
    held_since: float | None = None
    """Start of the current step's waiting time. Time in which no control plane ran does not count, so it moves."""
    traffic_since: float | None = None
    """Time at which the candidate was first seen to get requests of clients."""
    weight_since: float | None = None
    """Time since which the candidate has had its present share of the requests."""
    ending: Phase | None = None
    """The phase in which the rollout will end as soon as the hooks of its end were called."""
    clock_step: str = ""
    """Id of the latest step of the clock by which the times were moved. "": of none."""
    gap_from: float | None = None
    """Stored time of the observation before the latest period in which nobody watched, by which times were moved. It
    identifies the period, so a clock that is set does not move it."""
    gap_until: float | None = None
    """End of that period."""
    digest: str = ""
    """Digest of the candidate's files, in hex, as they were at the beginning. "": not known."""

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
            progress_at=self.progress_at + by_s,
            steps_at=tuple(at + by_s for at in self.steps_at),
            turned_at=moved(self.turned_at),
            held_since=moved(self.held_since),
            traffic_since=moved(self.traffic_since),
            weight_since=moved(self.weight_since),
            gap_until=moved(self.gap_until),
            works=tuple(replace(state, since=state.since + by_s, at=moved(state.at)) for state in self.works),
            intents=tuple(replace(intent, since=intent.since + by_s) for intent in self.intents),
            trials=tuple(replace(trial, since=trial.since + by_s) for trial in self.trials),
        )

    @property
    def wished(self) -> bool:
        """Whether an operator asked for the rollback, and it left nothing to a person."""
        return bool(self.turn_back) and self.reason == self.turn_back and not self.needs_person

    def trial(self, backend: str) -> Trial | None:
        """Return the trial on one backend, or None when the candidate was not asked there."""
        return next((t for t in self.trials if t.backend == backend and not t.of_stable), None)

    def trial_of_stable(self, backend: str) -> Trial | None:
        """Return the trial of the old version on one backend after the rollback, or None."""
        return next((t for t in self.trials if t.backend == backend and t.of_stable), None)

    def work(self, work: Work) -> WorkState | None:
        """Return the state of a work, or None when it was not asked for, or a later one of its name was."""
        return next((state for state in self.works if state.work == work), None)

    def latest_work(self, kind: WorkKind, name: str = "") -> WorkState | None:
        """Return the latest work of a kind and name, or None."""
        return next((state for state in self.works if (state.work.kind, state.work.name) == (kind, name)), None)

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
    asks_stable: tuple[str, ...] = ()
    """Backends on which the old version is to be asked, after a rollback."""
    works: tuple[Work, ...] = ()
    """Works that are wanted now. One that is running already goes on."""
    wait: Wait | None = None
    held_since: float | None = None
    traffic_since: float | None = None
    weight_since: float | None = None
    ending: Phase | None = None
    reason: str = ""
    moved: bool = False
    switched: bool = False
    verified: bool | None = None
    evidence: str = ""
    counted: bool | None = None
    needs_person: bool = False
    verified_since: float | None = None
    silent_since: float | None = None
