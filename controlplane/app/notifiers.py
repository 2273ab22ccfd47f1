"""Recipes of the notifiers, from `notifiers:` in fleet.yaml."""

from __future__ import annotations

from typing import assert_never

from alerts.interfaces import Notifier
from alerts.notify.log import LogNotifier
from alerts.notify.slack import SlackNotifier
from controlplane.app.recipe import Recipe
from controlplane.app.slack_token import bot_token
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import LOG
from controlplane.config.notifiers import LogSection, NotifierSection, SlackSection

SLACK_API = "https://slack.com/api/"


def notifier_recipes(loaded: LoadedFleet) -> dict[str, Recipe[Notifier]]:
    """Return the recipe of each notifier by name. A log notifier is always among them."""
    recipes: dict[str, Recipe[Notifier]] = {LOG: Recipe(LogNotifier, (LOG,), {})}
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
