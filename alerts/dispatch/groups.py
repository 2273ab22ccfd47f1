"""The stored state of a group of alerts, and the steps that change it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple, Protocol

from alerts.holds import Holds
from alerts.interfaces import AlertInstance, Message, MessageRef
from collectors.samples import Labels


@dataclass(frozen=True)
class ToldFlap:
    """A flapping alert as the last message of its group told it."""

    fingerprint: str
    changes: int
    told_at: float

    def moved_by(self, by_s: float) -> ToldFlap:
        """Return it with its time moved by `by_s`."""
        return replace(self, told_at=self.told_at + by_s)


@dataclass(frozen=True)
class GroupState:
    """State of one group at one receiver: its last message, and when that was made. Times are unix seconds."""

    key: str
    receiver: str
    labels: Labels
    generation: int
    """Grows each time the group reopens. A new generation posts a new message and does not update the old one."""
    sequence: int
    is_open: bool
    opened_at: float
    notified_at: float | None = None
    notified: tuple[AlertInstance, ...] = ()
    """The alerts that were firing in the last message."""
    held: tuple[str, ...] = ()
    """Fingerprints of the alerts in `notified` that were held back when the group was last decided on.

    They are told again when nothing holds them back any more, and told as resolved when they end.
    """
    flaps: tuple[ToldFlap, ...] = ()
    """Those of `notified` that the last message called flapping. They flap until they have settled."""
    recalled: bool = True
    """False when `notified`, and perhaps `labels`, could not be read. `decide` reconstructs both from the alerts."""

    def moved_by(self, by_s: float) -> GroupState:
        """Return the group with its times moved by `by_s`, as the clock was. Its waits end after the same duration."""
        return replace(
            self,
            opened_at=self.opened_at + by_s,
            notified_at=None if self.notified_at is None else self.notified_at + by_s,
            notified=tuple(instance.moved_by(by_s) for instance in self.notified),
            flaps=tuple(flap.moved_by(by_s) for flap in self.flaps),
        )


class GroupStep(NamedTuple):
    """A group's new state, the message to send (None: no message), and the reason in a sentence."""

    state: GroupState
    message: Message | None
    sentence: str


class Deliveries(NamedTuple):
    """Keys of the groups whose last message has not been delivered."""

    underway: Collection[str] = ()
    """Keys of groups whose last message is queued, being sent or being retried."""
    dead: Collection[str] = ()
    """Keys of groups whose last message was given up: a wrong token, a deleted channel."""


class Happened(NamedTuple):
    """A rollout's step or a reload of the configuration, which may have caused alerts."""

    at: float
    model: str | None
    """The model of a rollout; None: it concerns all models."""
    sentence: str


def _nothing(since: float, until: float) -> Sequence[Happened]:
    return ()


class Picture(NamedTuple):
    """All that a decision is made from, as it was at one moment."""

    instances: Sequence[AlertInstance] = ()
    groups: Mapping[str, GroupState] = MappingProxyType({})
    """Open and closed groups by key."""
    deliveries: Deliveries = Deliveries()
    holds: Holds = Holds()
    happened: Callable[[float, float], Sequence[Happened]] = _nothing
    """Reads what happened between two unix seconds, oldest first. It is called for the messages of storms only."""


Decide = Callable[[Picture], Sequence[GroupStep]]
"""Returns the steps of the groups that change."""


class GroupLog(Protocol):
    """Durable storage of groups. Synchronous: callers on an event loop use a thread."""

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep]:
        """Read, decide, and store new states with the outbox rows of their messages, all in one transaction.

        Raises the host's error when the caller's lease is lost. Nothing is written then.
        """
        ...

    def roots(self, wanted: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], MessageRef]:
        """Return the places of the first messages of groups, given as key and generation. A group may have none."""
        ...

    def remember(self, places: Mapping[tuple[str, int], MessageRef]) -> None:
        """Store the places of groups' messages, in one transaction. A group that has reopened since keeps its own."""
        ...
