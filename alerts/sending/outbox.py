"""The queue of messages, as the sender needs it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeVar

MAX_RETRY_AFTER_S = 600.0
"""Maximum wait that a receiver can ask for, in seconds. An absurd Retry-After must not hold back an alert."""


class Entry(Protocol):
    """A claimed message."""

    @property
    def message_id(self) -> str:
        """Id of the message."""
        ...

    @property
    def receiver(self) -> str:
        """Name of the notifier."""
        ...

    @property
    def lane(self) -> str:
        """Name of the queue in which messages are sent in order."""
        ...

    @property
    def payload(self) -> Mapping[str, Any]:
        """The message, as alerts.wire.message_to_json wrote it."""
        ...

    @property
    def attempts(self) -> int:
        """Number of attempts so far, this one included."""
        ...

    @property
    def followed_by(self) -> str:
        """Id of the next message of its lane that is queued; "" for none."""
        ...

    @property
    def after_given_up(self) -> bool:
        """Whether an earlier message of its group's generation was given up, and so went to the other receivers."""
        ...


class Fate(StrEnum):
    """The end of a claim of a message."""

    SENT = "sent"
    RETRY = "retry"
    """The attempt failed, and the message is due again later."""
    RELEASED = "released"
    """No attempt was made. The message is due again later, and the claim does not count as an attempt."""
    DEAD = "dead"
    """It is given up."""


class Substitute(NamedTuple):
    """A message for another receiver, because its own could not deliver it."""

    message_id: str
    receiver: str
    lane: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The end of one claim."""

    entry: Any
    """The Entry, as `claim` returned it."""
    fate: Fate
    at: float
    """Unix seconds: when it was sent or given up, or when it is due again."""
    error: str | None = None
    result: Mapping[str, Any] | None = None
    """Record of the delivery of a sent message."""
    substitutes: tuple[Substitute, ...] = ()
    """Messages that are queued in the same transaction."""


E_co = TypeVar("E_co", bound=Entry, covariant=True)


class Outbox(Protocol[E_co]):
    """The queue. Synchronous: callers on an event loop use a thread."""

    def claim(self, holder: str, now: float, ttl_s: float, limit: int, without: Collection[str] = ()) -> Sequence[E_co]:
        """Claim due messages, `limit` of each receiver at most, for `ttl_s` seconds. Each claim counts as an attempt.

        At most one message of a lane is claimed at a time. Nothing is claimed for the receivers in `without`, and for
        those that asked to wait.
        """
        ...

    def settle(self, outcomes: Sequence[Outcome]) -> Sequence[E_co]:
        """Record the ends of claims, in one transaction. Return the entries whose claims were not ours any more.

        Nothing was written about the returned ones.
        """
        ...

    def hold(self, receiver: str, until: float) -> None:
        """Claim no message of a receiver before unix second `until`. It outlasts a restart."""
        ...

    def free(self, receivers: Collection[str]) -> None:
        """End the waits of receivers."""
        ...
