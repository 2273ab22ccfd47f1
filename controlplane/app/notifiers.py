"""Recipes of the notifiers and the route, from `notifiers:` and `route:` in fleet.yaml."""

from __future__ import annotations

from typing import assert_never

from alerts.dispatch import Route
from alerts.interfaces import Notifier
from alerts.notify.log import LogNotifier
from alerts.notify.slack import SlackNotifier
from controlplane.app.recipe import Recipe
from controlplane.app.slack_token import bot_token
from controlplane.config.loader import LoadedFleet
from controlplane.config.notifiers import LogSection, NotifierSection, SlackSection

SLACK_API = "https://slack.com/api/"
FALLBACK = "log"
"""Name of the receiver without a `route:`. Alerts then go to the log, so that none is lost."""


def notifier_recipes(loaded: LoadedFleet) -> dict[str, Recipe[Notifier]]:
    """Return the recipe of each notifier by name. A log notifier is always among them."""
    recipes: dict[str, Recipe[Notifier]] = {FALLBACK: Recipe(LogNotifier, (FALLBACK,), {})}
    return recipes | {section.name: _recipe(section) for section in loaded.fleet.notifiers}


def _recipe(section: NotifierSection) -> Recipe[Notifier]:
    match section:
        case LogSection():
            return Recipe(LogNotifier, (section.name,), {})
        case SlackSection():
            told = (section.name, section.channel, bot_token(section))
            return Recipe(SlackNotifier, told, {"base_url": section.base_url or SLACK_API})
        case _:
            assert_never(section)


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
