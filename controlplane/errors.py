"""Errors of the control plane: the roots that every layer may raise. `controlplane/api/problems.py` maps them to HTTP.

ControlPlaneError           the message is fit for an operator: names the thing, the place and the cure
├── ConfigError             fleet.yaml or another file is wrong: file, line, field, what was expected
├── NotFound                the named thing does not exist
├── Conflict                the thing is in a state that does not allow it (a rollout is already running)
├── Refused                 planning refused the action: reasons, and what to do next
├── Forbidden / Unauthenticated
├── Unavailable             a dependency (engine, database, target) cannot be reached now
├── NotStorable             a text that the database cannot hold; other texts can be stored
├── Unreadable              a stored row that this release cannot read; other rows can be read
├── LeaseLost               another process holds the lease; nothing was written
├── MalformedRequest        a request's body that cannot be read: the fault, and its place
│   ├── TooLarge            a request's body beyond a limit, and which limit
│   └── TooSlow             a request's body that does not arrive in time
└── QueryError              PromQL: kind is one of Prometheus's error types
"""

from __future__ import annotations

from pathlib import Path


class ControlPlaneError(Exception):
    """Root of all errors that the control plane raises on purpose."""


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
    """The thing is in a state that does not allow the action."""


class Refused(ControlPlaneError):
    """Planning refused the action before anything was changed."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class Unauthenticated(ControlPlaneError):
    """No valid token came with the request."""


class Forbidden(ControlPlaneError):
    """The token's role does not allow the action."""


class Unavailable(ControlPlaneError):
    """A dependency cannot be reached now; trying again later may help."""


class NotStorable(ControlPlaneError):
    """A value that the database cannot hold, such as a text with a NUL. Trying again cannot help."""


class Unreadable(ControlPlaneError):
    """A stored row cannot be read: it is damaged, or of a newer release. It is left as it is."""


class LeaseLost(ControlPlaneError):
    """Another process took the lease over. This process wrote nothing."""


class MalformedRequest(ControlPlaneError):
    """A request's body cannot be read."""


class TooLarge(MalformedRequest):
    """A request's body goes beyond a limit."""


class TooSlow(MalformedRequest):
    """A request's body did not arrive in time."""


class QueryError(ControlPlaneError):
    """A PromQL query failed.

    `kind` is one of Prometheus's error types: bad_data, execution, timeout, canceled (the client is gone) or
    unavailable (too many queries wait). Or it is Mimir's too_many_requests (too many queries of one client wait).
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
