"""Recipes of the notifiers, from `notifiers:` in fleet.yaml."""

from __future__ import annotations

from alerts.interfaces import Notifier
from alerts.notify.log import LogNotifier
from controlplane.app.notifying.recipes import recipe_of
from controlplane.app.recipe import Recipe
from controlplane.config.loader import LoadedFleet
from controlplane.fleet.route import FALLBACK


def notifier_recipes(loaded: LoadedFleet) -> dict[str, Recipe[Notifier]]:
    """Return the recipe of each notifier by name. A log notifier is always among them."""
    recipes: dict[str, Recipe[Notifier]] = {FALLBACK: Recipe(LogNotifier, (FALLBACK,), {})}
    return recipes | {section.name: recipe_of(section) for section in loaded.fleet.notifiers}
