"""Recipes of scripted sources and notifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from alerts.interfaces import Notifier
from alerts.routing.tree import Node
from alerts.rules import RuleGroup
from collectors.target import Source, Target
from controlplane.app.parts.alerting_settings import AlertingSettings
from controlplane.app.recipe import Recipe
from tests.routes import stages

Made = TypeVar("Made")


class MadeBy(NamedTuple):
    """A source that a function of the test creates at the first read of the target."""

    factory: Callable[[Target], Source]
    target: Target

    def made(self) -> Source:
        return self.factory(self.target)


def ready(made: Made) -> Recipe[Made]:
    """Return a recipe that returns an existing object of the test."""
    return Recipe(_itself, (made,), {})


def alerting_settings(
    groups: tuple[RuleGroup, ...],
    interval_s: float,
    route: Node,
    notifiers: Mapping[str, Notifier],
    settle_s: float = 0.0,
    console_url: str = "",
) -> AlertingSettings:
    """Return settings of alerting with the test's existing notifiers."""
    recipes = {name: ready(notifier) for name, notifier in notifiers.items()}
    return AlertingSettings(groups, interval_s, stages(route, console_url=console_url), recipes, settle_s, console_url)


def _itself(made: Made) -> Made:
    return made
