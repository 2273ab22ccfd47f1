"""Words for the end of a request in metrics and records."""

from __future__ import annotations

from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import ModelPlace, Operation, Outcome

OF_REFUSAL = {
    RefusalKind.RATE_LIMITED: Outcome.REJECTED,
    RefusalKind.BUDGET_SPENT: Outcome.REJECTED,
    RefusalKind.OVERLOADED: Outcome.REJECTED,
    RefusalKind.NO_CAPACITY: Outcome.REJECTED,
    RefusalKind.STOPPING: Outcome.REJECTED,
    RefusalKind.UPSTREAM_FAILED: Outcome.ERROR,
    RefusalKind.UPSTREAM_TIMEOUT: Outcome.TIMEOUT,
    RefusalKind.BROKEN: Outcome.ERROR,
}
"""Outcome of a request that the gateway refused. Every other refusal is for a request that is wrong."""


UNTOUCHED = (Outcome.REJECTED, Outcome.INVALID)
"""Outcomes of requests on which no engine worked: nothing is charged."""


def of_refusal(kind: RefusalKind) -> Outcome:
    """Return the outcome of a refused request."""
    return OF_REFUSAL.get(kind, Outcome.INVALID)


def unfit(status: int, operation: Operation, engine: str, *, begun: bool) -> Refusal | None:
    """Return what a client gets in place of an engine's answer with this status, or None: the answer passes.

    `engine`: the engine in words. `begun`: the client has a head of 200 already, because the engine was silent.
    """
    if _redirects(status):
        # It leads round the gateway, and names the engine's address. On a path of the engine's own it is the client
        # that asks for a path that is not there, such as one with a slash too many.
        if operation.place is ModelPlace.HEADER:
            return Refusal(RefusalKind.UNKNOWN_PATH, "The engine has another path for this; redirects do not pass")
        return Refusal(RefusalKind.UPSTREAM_FAILED, f"The {engine} answered with a redirect, which does not pass")
    if begun and status >= 400:
        return Refusal(RefusalKind.UPSTREAM_FAILED, f"The {engine} answered {status}")
    return None


def _redirects(status: int) -> bool:
    return 300 <= status < 400 and status != 304


def of_status(status: int) -> Outcome:
    """Return the outcome of a whole answer of an engine."""
    if _redirects(status):
        return Outcome.ERROR
    if status < 400:
        return Outcome.OK
    if status in (408, 504):
        return Outcome.TIMEOUT
    if status in (429, 503):
        return Outcome.REJECTED
    if status >= 500 or status in (401, 403, 407):  # the gateway's own credentials: no client sees the engine's
        return Outcome.ERROR
    return Outcome.INVALID
