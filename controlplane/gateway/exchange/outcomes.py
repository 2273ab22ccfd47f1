"""Words for the end of a request in metrics and records."""

from __future__ import annotations

from controlplane.gateway.refusal import RefusalKind
from controlplane.gateway.request import Outcome

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


def of_status(status: int) -> Outcome:
    """Return the outcome of a whole answer of an engine."""
    if status < 400:
        return Outcome.OK
    if status in (408, 504):
        return Outcome.TIMEOUT
    if status in (429, 503):
        return Outcome.REJECTED
    if status >= 500 or status in (401, 403, 407):  # the gateway's own credentials: no client sees the engine's
        return Outcome.ERROR
    return Outcome.INVALID
