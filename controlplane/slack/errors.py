"""Errors of this package.

SocketFailed    Slack's WebSocket cannot be opened, or ended; `permanent` where only a person can cure it
"""

from __future__ import annotations

from controlplane.errors import ControlPlaneError


class SocketFailed(ControlPlaneError):
    """Slack's WebSocket cannot be opened. `retry_after` is Slack's own wait in seconds, if it named one."""

    def __init__(self, message: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.permanent, self.retry_after = permanent, retry_after
