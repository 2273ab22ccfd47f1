"""Orders to drivers, and the record of the latest one of each verb on each backend. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verb(StrEnum):
    """The driver's verbs that change something."""

    PLACE = "place"
    COMMIT = "commit"


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
    """Share of the requests of which `serve` gets a copy, 0 to 1. Clients do not get the answers to copies."""


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
