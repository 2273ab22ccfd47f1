"""From fleet.yaml to what alerting is told: which rules are evaluated, how often, and who hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alerts.dispatch import Route
from alerts.interfaces import Notifier
from alerts.rules import RuleGroup
from collectors.durations import format_duration
from controlplane.app.notifiers import build_route, notifier_recipes
from controlplane.app.parts.part import Configuration, difference
from controlplane.app.recipe import Recipe
from controlplane.app.rules import fleet_rules

SETTLE_SCRAPES = 2
"""A rate needs two samples of its target."""

NotifierRecipes = Mapping[str, Recipe[Notifier]]
"""How each notifier is made, by name."""


@dataclass(frozen=True)
class AlertingSettings:
    """Which rules are evaluated, and who is told. Durations in seconds."""

    groups: tuple[RuleGroup, ...]
    interval_s: float
    """Of a group that names none."""
    route: Route
    notifiers: NotifierRecipes
    settle_s: float
    """How long after a start, or a large step of the clock, the first samples of every target may take."""
    console_url: str
    """Where people reach this process: links in messages lead there, and templates read it as `$externalURL`."""


def alerting_settings(config: Configuration) -> AlertingSettings:
    """Return what a configuration wants evaluated and told. Reads rule files. Raises ConfigErrors."""
    fleet = config.fleet
    slowest = max([fleet.scrape.interval, *(group.interval or 0.0 for group in fleet.targets)])
    return AlertingSettings(
        groups=fleet_rules(config.loaded, f"{config.console_url}/runbooks"),
        interval_s=fleet.evaluation_interval,
        route=build_route(config.loaded),
        notifiers=notifier_recipes(config.loaded),
        settle_s=SETTLE_SCRAPES * slowest + fleet.evaluation_interval,
        console_url=config.console_url,
    )


def changes(before: AlertingSettings, now: AlertingSettings) -> list[str]:
    """Return what differs, in sentences."""
    told = difference("rule groups", *({group.key: group for group in each.groups} for each in (before, now)))
    if before.interval_s != now.interval_s:
        told.append(f"groups without an interval are evaluated every {format_duration(now.interval_s)}")
    if before.route != now.route:
        told.append(f"the route changed, and leads to {now.route.receiver}")
    told += difference("notifiers", before.notifiers, now.notifiers)
    if before.console_url != now.console_url:
        told.append(f"links in messages lead to {now.console_url}")
    return told
