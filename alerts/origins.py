"""Explains why an alert has no result: the data shows that it is over, or the targets of its series are away."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from alerts.interfaces import AlertInstance
from alerts.rules import AlertingRule
from collectors.samples import Labels


class Lost(NamedTuple):
    """An active alert that its query did not return."""

    instance: AlertInstance
    seen_at: float | None
    """Unix second of the last evaluation that returned it; None when another process made that evaluation."""


@dataclass(frozen=True)
class Absence:
    """The reason why no data says whether an alert is over. Targets are named `job/instance`."""

    away: tuple[str, ...] = ()
    """Targets of its series that are down, or not scraped, or back for too short a time."""
    why: str = ""
    """State of the first of them, as a predicate: "is down"."""
    removed: tuple[str, ...] = ()
    """Targets of its series that are no longer configured, when no other target has data about the alert."""


class Origins(Protocol):
    """Finds the targets of a rule's series, and their states."""

    async def explain(self, rule: AlertingRule, lost: Sequence[Lost], at: float) -> Mapping[Labels, Absence]:
        """Return an Absence, by labels, for each alert whose missing result at unix second `at` does not mean "over".

        An alert that is not in the result is over: its targets were scraped, and the condition does not hold. Raises
        QueryFailed when this cannot be determined; no alert may change then.
        """
        ...

    async def silent(self, rule: AlertingRule, known: Collection[str], at: float) -> Mapping[str, str]:
        """Return the targets (`job/instance`) of the rule's series that give no data at unix second `at`, with reasons.

        `known` are targets that were silent before. A target that is no longer configured is not silent. Raises
        QueryFailed when this cannot be determined.
        """
        ...


class NoOrigins:
    """Implements Origins without targets, for unit tests of rules: an alert without a result is over."""

    async def explain(self, rule: AlertingRule, lost: Sequence[Lost], at: float) -> Mapping[Labels, Absence]:
        """Return an empty mapping: every lost alert is over."""
        return {}

    async def silent(self, rule: AlertingRule, known: Collection[str], at: float) -> Mapping[str, str]:
        """Return an empty mapping: no target is silent."""
        return {}
