"""Limits of one query: samples and time."""

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
    """Maximum number of samples that one query may load and compute."""
    max_points: int = 11_000
    """Maximum number of steps of a range query."""
    subquery_step_s: float = 60.0
    """Step of a subquery that names none, in seconds."""
    timeout_s: float = 30.0
    """Maximum time of one query, in seconds."""


class Budget:
    """Counts one query's samples and time. Checked between the nodes of an expression and while loading."""

    def __init__(
        self,
        limits: EngineLimits,
        monotonic: Callable[[], float] = time.monotonic,
        timeout_s: float | None = None,
        unwanted: Callable[[], bool] = lambda: False,
    ) -> None:
        """`timeout_s` can only shorten the engine's limit. `unwanted` returns whether nobody waits for the answer."""
        self._left = self._most = limits.max_samples
        self._monotonic, self._unwanted = monotonic, unwanted
        self._timeout_s = limits.timeout_s if timeout_s is None else min(timeout_s, limits.timeout_s)
        self._deadline = monotonic() + self._timeout_s

    def charge(self, samples: int) -> None:
        """Count `samples` more. Raises QueryError(execution) beyond the limit, and the errors of `check`."""
        self.require(samples)
        self._left -= samples

    def require(self, samples: int) -> None:
        """Check that `samples` more are within the limit, without counting them. Call it before memory is allocated.

        Raises QueryError(execution) beyond the limit, and the errors of `check`.
        """
        if samples > self._left:
            raise QueryError(
                "execution",
                "query processing would load too many samples into memory in query execution: more than "
                f"{self._most:,}. Ask for fewer series, a shorter range or a longer step",
            )
        self.check()

    def check(self) -> None:
        """Raise QueryError(timeout) past the deadline, or QueryError(canceled) once nobody waits for the answer."""
        if self._unwanted():
            raise QueryError("canceled", "query was canceled in expression evaluation")
        if self._monotonic() > self._deadline:
            raise QueryError("timeout", f"query timed out in expression evaluation after {self._timeout_s:g}s")
