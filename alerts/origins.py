"""Where an alert's series come from: whether data says that it is over, or nothing says anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from alerts.interfaces import AlertInstance
from alerts.rules import AlertingRule
from collectors.samples import Labels


class Lost(NamedTuple):
    """An active alert that is not among its query's results."""

    instance: AlertInstance
    seen_at: float | None
    """Unix second of the evaluation that last found it; None when another process made that one."""


@dataclass(frozen=True)
class Absence:
    """Why data says nothing about an alert. Targets are named `job/instance`."""

    away: tuple[str, ...] = ()
    """Its series came from these, and they are down, blind, or back for too short a time."""
    why: str = ""
    """What is the matter with the first of them, as the end of a sentence about it."""
    removed: tuple[str, ...] = ()
    """Its series came from these, which are no longer configured; no other one can say more."""


class Origins(Protocol):
    """Knows which targets the series of a rule come from, and how these targets are."""

    async def explain(self, rule: AlertingRule, lost: Sequence[Lost], at: float) -> Mapping[Labels, Absence]:
        """Return, by labels, those alerts whose absence at unix second `at` is no word of the data.

        An alert that is left out is over: its targets were read, and the condition does not hold. Raises QueryFailed
        when that cannot be found out: then nothing may change.
        """
        ...


class NoOrigins:
    """Knows no target, as in a rule's unit test: what is not among the results is over."""

    async def explain(self, rule: AlertingRule, lost: Sequence[Lost], at: float) -> Mapping[Labels, Absence]:
        """Return nothing."""
        return {}
