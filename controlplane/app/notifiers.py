"""From fleet.yaml's `notifiers:` and `route:` to notifiers and a route."""

from __future__ import annotations

from alerts.dispatch import Route
from alerts.interfaces import Notifier
from alerts.notify.log import LogNotifier
from alerts.notify.slack import SlackNotifier
from controlplane.app.slack_token import slack_token
from controlplane.config.loader import LoadedFleet

SLACK_API = "https://slack.com/api/"
FALLBACK = "log"
"""Where alerts go without a `route:`: nothing that fires may go unheard."""


def build_notifiers(loaded: LoadedFleet) -> dict[str, Notifier]:
    """Return the notifiers by name; a log notifier is always among them."""
    made: dict[str, Notifier] = {FALLBACK: LogNotifier(FALLBACK)}
    for section in loaded.fleet.notifiers:
        if section.type == "log":
            made[section.name] = LogNotifier(section.name)
        else:
            channel, base_url = section.channel or "", section.base_url or SLACK_API
            made[section.name] = SlackNotifier(section.name, channel, slack_token(section), base_url=base_url)
    return made


def build_route(loaded: LoadedFleet) -> Route:
    """Return the route; without one everything goes to the log."""
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
