"""What one query may cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.errors import QueryError

LOOKBACK_S = 300.0
"""Maximum age of a sample that an instant selector returns, in seconds: Prometheus's default lookback delta."""


@dataclass(frozen=True)
class EngineLimits:
    """Limits and defaults of the PromQL engine. The first three are Prometheus's own defaults."""

    lookback_s: float = LOOKBACK_S
    max_samples: int = 50_000_000
    """Samples that one query may hold, loaded and computed."""
    max_points: int = 11_000
    """Steps of a range query."""
    subquery_step_s: float = 60.0
    """Resolution of a subquery that names none."""
    timeout_s: float = 30.0
    """How long one query may run."""


class Budget:
    """Counts one query's samples and time. Checked between the nodes of an expression and while loading."""

    def __init__(
        self,
        limits: EngineLimits,
        monotonic: Callable[[], float] = time.monotonic,
        timeout_s: float | None = None,
        unwanted: Callable[[], bool] = lambda: False,
    ) -> None:
        """`timeout_s` is the caller's own limit; it only shortens the engine's. `unwanted`: nobody waits any more."""
        self._left = self._most = limits.max_samples
        self._monotonic, self._unwanted = monotonic, unwanted
        self._timeout_s = limits.timeout_s if timeout_s is None else min(timeout_s, limits.timeout_s)
        self._deadline = monotonic() + self._timeout_s

    def charge(self, samples: int) -> None:
        """Account for `samples` more. Raises QueryError: execution beyond the limit, else see `check`."""
        self.require(samples)
        self._left -= samples

    def require(self, samples: int) -> None:
        """Raise as `charge` does, before `samples` that are accounted for later take memory."""
        if samples > self._left:
            raise QueryError(
                "execution",
                "query processing would load too many samples into memory in query execution: more than "
                f"{self._most:,}. Ask for fewer series, a shorter range or a longer step",
            )
        self.check()

    def check(self) -> None:
        """Raise QueryError: timeout once the deadline has passed, canceled once nobody waits for the answer."""
        if self._unwanted():
            raise QueryError("canceled", "query was canceled in expression evaluation")
        if self._monotonic() > self._deadline:
            raise QueryError("timeout", f"query timed out in expression evaluation after {self._timeout_s:g}s")
