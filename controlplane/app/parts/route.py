"""Whether messages about rollouts have buttons. `up` reads it before it imports the clients of notifiers."""

from __future__ import annotations

from controlplane.config.loader import LoadedFleet
from controlplane.fleet.alerting.route import notice_receiver


def receives_buttons(loaded: LoadedFleet) -> bool:
    """Return whether messages to the route's receiver have buttons: it is Slack, and clicks come back."""
    receiver = notice_receiver(loaded)
    sections = loaded.fleet.notifiers
    return loaded.fleet.slack is not None and any(s.name == receiver and s.type == "slack" for s in sections)
