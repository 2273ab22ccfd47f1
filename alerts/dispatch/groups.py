"""What is remembered of a group of alerts, and what may change of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from alerts.interfaces import AlertInstance, Message, MessageRef
from collectors.samples import Labels


@dataclass(frozen=True)
class GroupState:
    """What one receiver was last told about one group. Times are unix seconds."""

    key: str
    receiver: str
    labels: Labels
    generation: int
    """Grows each time the group reopens: a new generation is a new message, not an update of the old one."""
    sequence: int
    is_open: bool
    opened_at: float
    notified_at: float | None = None
    notified: tuple[AlertInstance, ...] = ()
    """The alerts that were firing in the last message."""
    recalled: bool = True
    """False: what was told cannot be read any more, nor perhaps `labels`; `decide` finds out from the alerts."""

    def moved_by(self, by_s: float) -> GroupState:
        """Return it as it is after the clock was set: what waits goes on waiting for as long as it would have."""
        return replace(
            self,
            opened_at=self.opened_at + by_s,
            notified_at=None if self.notified_at is None else self.notified_at + by_s,
            notified=tuple(instance.moved_by(by_s) for instance in self.notified),
        )


class GroupStep(NamedTuple):
    """A group's new state, the message to send, if any, and why."""

    state: GroupState
    message: Message | None
    sentence: str


class Deliveries(NamedTuple):
    """Groups, by key, whose last message has not simply arrived."""

    underway: Collection[str] = ()
    """It is queued, being sent or being retried."""
    dead: Collection[str] = ()
    """It was given up: a wrong token, a channel that is gone."""


Decide = Callable[[Sequence[AlertInstance], Mapping[str, GroupState], Deliveries], Sequence[GroupStep]]
"""(all instances, open and closed groups by key, deliveries) -> what changes."""


class GroupLog(Protocol):
    """The durable memory of groups. Synchronous; callers on an event loop use a thread."""

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep]:
        """Read, decide, and store new states with their messages' outbox rows, all in one transaction.

        Raises when the caller's lease is lost; then nothing was written.
        """
        ...

    def root(self, key: str, generation: int) -> MessageRef | None:
        """Return where the first message of this generation of a group is."""
        ...

    def remember(self, key: str, generation: int, ref: MessageRef) -> None:
        """Store where a group's message is; ignored when the group has reopened since."""
        ...
