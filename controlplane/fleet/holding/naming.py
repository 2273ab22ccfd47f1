"""Names of alerts in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from alerts.interfaces import AlertInstance

NAMED = 5
"""Most alerts that a sentence names."""


def names_of(alerts: Sequence[AlertInstance]) -> str:
    """Return the names of alerts with their labels, and the number of those that are left out."""
    names = [_name(alert) for alert in alerts[:NAMED]]
    return ", ".join(names + ([f"{len(alerts) - NAMED} more"] if len(alerts) > NAMED else []))


def _name(alert: AlertInstance) -> str:
    labels = dict(alert.labels)
    name = labels.pop("alertname", "?")
    inner = ", ".join(f"{key}={value}" for key, value in labels.items() if key != "severity")
    return f"{name} ({inner})" if inner else name
