"""The route of alerts, from `route:` in fleet.yaml. `up` reads it before it imports the clients of notifiers."""

from __future__ import annotations

from alerts.dispatch import Route
from controlplane.config.loader import LoadedFleet

FALLBACK = "log"
"""Name of the receiver without a `route:`. Alerts then go to the log, so that none is lost."""


def receives_buttons(loaded: LoadedFleet) -> bool:
    """Return whether messages to the route's receiver have buttons: it is Slack, and clicks come back."""
    receiver = build_route(loaded).receiver
    sections = loaded.fleet.notifiers
    return loaded.fleet.slack is not None and any(s.name == receiver and s.type == "slack" for s in sections)


def build_route(loaded: LoadedFleet) -> Route:
    """Return the route. Without one all alerts go to the only notifier, or to the log if there is not exactly one."""
    section = loaded.fleet.route
    if section is None:
        names = [n.name for n in loaded.fleet.notifiers]
        return Route(names[0] if len(names) == 1 else FALLBACK)
    return Route(
        section.receiver,
        section.group_by,
        group_wait_s=section.group_wait,
        group_interval_s=section.group_interval,
        repeat_interval_s=section.repeat_interval,
    )
