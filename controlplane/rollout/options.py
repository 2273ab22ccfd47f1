"""Options of a rollout, fixed when it is planned: a changed fleet.yaml does not change a running rollout. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from collectors.target import Auth


class Metric(StrEnum):
    """A metric by which the candidate is compared with the stable version."""

    ERRORS = "errors"
    """Share of requests that failed, as clients see it."""
    TTFT = "ttft"
    """Time to first token, in seconds."""
    INTER_TOKEN = "inter-token"  # noqa: S105
    """Time between two tokens, in seconds."""
    DURATION = "duration"
    """Duration of a request, in seconds."""
    TRUNCATED = "truncated"
    """Share of answers that ended at their length limit."""
    EMPTY = "empty"
    """Share of answers without content."""
    REFUSED = "refused"
    """Share of answers that a content filter ended, or that decline to answer."""
    OUTPUT_TOKENS = "output-tokens"
    """Number of tokens of an answer. Both more and fewer count against the candidate."""


@dataclass(frozen=True)
class Comparison:
    """One metric of the candidate against the stable version."""

    metric: Metric
    tolerance: float
    """Size of a difference that is no fault. Shares: a difference, such as 0.005. Others: |AUC - 0.5| of ranks."""
    dry_run: bool = False
    """Whether the result is only reported."""


@dataclass(frozen=True)
class Threshold:
    """A PromQL expression with a limit. `{{model}}`, `{{version}}`, `{{stable}}` and `{{window}}` are filled in."""

    name: str
    expr: str
    at_most: float | None = None
    at_least: float | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class Analysis:
    """Looks at the candidate's numbers, from its first request of a client to the end of the last step."""

    interval_s: float = 60.0
    """Seconds between two looks."""
    minimum_requests: int = 100
    """Number of requests to the candidate below which no step is passed."""
    failures: int = 0
    """Number of looks that may fail by a threshold before the rollout rolls back. Comparisons are not counted: their
    false alarms are bounded over all looks."""
    patience_s: float = 1800.0
    """Seconds that a step waits for enough data before it is stuck. Missing data never rolls back."""
    false_alarms: float = 0.01
    """Bound on the probability that an equal candidate is rolled back, over all looks and comparisons."""
    comparisons: tuple[Comparison, ...] = ()
    thresholds: tuple[Threshold, ...] = ()


class Moment(StrEnum):
    """A moment of a rollout at which hooks are called and approvals are asked for."""

    START = "start"
    """Before the candidate is loaded."""
    SWITCH = "switch"
    """Before the candidate gets its first request of a client."""
    STEP = "step"
    """Before each further change of the weight."""
    FULL = "full"
    """Before the candidate gets every request."""
    RETIRE = "retire"
    """Before the old version is unloaded."""
    ROLLBACK = "rollback"
    """When a rollback begins. A failure stops nothing."""
    END = "end"
    """After the end. A failure stops nothing."""


class OnFailure(StrEnum):
    """The meaning of a hook's failure."""

    ROLL_BACK = "roll-back"
    PAUSE = "pause"
    """The rollout waits for an operator's `resume`."""
    IGNORE = "ignore"


@dataclass(frozen=True)
class Hook:
    """A URL that is called with the rollout as JSON. Status 2xx is success."""

    name: str
    at: Moment
    url: str
    timeout_s: float = 10.0
    on_failure: OnFailure = OnFailure.ROLL_BACK
    auth: Auth | None = None
    """Credentials and TLS settings. It names files and variables; the secrets are read at each call."""


@dataclass(frozen=True)
class Approval:
    """Approvals by different people that a rollout waits for."""

    at: Moment
    count: int = 1
    role: str = "operator"
    """Least role of an approver. The person who started the rollout cannot approve it."""


BACKUP = "backup:"
"""Begins the check of a backup. The job is in the name so that stored plans keep their format."""


@dataclass(frozen=True)
class CheckItem:
    """One item of the pre-launch checklist. Exactly one of `expr`, `attested` and `builtin` is set."""

    name: str
    expr: str = ""
    """PromQL that must have a result, such as a load test's last success."""
    builtin: str = ""
    """Name of a check of this program: monitoring, rollback, capacity, or `backup:` and the job of a backup."""
    attested: str = ""
    """Words or link by which a person attests the item; "" while nobody did."""

    @property
    def backup(self) -> str:
        """Job of the backup that the item wants; "" for another item."""
        return self.builtin.removeprefix(BACKUP) if self.builtin.startswith(BACKUP) else ""


