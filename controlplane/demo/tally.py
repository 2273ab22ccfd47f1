"""Counts of the load generator: every request ends as exactly one of ok, failed or cut."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_ERRORS_KEPT = 5


class RequestFailed(Exception):
    """A request was refused, answered with an error, or not answered in time."""


class StreamCut(Exception):
    """A stream began and ended without its final marker."""


@dataclass
class Tally:
    """Counts of one destination. A request that is still running when the load stops is in none of them."""

    name: str
    ok: int = 0
    failed: int = 0
    cut: int = 0
    in_flight: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    """The first few, as they were seen."""

    @property
    def requests(self) -> int:
        """Requests that ended."""
        return self.ok + self.failed + self.cut

    def answered(self, version: str) -> None:
        """A whole answer came; `version` is what it said of itself."""
        self.ok += 1
        self.versions[version] += 1

    def broken(self, error: RequestFailed | StreamCut) -> None:
        """An answer did not come, or not whole."""
        if isinstance(error, StreamCut):
            self.cut += 1
        else:
            self.failed += 1
        if len(self.errors) < _ERRORS_KEPT:
            self.errors.append(str(error))

    def line(self) -> str:
        """The one-line account, such as `4211 requests to model, 0 failed, 0 cut (v1 2000, v2 2211)`."""
        served = ", ".join(f"{version} {count}" for version, count in sorted(self.versions.items()))
        text = f"{self.requests} requests to {self.name}, {self.failed} failed, {self.cut} cut"
        return f"{text} ({served})" if served else text

    def as_json(self) -> dict[str, Any]:
        """For GET /stats."""
        return {
            "requests": self.requests,
            "ok": self.ok,
            "failed": self.failed,
            "cut": self.cut,
            "in_flight": self.in_flight,
            "versions": dict(sorted(self.versions.items())),
            "errors": list(self.errors),
            "line": self.line(),
        }
