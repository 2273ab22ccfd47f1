"""Routes alerts to a receiver and groups them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from alerts.dispatch.muting import Muting
from alerts.interfaces import AlertInstance, AlertState
from alerts.routing.tree import ALL_LABELS
from collectors.samples import Labels

UNROUTED_SEVERITY = "none"
"""Severity of alerts that no receiver gets. The Watchdog has it: it is for machines."""


@dataclass(frozen=True)
class Route:
    """A receiver and how its alerts are grouped. Fields are named as in Alertmanager; durations are seconds."""

    receiver: str
    group_by: tuple[str, ...] = ("model", "alertname")
    """Labels that a group shares. `("...",)` makes every alert a group of its own."""
    group_wait_s: float = 10.0
    group_interval_s: float = 60.0
    repeat_interval_s: float = 4 * 3600.0


@dataclass
class Members:
    """The firing alerts of one group, by labels."""

    firing: dict[Labels, AlertInstance] = field(default_factory=dict)
    muted: dict[Labels, AlertInstance] = field(default_factory=dict)
    """Firing alerts that are held back now."""


@dataclass
class Sorted:
    """Alerts, sorted into groups."""

    groups: dict[str, Members] = field(default_factory=dict)
    """Members by group key. Only groups with a firing alert are in it."""
    ended: dict[Labels, AlertInstance] = field(default_factory=dict)
    """Resolved alerts, by labels."""

    def members(self, key: str) -> Members:
        """Return the firing alerts of a group."""
        return self.groups.get(key) or Members()


def group_labels(route: Route, labels: Labels) -> Labels:
    """Return the labels that an alert is grouped by."""
    if route.group_by == (ALL_LABELS,):
        return labels
    return tuple((k, v) for k, v in labels if k in route.group_by)


def group_key(receiver: str, labels: Labels) -> str:
    """Return a group's readable name: `ops{alertname="LLMModelDown",model="chat"}`."""
    return f"{receiver}{{{','.join(f'{k}={v!r}' for k, v in labels)}}}"


def sort(route: Route, muting: Muting, instances: Iterable[AlertInstance], at: float) -> Sorted:
    """Route, mute and group the alerts at unix second `at`."""
    found = Sorted()
    for instance in sorted(instances, key=lambda i: (i.active_at, i.labels)):
        if dict(instance.labels).get("severity") == UNROUTED_SEVERITY:
            continue
        if instance.state is AlertState.FIRING:
            key = group_key(route.receiver, group_labels(route, instance.labels))
            members = found.groups.setdefault(key, Members())
            kept = members.muted if muting.reason(instance, at) else members.firing
            kept.setdefault(instance.labels, instance)
        elif instance.resolved_at is not None:
            found.ended[instance.labels] = instance
    return found
