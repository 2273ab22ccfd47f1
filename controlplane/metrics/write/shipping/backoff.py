"""How long to wait before a request is sent again. Pure."""

from __future__ import annotations

MAX_RETRY_AFTER_S = 600.0
"""A server that asks for more is asked again after this long: samples only live for so long."""


def delay_s(attempt: int, minimum_s: float, maximum_s: float, jitter: float, retry_after_s: float | None) -> float:
    """Return the seconds before attempt `attempt` + 1 (the first failed one is 0).

    Doubles from `minimum_s` to `maximum_s`; `jitter` in [0, 1) takes up to half of it away, so that senders that failed
    together do not come back together. A server's own wish comes first, and never shortens the wait.
    """
    doubled = minimum_s * 2.0 ** min(attempt, 60)
    waited = min(maximum_s, doubled) * (1 - jitter / 2)
    return waited if retry_after_s is None else max(waited, min(retry_after_s, MAX_RETRY_AFTER_S))
