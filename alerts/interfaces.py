"""What alerting needs from its host. The control plane supplies these; nothing here does I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from collectors.samples import Labels


class Clock(Protocol):
    """Wall-clock time, injected so that tests are timelines."""

    def now(self) -> float:
        """Return unix seconds."""
        ...


class VectorSample(NamedTuple):
    """One element of an instant query's result. `labels` may hold `__name__`."""

    labels: Labels
    value: float


class Querier(Protocol):
    """Evaluates PromQL. Asynchronous, so that metrics may live in another process."""

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        """Evaluate `expr` at unix second `at`; a scalar result is one sample without labels.

        Raises alerts.errors.QueryFailed: a failed query is never an empty result.
        """
        ...


class AlertState(StrEnum):
    """Where an alert instance stands."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


INSTANCE_TIMES = ("active_at", "fired_at", "keep_firing_since", "resolved_at", "unknown_since")
"""The fields of an AlertInstance that are times."""


@dataclass(frozen=True)
class AlertInstance:
    """One label set of one alerting rule, with everything that a restart must not lose. Times are unix seconds."""

    rule: str
    """`<group file>;<group>;<alert>`: the identity of its rule."""
    labels: Labels
    """Query labels, rule labels, then `alertname`: the identity of the instance."""
    annotations: Labels
    state: AlertState
    value: float
    active_at: float
    fired_at: float | None = None
    keep_firing_since: float | None = None
    resolved_at: float | None = None
    """Set when it left firing; kept for the resolved notice, until `resolved_at` + 15 min."""
    unknown_since: float | None = None
    """Set while targets that its series came from are away: it keeps its state, which nothing confirms or denies."""
    away: tuple[str, ...] = ()
    """Those targets, as `job/instance`; of one that resolved, the targets whose removal ended it."""

    @property
    def fingerprint(self) -> str:
        """A stable 16-digit hex name for API paths and Slack buttons."""
        return fingerprint(self.labels)

    def moved_by(self, by_s: float) -> AlertInstance:
        """Return it as it is after the clock was set: it has lasted for as long as before."""
        times = {name: getattr(self, name) for name in INSTANCE_TIMES}
        return replace(self, **{name: at + by_s for name, at in times.items() if at is not None})


def fingerprint(labels: Labels) -> str:
    """Return a stable 16-digit hex digest of a label set (BLAKE2b-64)."""
    body = "\xff".join(f"{k}\xfe{v}" for k, v in labels)
    return hashlib.blake2b(body.encode(), digest_size=8).hexdigest()


class Transition(NamedTuple):
    """One change of state, with the sentence that a person reads in the history.

    `before` and `after` are the same where an alert becomes unknown, or known again.
    """

    instance: AlertInstance
    before: AlertState
    after: AlertState
    at: float
    sentence: str


class AlertLog(Protocol):
    """The durable memory of alerting. Synchronous; callers on an event loop use a thread."""

    def load(self, rule: str) -> Sequence[AlertInstance]:
        """Return the rule's instances as last recorded (inactive ones only until their resolved notice is over)."""
        ...

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        """Replace the rule's instances and append its transitions, in one transaction with their outbox rows.

        Raises alerts.errors.NotStored for alerts that cannot be stored, and whatever the host raises when the caller's
        lease is lost; then nothing was written.
        """
        ...


@dataclass(frozen=True)
class Notice:
    """News that is no alert: nothing fires and nothing will resolve."""

    title: str
    text: str
    severity: str = "info"
    """info, warning or critical."""
    subject: str = ""
    """What it is about, beside the group's labels."""


@dataclass(frozen=True)
class Message:
    """A neutral notification of one alert group, or one notice; each notifier renders it its own way."""

    group_key: str
    receiver: str
    status: str
    """firing or resolved (resolved when every alert in it is), or notice."""
    group_labels: Labels
    firing: tuple[AlertInstance, ...]
    resolved: tuple[AlertInstance, ...]
    sequence: int
    """Counts messages of one group generation: (group_key, generation, sequence) is the message's own id."""
    generation: int
    console_url: str = ""
    sent_at: datetime | None = None
    repeat: bool = False
    """An earlier attempt may have been delivered: the notifier looks for it by id before it posts anew."""
    notice: Notice | None = None
    """Instead of alerts."""
    undelivered: str = ""
    """Set where this goes to another notifier because its receiver refused it for good: which one, and why."""

    @property
    def id(self) -> str:
        """The message's own id: a repeat after a crash carries the same one."""
        return f"{self.group_key}/{self.generation}/{self.sequence}"


@dataclass(frozen=True)
class MessageRef:
    """Where a notifier put a message, so that the next one of the group can update or thread it."""

    place: str
    """The notifier's own words, which nobody else reads: stored, handed back, and shown to people as they are."""
    note: str = ""
    """What is to be known of this delivery (it went out in another form), for the record; not part of the place."""


class Notifier(Protocol):
    """Delivers messages to one place. Delivery is at least once; `Message.id` tells repeats apart."""

    name: str

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Deliver, updating or threading on `root` where the medium can; return the ref to remember, if any.

        Raises alerts.errors.DeliveryFailed, with `retry_after` seconds when the far side said so (whatever it said: the
        sender bounds it), and `permanent=True` when trying again cannot help.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
