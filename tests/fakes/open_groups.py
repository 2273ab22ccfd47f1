"""The open groups of alerts, as dispatch reads them."""

from __future__ import annotations

from alerts.dispatch import GroupState
from controlplane.store.alert_groups import SqlGroupLog


def open_groups(log: SqlGroupLog) -> list[GroupState]:
    """Return the open groups by key."""
    groups = log.read().groups
    return [groups[key] for key in sorted(groups) if groups[key].is_open]
