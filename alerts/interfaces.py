"""Interfaces that the host of alerting (the control plane) implements, and the data they exchange. No I/O here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, Protocol

from collectors.samples import Labels


class Clock(Protocol):
    """Wall-clock time. It is injected, so that tests can set it."""

    def now(self) -> float:
        """Return unix seconds."""
        ...


class VectorSample(NamedTuple):
    """One element of an instant query's result. `labels` may hold `__name__`."""

    labels: Labels
    value: float


class Querier(Protocol):
    """Evaluates PromQL. Asynchronous: the metrics may be in another process."""

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        """Evaluate `expr` at unix second `at`. A scalar result is one sample without labels.

        Raises alerts.errors.QueryFailed; a failed query never returns an empty result.
        """
        ...


class AlertState(StrEnum):
    """State of an alert instance."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


INSTANCE_TIMES = ("active_at", "fired_at", "keep_firing_since", "resolved_at", "unknown_since")
"""Fields of an AlertInstance that are times."""


@dataclass(frozen=True)
class AlertInstance:
    """One label set of one alerting rule, with everything that a restart must not lose. Times are unix seconds."""

    rule: str
    """Id of its rule: `<group file>;<group>;<alert>`."""
    labels: Labels
    """Labels of the query, of the rule, and `alertname`. They identify the instance."""
    annotations: Labels
    state: AlertState
    value: float
    active_at: float
    fired_at: float | None = None
    keep_firing_since: float | None = None
    resolved_at: float | None = None
    """Set when it stops firing. The instance is then kept for 15 minutes, for the resolved notice."""
    unknown_since: float | None = None
    """Set while the targets of its series are away, or its rule cannot be evaluated: no data confirms or
    refutes it."""
    away: tuple[str, ...] = ()
    """Those targets, as `job/instance`; `its query` while the rule cannot be evaluated. For a resolved alert: the
    removed targets whose removal resolved it."""
    changes: tuple[float, ...] = ()
    """Times at which it began and ceased to fire before this episode, oldest first (alerts/changes.py). () for most."""

    @cached_property
    def fingerprint(self) -> str:
        """Stable id of 16 hex digits, for API paths and Slack buttons."""
        return fingerprint(self.labels)

    def moved_by(self, by_s: float) -> AlertInstance:
        """Return the instance with its times moved by `by_s`, as the clock was. Its durations stay the same."""
        times = {name: getattr(self, name) for name in INSTANCE_TIMES}
        moved = replace(self, **{name: at + by_s for name, at in times.items() if at is not None})
        return replace(moved, changes=tuple(at + by_s for at in self.changes)) if self.changes else moved


def fingerprint(labels: Labels) -> str:
    """Return a stable 16-digit hex digest of a label set (BLAKE2b-64)."""
    body = "\xff".join(f"{k}\xfe{v}" for k, v in labels)
    return hashlib.blake2b(body.encode(), digest_size=8).hexdigest()


class Transition(NamedTuple):
    """One change of state, with its sentence for the history.

    `before` and `after` are equal when an alert becomes unknown, and when its data is back.
    """

    instance: AlertInstance
    before: AlertState
    after: AlertState
    at: float
    sentence: str


class AlertLog(Protocol):
    """Durable storage of alerts. Synchronous: callers on an event loop use a thread."""

    def load(self, rule: str) -> Sequence[AlertInstance]:
        """Return the rule's instances as last recorded. Inactive ones are kept for their resolved notice only."""
        ...

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        """Replace the rule's instances and append its transitions, in one transaction with their outbox rows.

        Raises alerts.errors.NotStored when the alerts cannot be stored, and the host's error when the caller's lease is
        lost. Nothing is written then.
        """
        ...


@dataclass(frozen=True)
class Notice:
    """A notification that is not about an alert. Nothing fires, and nothing will resolve."""

    title: str
    text: str
    severity: str = "info"
    """info, warning or critical."""
    subject: str = ""
    """Subject of the notice beside the group's labels, such as a switch."""


@dataclass(frozen=True)
class Button:
    """A button of a message. A click runs the host's action of this name. Notifiers without buttons leave it out."""

    text: str
    action: str
    """Name of the action, such as `rollout.approve`. A message has at most one button of each action."""
    value: str
    """The action's argument, such as a rollout's id."""
    style: str = ""
    """`primary`, `danger` or ""."""
    confirm: str = ""
    """Text of the dialog that asks before the click counts; "" for no dialog."""


@dataclass(frozen=True)
class Mark:
    """A person's decision about one firing alert of a message: it is acknowledged or snoozed."""

    fingerprint: str
    text: str
    """Such as `acknowledged by ann`."""


FLAP_WORDS = "flapping: {n} changes in the last {minutes} minutes"


