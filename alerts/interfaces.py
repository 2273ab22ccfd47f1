"""Interfaces that the host of alerting (the control plane) implements, and the data they exchange. No I/O here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
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

    @property
    def fingerprint(self) -> str:
        """Stable id of 16 hex digits, for API paths and Slack buttons."""
        return fingerprint(self.labels)

    def moved_by(self, by_s: float) -> AlertInstance:
        """Return the instance with its times moved by `by_s`, as the clock was. Its durations stay the same."""
        times = {name: getattr(self, name) for name in INSTANCE_TIMES}
        return replace(self, **{name: at + by_s for name, at in times.items() if at is not None})


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
    notice: Notice | None = None
    """Set for a notice; the message then has no alerts."""
    buttons: tuple[Button, ...] = ()
    edit: bool = False
    """True: the message only replaces the content of its group's message. Nothing is posted, and nobody is notified."""
    marks: tuple[Mark, ...] = ()
    """Marks of alerts in `firing`. The others are news."""
    undelivered: str = ""
    """Set when the message's receiver refused it for good and another notifier gets it: the receiver, and why."""

    @property
    def id(self) -> str:
        """Id of the message. A repeat after a crash has the same id."""
        return f"{self.group_key}/{self.generation}/{self.sequence}"


@dataclass(frozen=True)
class MessageRef:
    """Place of a delivered message. The group's next message updates it, or is a reply in its thread."""

    place: str
    """The notifier's own reference, such as Slack's `channel/ts`. Others store and show it, but never parse it.
    Empty when the receiver's messages have no place; it is then not stored."""
    note: str = ""
    """Remark on this delivery for the record, such as "sent as plain text". Not part of the place."""


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
