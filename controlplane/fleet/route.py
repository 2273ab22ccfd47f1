"""The route of alerts, from `route:` in fleet.yaml."""

from __future__ import annotations

from alerts.dispatch import Route
from controlplane.config.model import Fleet

FALLBACK = "log"
"""Name of the receiver without a `route:`. Alerts then go to the log, so that none is lost."""


def route_of(fleet: Fleet) -> Route:
    """Return the route. Without one all alerts go to the only notifier, or to the log if there is not exactly one."""
    section = fleet.route
    if section is None:
        names = [n.name for n in fleet.notifiers]
        return Route(names[0] if len(names) == 1 else FALLBACK)
    return Route(
        section.receiver,
        section.group_by,
        group_wait_s=section.group_wait,
        group_interval_s=section.group_interval,
        repeat_interval_s=section.repeat_interval,
    )


def receivers_of(fleet: Fleet) -> tuple[str, ...]:
    """Return the names of all receivers: the notifiers, and the log where alerts go to it."""
    names = tuple(section.name for section in fleet.notifiers)
    receiver = route_of(fleet).receiver
    return names if receiver in names else (*names, receiver)
