"""Health of one backend, as this worker's own requests show it: passive ejection, and a probe by one request."""

from __future__ import annotations

from enum import Enum

CONNECT_FAILURES = 3
"""Successive failures to connect that eject a backend."""
FAILURES = 5.0
"""Recent failures below which the ratio says nothing. Chosen."""
RATIO = 0.5
"""Share of recent requests that failed, from which a backend is ejected. Chosen."""
HALF_LIFE_S = 10.0
"""Time after which a result, or the load of a failure, counts half. Chosen: a restart of an engine takes longer."""
FOLD_S = 0.5
"""Age of the recent results, in seconds, from which they are faded. It is short against HALF_LIFE_S."""
FIRST_S = 5.0
"""Length of the first ejection, in seconds. Each further one is twice as long."""
LONGEST_S = 300.0
"""Limit of an ejection's length, as Envoy's `max_ejection_time`."""
FORGIVEN_S = 60.0
"""Time in service after which the next ejection is a first one again."""


class Verdict(Enum):
    """The judgement on one attempt."""

    GOOD = "good"
    FAILED = "failed"
    UNREACHED = "unreached"
    """No connection could be made."""
    BUSY = "busy"
    """The engine refused the request because it has too many."""
    UNDECIDED = "undecided"
    """It says nothing about the backend: the client left, or the request was wrong."""


class Health:
    """Recent results, ejection and probe of one backend. Times are monotonic seconds."""

    __slots__ = (
        "_bad", "_ejections", "_good", "_probes", "_returned_at", "_seen_at", "_unreached", "lost_at", "lost_work",
        "out_until", "probing",
    )  # fmt: skip

    def __init__(self) -> None:
        self._unreached = 0
        """Successive failures to connect."""
        self._good = 0.0
        self._bad = 0.0
        self._seen_at = 0.0
        self._ejections = 0
        self._returned_at = 0.0
        self.out_until: float | None = None
        """End of the ejection. After it one request may try the backend. None: in service."""
        self.probing = 0
        """Number of that request while it is on its way. 0: there is none."""
        self._probes = 0
        self.lost_work = 0.0
        """Work of requests that failed, as of `lost_at`: a backend that fails fast must not look idle."""
        self.lost_at = 0.0

    def may_probe(self, now: float) -> bool:
        """Return whether one request may try the ejected backend."""
        return self.out_until is not None and self.out_until <= now and not self.probing

    def probe(self) -> int:
        """Begin the probe, and return its number."""
        self._probes += 1
        self.probing = self._probes
        return self._probes

    def load(self, now: float) -> float:
        """Return the load that recent failures count as, in tokens."""
        if not self.lost_work:
            return 0.0
        left = self.lost_work * _faded(now - self.lost_at)
        return left if left >= 1.0 else 0.0

    def judge(self, verdict: Verdict, work: float, now: float) -> bool:
        """Note the result of an attempt with `work` tokens. Return whether the backend should be ejected for it."""
        if verdict is Verdict.UNDECIDED:
            return False
        if verdict is Verdict.BUSY:
            self._unreached = 0
            self._lose(work, now)
            return False
        if now - self._seen_at >= FOLD_S:
            fade = _faded(now - self._seen_at)
            self._seen_at = now
            self._good *= fade
            self._bad *= fade
        if verdict is Verdict.GOOD:
            self._good += 1.0
            self._unreached = 0
            return False
        self._bad += 1.0
        self._unreached = self._unreached + 1 if verdict is Verdict.UNREACHED else 0
        self._lose(work, now)
        return self._unreached >= CONNECT_FAILURES or (
            self._bad >= FAILURES and self._bad >= RATIO * (self._good + self._bad)
        )

    def eject(self, now: float) -> None:
        """Take the backend out of service, twice as long as the last time."""
        if self.out_until is None and now - self._returned_at >= FORGIVEN_S:
            self._ejections = 0
        self.probing = 0
        self.out_until = now + min(FIRST_S * 2.0**self._ejections, LONGEST_S)
        self._ejections = min(self._ejections + 1, 16)

    def restore(self, now: float) -> None:
        """Put the backend back into service. Its results so far count no more."""
        self.out_until = None
        self.probing = 0
        self._returned_at = now
        self._unreached = 0
        self._good = self._bad = 0.0
        self.lost_work = 0.0

    def _lose(self, work: float, now: float) -> None:
        self.lost_work = self.load(now) + work
        self.lost_at = now


def _faded(seconds: float) -> float:
    return 1.0 if seconds <= 0.0 else 0.5 ** (seconds / HALF_LIFE_S)
