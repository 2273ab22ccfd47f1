"""How long a provider is left alone after a failure."""

from __future__ import annotations

from collectors.errors import UnexpectedStatus
from collectors.http.retry_after import retry_after_s

RETRY_S = 60.0
"""Seconds until a failed cycle goes on, unless the provider says another time."""
MAX_RETRY_S = 3600.0
"""A longer wait that a provider asks for is cut to this."""


class Limited(UnexpectedStatus):
    """The provider asks to wait."""

    def __init__(self, told: str, retry_after: str, now: float) -> None:
        """`told` says who answered what. `retry_after` is the header of that name, `now` is in unix seconds."""
        asked = retry_after_s(retry_after, now)
        self.wait_s = min(MAX_RETRY_S, RETRY_S if asked is None else max(1.0, asked))
        super().__init__(f"{told}: too many requests; the next try is in {self.wait_s:.0f} s")
