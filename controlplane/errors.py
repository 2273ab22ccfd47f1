"""Errors of the control plane: the roots that every layer may raise. `controlplane/api/problems.py` maps them to HTTP.

ControlPlaneError           the message is fit for an operator: names the thing, the place and the cure
├── ConfigError             fleet.yaml or another file is wrong: file, line, field, what was expected
├── NotFound                the named thing does not exist
├── Conflict                the thing is in a state that does not allow it (a rollout is already running)
├── Refused                 planning said no: reasons, and what to do next
├── Forbidden / Unauthenticated
├── Unavailable             a dependency (engine, database, target) cannot be reached now
├── NotStorable             a text that the database cannot hold; everything else can be stored
├── Unreadable              a stored row that this release cannot read; every other row can be
├── LeaseLost               another process holds the lease; nothing was written
├── MalformedRequest        a body that cannot be read: what is wrong with it, and where
│   ├── TooLarge            a body beyond a limit: which one
│   └── TooSlow             a body that does not come to its end
└── QueryError              PromQL: kind is one of Prometheus's error types
"""

from __future__ import annotations

from pathlib import Path


class ControlPlaneError(Exception):
    """Root of everything that the control plane raises on purpose."""


class ConfigError(ControlPlaneError):
    """A configuration file is wrong."""

    def __init__(self, message: str, *, file: Path | str = "", line: int | None = None, field: str = "") -> None:
        place = ":".join(str(p) for p in (file, line) if p not in ("", None))
        super().__init__(": ".join(p for p in (place, field, message) if p))
        self.file, self.line, self.field, self.reason = str(file), line, field, message


class ConfigErrors(ControlPlaneError):
    """Every fault found in a configuration, one ConfigError each, so that one run of `check` shows all."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__("\n".join(str(e) for e in errors))
        self.errors = errors


class NotFound(ControlPlaneError):
    """The named thing does not exist."""


class Conflict(ControlPlaneError):
    """The thing is in a state that does not allow this."""


class Refused(ControlPlaneError):
    """Planning said no before anything moved."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class Unauthenticated(ControlPlaneError):
    """No valid token came with the request."""


class Forbidden(ControlPlaneError):
    """The token's role does not allow this."""


class Unavailable(ControlPlaneError):
    """A dependency cannot be reached now; trying again later may help."""


class NotStorable(ControlPlaneError):
    """A value that the database cannot hold, such as a text with a NUL. Trying again cannot help."""


class Unreadable(ControlPlaneError):
    """A stored row cannot be read: it is damaged, or of a newer release. It is left as it is."""


class LeaseLost(ControlPlaneError):
    """Another process took the lease over; this one wrote nothing."""


class MalformedRequest(ControlPlaneError):
    """A request's body cannot be read."""


class TooLarge(MalformedRequest):
    """A request's body goes beyond a limit."""


class TooSlow(MalformedRequest):
    """A request's body did not come to its end in time."""


class QueryError(ControlPlaneError):
    """A PromQL query failed.

    `kind` is Prometheus's error type: bad_data, execution, timeout, canceled (nobody waits any more) or unavailable
    (too many wait); or Mimir's too_many_requests (too many of one asker wait).
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