class CanaryStepKind(StrEnum):
    """The kind of a canary's step."""

    WEIGHT = "weight"
    MIRROR = "mirror"
    TESTERS = "testers"
    PAUSE = "pause"
    ANALYSE = "analyse"


@dataclass(frozen=True)
class CanaryStep:
    """One step of a canary, as an operator writes it."""

    kind: CanaryStepKind
    share: float | None = None
    """Share of the requests, 0 to 1: that the candidate gets (weight), or of which it gets a copy (mirror)."""
    for_s: float | None = None
    """Seconds that the step lasts. None: until it is approved."""


@dataclass(frozen=True)
class Expected:
    """The expected properties of an answer. Every property that is set must hold."""

    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    regex: str = ""
    exact: str | None = None
    json_schema: dict[str, Any] | None = None
    at_least_characters: int | None = None
    at_most_characters: int | None = None
    judged: str = ""
    """A criterion in words, decided by the judge."""


@dataclass(frozen=True)
class GoldenPrompt:
    """One prompt of a golden set."""

    name: str
    path: str
    """The kind of request, as in traffic.driver.Question."""
    body: dict[str, Any]
    expected: Expected
    timeout_s: float = 60.0


@dataclass(frozen=True)
class Judge:
    """A user's own OpenAI-compatible endpoint that judges answers. Its key comes from a file or the environment."""

    url: str
    model: str
    key_file: str = ""
    key_env: str = ""
    timeout_s: float = 60.0


@dataclass(frozen=True)
class Golden:
    """The quality gate: prompts with expected answers."""

    prompts: tuple[GoldenPrompt, ...]
    pass_ratio: float = 1.0
    """Least share of the prompts that must hold, 0 to 1."""
    judge: Judge | None = None
    dry_run: bool = False
    excerpt_characters: int = 0
    """Most characters of a failed answer that are kept with the result. 0: answers are private."""


@dataclass(frozen=True)
class Warm:
    """The warm gate: fixed prompts until the time to first token settles. Warm-up requests are no samples."""

    prompts: tuple[str, ...] = ()
    """Empty: the requests of the plan's check."""
    at_least: int = 5
    at_most: int = 100
    within: float = 0.2
    """The last `at_least` times differ from their median by at most this share."""
    timeout_s: float = 300.0


@dataclass(frozen=True)
class TopUp:
    """Synthetic requests to both versions where clients send too few. They are tagged and not counted as clients'."""

    prompts: tuple[str, ...]
    per_minute: int = 30
    at_most: int = 1000


@dataclass(frozen=True)
class Options:
    """All options of one rollout. Durations in seconds."""

    steps: tuple[CanaryStep, ...] = ()
    """Steps of a canary; other strategies have none."""
    analysis: Analysis | None = None
    warm: Warm | None = None
    golden: Golden | None = None
    top_up: TopUp | None = None
    hooks: tuple[Hook, ...] = ()
    approvals: tuple[Approval, ...] = ()
    checklist: tuple[CheckItem, ...] = ()
    rollback_on: tuple[str, ...] = ()
    """Names of alerts on the model that roll back, whatever version they name. Alerts on the candidate always do."""
    deadline_s: float | None = None
    """Longest time without progress. Then the rollout rolls back. Waits for people and for data are no lack of it."""
    rollback_window_s: float = 0.0
    """Seconds for which the old version stays loaded after the switch."""
    allow_downtime: bool = False
    through_freeze: bool = False
    """Whether the weight also grows inside a freeze window, because an admin overrode it."""
    after: tuple[str, ...] = ()
    """Models that must not be rolling, and must be at their newest promoted version, before this one starts."""
    reason: str = ""
    """Why an operator rolls back, in their words. Promotions have none."""
    quarantine: bool = False
    """Whether a rollback puts the version that it leaves in quarantine."""
    files: bool = False
    """Whether the candidate's files are checked: fleet.yaml says where they are."""
    notes: tuple[str, ...] = field(default=())
    """Sentences about overridden gates: who overrode which, and why."""
