"""Recipes of the notifiers, from `notifiers:` in fleet.yaml and the receivers of its `alertmanager.yml`."""

from __future__ import annotations

from alerts.interfaces import Notifier
from alerts.notify.log import LogNotifier
from controlplane.app.notifying.recipes import people_of, recipe_of
from controlplane.app.recipe import Recipe
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import LOG
from controlplane.fleet.alerting.route import receivers_of


def notifier_recipes(loaded: LoadedFleet) -> dict[str, Recipe[Notifier]]:
    """Return the recipe of each notifier by name. A log notifier is always among them.

    Raises ConfigErrors for a bad `alertmanager.yml`.
    """
    recipes: dict[str, Recipe[Notifier]] = {LOG: Recipe(LogNotifier, (LOG,), {})}
    taken = {section.name: section for sections in receivers_of(loaded).values() for section in sections}
    own = {section.name: section for section in loaded.fleet.notifiers}
    people = people_of(loaded.fleet)
    return recipes | {name: recipe_of(section, people) for name, section in (taken | own).items()}
