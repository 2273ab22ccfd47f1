"""Slack's notifiers as a configuration makes them, on a clock of the test."""

from __future__ import annotations

from alerts.interfaces import Notifier
from alerts.notify.slack.notifier import SlackNotifier
from controlplane.app.recipe import Recipe
from tests.fakes.turning_clock import TurningClock


def on_clock(recipe: Recipe[Notifier], clock: TurningClock) -> Recipe[Notifier]:
    """Return the recipe of a notifier that waits by a clock; notifiers around others are looked into."""
    if recipe.make is SlackNotifier:
        return recipe._replace(options={**recipe.options, "monotonic": clock.now, "sleep": clock.sleep})
    inner = (on_clock(one, clock) if isinstance(one, Recipe) else one for one in recipe.arguments)
    return recipe._replace(arguments=tuple(inner))
