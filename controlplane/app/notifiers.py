"""From fleet.yaml's `notifiers:` and `route:` to notifiers and a route."""

from __future__ import annotations

import os
from collections.abc import Callable

from alerts.dispatch import Route
from alerts.errors import DeliveryFailed
from alerts.interfaces import Notifier
from alerts.notify.log import LogNotifier
from alerts.notify.slack import SlackNotifier
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import NotifierSection

SLACK_API = "https://slack.com/api/"
MAX_TOKEN_BYTES = 4096
"""A token is a hundred characters; a file without an end must not fill the memory."""
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


def slack_token(section: NotifierSection) -> Callable[[], str]:
    """Return a reader of the token, asked at every send so that a rotated one is picked up.

    The reader raises DeliveryFailed.
    """

    def read() -> str:
        if section.token_env:
            text = os.environ.get(section.token_env, "").strip()
            place = f"environment variable {section.token_env}"
        else:
            path = section.token_file
            assert path is not None  # the configuration wants one of the two
            place = str(path)
            try:
                with path.open("rb") as file:
                    text = file.read(MAX_TOKEN_BYTES).decode().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise DeliveryFailed(f"notifier {section.name}: {path} cannot be read: {_why(error)}") from error
        if not text:
            raise DeliveryFailed(f"notifier {section.name}: {place} is not set or empty; put the Slack bot token there")
        return text

    return read


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "it is not UTF-8 text"
