"""Delay before a request is sent again. Pure."""

from __future__ import annotations

MAX_RETRY_AFTER_S = 600.0
"""Maximum delay in seconds that a server can ask for by Retry-After. Chosen: what waits in a queue expires."""


def delay_s(attempt: int, minimum_s: float, maximum_s: float, jitter: float, retry_after_s: float | None) -> float:
    """Return the seconds to wait after attempt `attempt` failed. The first attempt is 0.

    The delay doubles from `minimum_s` to `maximum_s`. `jitter` in [0, 1) shortens it by up to half, so that senders do
    not all retry at the same time. `retry_after_s`, the server's own delay, can only lengthen it.
    """
    doubled = minimum_s * 2.0 ** min(attempt, 60)
    waited = min(maximum_s, doubled) * (1 - jitter / 2)
    return waited if retry_after_s is None else max(waited, min(retry_after_s, MAX_RETRY_AFTER_S))