@dataclass(frozen=True)
class Flap:
    """An alert of a message that fires and resolves again and again, or that has ceased to."""

    fingerprint: str
    changes: int
    """How often it began or ceased to fire within `within_s`; 0: it has settled, and fires."""
    within_s: float
    """Seconds, whole minutes: those in which it changed, or in which it has not changed any more."""
    changed_at: float
    """Unix second of its last change."""

    @property
    def sentence(self) -> str:
        """Sentence that says how it flaps: `flapping: 7 changes in the last 5 minutes`."""
        return FLAP_WORDS.format(n=self.changes, minutes=round(self.within_s / 60))


@dataclass(frozen=True)
class StormCount:
    """Number of alerts of a storm with one name and one severity."""

    name: str
    severity: str
    alerts: int


@dataclass(frozen=True)
class Storm:
    """Facts about a storm: many alerts that began together and have one cause."""

    label: str
    """Name of the label that is the cause: `node`."""
    value: str
    groups: int
    """Number of groups whose alerts the message has, and that send none themselves."""
    counts: tuple[StormCount, ...]
    """The alerts by name and severity, the most frequent first."""
    acts: tuple[str, ...] = ()
    """Sentences of rollouts and reloads shortly before."""
    rest: int = 0
    """Number of alerts that still fire when the storm is over. Their groups send them."""


@dataclass(frozen=True)
class MessageRef:
    """Place of a delivered message. The group's next message updates it, or is a reply in its thread."""

    place: str
    """The notifier's own reference, such as Slack's `channel/ts`. Others store and show it, but never parse it.
    Empty when the receiver's messages have no place; it is then not stored."""
    note: str = ""
    """Remark on this delivery for the record, such as "sent as plain text". Not part of the place."""


@dataclass(frozen=True)
class Above:
    """A group that a step of an escalation goes on from: its key and its generation."""

    group_key: str
    generation: int


@dataclass(frozen=True)
class Escalated:
    """Why a further receiver gets a message: a step of an escalation."""

    step: int
    """Number of the step in its route, from 1."""
    steps: int
    """Number of steps of the route."""
    after_s: float
    """Seconds since the group opened, in which nobody acknowledged its alerts."""
    above: tuple[Above, ...] = ()
    """The groups of the route's own receiver. Their messages are about the same alerts."""


@dataclass(frozen=True)
class OnCall:
    """The people on call when a message was made. Notifiers know their addresses from the configuration."""

    rota: str
    people: tuple[str, ...]
    """Names of people in fleet.yaml; nobody: the message goes to the rota's fallback."""


@dataclass(frozen=True)
class Message:
    """A notification of one alert group, or one notice. It has no markup: each notifier renders it."""

    group_key: str
    receiver: str
    status: str
    """`firing`, `resolved` (every alert in it is resolved) or `notice`."""
    group_labels: Labels
    firing: tuple[AlertInstance, ...]
    """The firing alerts: those that nothing holds back, and acknowledged ones that an earlier message had."""
    resolved: tuple[AlertInstance, ...]
    sequence: int
    """Number of the message within its group's generation. (group_key, generation, sequence) is the message's id."""
    generation: int
    console_url: str = ""
    sent_at: datetime | None = None
    repeat: bool = False
    """True when an earlier attempt may have been delivered. The notifier then looks for its id before it posts."""
    overtaken: bool = False
    """True when a newer message of the same group is queued: its content replaces that of this one. Not stored."""
    notice: Notice | None = None
    """Set for a notice; the message then has no alerts."""
    buttons: tuple[Button, ...] = ()
    edit: bool = False
    """True: the message only replaces the content of its group's message. Nothing is posted, and nobody is notified."""
    marks: tuple[Mark, ...] = ()
    """Marks of alerts in `firing`. The others are news."""
    flaps: tuple[Flap, ...] = ()
    """Alerts in `firing` that flap, and those that have settled. A flapping alert is in `firing` between its episodes,
    too."""
    storm: Storm | None = None
    """Set for a message of a storm."""
    moved: int = 0
    """Number of alerts of earlier messages that still fire, and that other groups tell of since the routes changed."""
    escalated: Escalated | None = None
    """Set when a step of an escalation sends the message."""
    above: tuple[MessageRef, ...] = ()
    """Places of the messages of `escalated.above`, where they have arrived. The sender sets it; it is not stored."""
    on_call: OnCall | None = None
    """Set when a rota decides who gets the message."""
    undelivered: str = ""
    """Set when the message's receiver refused it for good and another notifier gets it: the receiver, and why."""
    texts: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Texts of the receiver's own by place, such as `title`, in the receiver's markup. Not stored."""

    @property
    def id(self) -> str:
        """Id of the message. A repeat after a crash has the same id."""
        return f"{self.group_key}/{self.generation}/{self.sequence}"


class Notifier(Protocol):
    """Delivers messages to one receiver, at least once. `Message.id` identifies repeats."""

    name: str

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Deliver a message; update `root` or reply to it where the receiver supports that. Return the ref to store.

        Raises alerts.errors.DeliveryFailed. Its `retry_after` is the receiver's own value in seconds; the sender bounds
        it. Its `permanent` is True when a retry cannot help.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
