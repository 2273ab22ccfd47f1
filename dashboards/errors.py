"""Errors of this package.

GrafanaError
└── GrafanaUnreachable
"""

from __future__ import annotations


class GrafanaError(Exception):
    """Grafana refused a request, or answered something else than expected. The text has the cure."""


class GrafanaUnreachable(GrafanaError):
    """Grafana did not answer."""
