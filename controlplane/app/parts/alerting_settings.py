"""The settings of alerting from a fleet.yaml: rules, intervals, route and notifiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from alerts.dispatch import Stages
from alerts.interfaces import Notifier
from alerts.rules import RuleGroup
from collectors.durations import format_duration
from controlplane.app.notifiers import notifier_recipes
from controlplane.app.parts.part import Configuration, difference
from controlplane.app.recipe import Recipe
from controlplane.app.rules import fleet_rules
from controlplane.config.model import Fleet
from controlplane.fleet.alerting.route import stages_of

SETTLE_SCRAPES = 2
"""Scrapes after which rules see a new target: a rate needs two samples."""

NotifierRecipes = Mapping[str, Recipe[Notifier]]
"""The recipe of each notifier, by name."""


@dataclass(frozen=True)
class AlertingSettings:
    """Rules, intervals, route and notifiers. Durations are in seconds."""

    groups: tuple[RuleGroup, ...]
    interval_s: float
    """Evaluation interval of a group without one."""
    stages: Stages
    notifiers: NotifierRecipes
    settle_s: float
    """Seconds after a start, or a large step of the clock, until every target has its first samples."""
    console_url: str
    """Address of the console, for links in messages and as `$externalURL` in templates."""


def alerting_settings(config: Configuration) -> AlertingSettings:
    """Return the settings of alerting of a configuration. Reads rule files. Raises ConfigErrors."""
    fleet = config.fleet
    slowest = max([fleet.scrape.interval, *(group.interval or 0.0 for group in fleet.targets)])
    return AlertingSettings(
        groups=fleet_rules(config.loaded, f"{config.console_url}/runbooks"),
        interval_s=fleet.evaluation_interval,
        stages=replace(stages_of(config.loaded, config.console_url), interactive=_interactive(fleet)),
        notifiers=notifier_recipes(config.loaded),
        settle_s=SETTLE_SCRAPES * slowest + fleet.evaluation_interval,
        console_url=config.console_url,
    )


def _interactive(fleet: Fleet) -> frozenset[str]:
    """Return the notifiers whose messages have buttons: those of Slack, if clicks come back."""
    return frozenset(one.name for one in fleet.notifiers if fleet.slack is not None and one.type == "slack")


def changes(before: AlertingSettings, now: AlertingSettings) -> list[str]:
    """Return a sentence for each difference."""
    told = difference("rule groups", *({group.key: group for group in each.groups} for each in (before, now)))
    if before.interval_s != now.interval_s:
        told.append(f"groups without an interval are evaluated every {format_duration(now.interval_s)}")
    if before.stages.routing != now.stages.routing:
        told.append(f"the routes changed; that of all other alerts leads to {now.stages.routing.root.receiver}")
    told += difference("notifiers", before.notifiers, now.notifiers)
    if before.console_url != now.console_url:
        told.append(f"links in messages lead to {now.console_url}")
    return told


def next_turn(now: float, interval_s: float) -> float:
    """Return the next multiple of the interval, so that groups keep their phase even when an evaluation takes long."""
    return (now // interval_s + 1) * interval_s
