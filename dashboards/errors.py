"""Errors of this package.

GrafanaError
├── DashboardRefused
└── GrafanaUnreachable
"""

from __future__ import annotations


class GrafanaError(Exception):
    """Grafana refused a request, or answered something else than expected. The text has the cure."""


class DashboardRefused(GrafanaError):
    """A dashboard in Grafana is left as it is. `title` names it, `reason` says why and has the cure."""

    def __init__(self, title: str, reason: str) -> None:
        super().__init__(f"{title} {reason}")
        self.title, self.reason = title, reason


class GrafanaUnreachable(GrafanaError):
    """Grafana did not answer."""
