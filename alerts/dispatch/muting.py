"""The mute stage: time intervals, inhibitions, silences and acknowledgements hold alerts back. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from alerts.holds import Holds, Silences
from alerts.interfaces import AlertInstance, fingerprint
from alerts.routing.matchers import all_match
from alerts.routing.tree import InhibitRule, Node, Routing
from collectors.samples import Labels

MINUTE_S = 60
"""Time intervals begin and end with a minute of the clock."""


class Stage(StrEnum):
    """A reason for which an alert is held back."""

    INTERVAL = "time interval"
    INHIBITION = "inhibition"
    SILENCE = "silence"
    ACKNOWLEDGEMENT = "acknowledgement"
    ROTA = "rota"


@dataclass(frozen=True)
class Mute:
    """Why a firing alert is held back."""

    stage: Stage
    sentence: str
    by: tuple[str, ...] = ()
    """Ids of the silences, fingerprints of the inhibiting alerts, or names of the time intervals."""


class Muting:
    """Decides which firing alerts are held back at one moment.

    An alert that is held back keeps firing but is in no message, neither as firing nor as resolved. When it is no
    longer held back, it is sent unless the last message had it.
    """

    def __init__(self, routing: Routing, firing: Iterable[Labels], holds: Holds, at: float) -> None:
        """`firing`: labels of every alert that fires, since each may hold others back."""
        self._routing, self._holds, self._at = routing, holds, at
        self._silences = Silences(silence for silence in holds.silences if silence.is_active(at))
        labelled = [(one, dict(one)) for one in firing] if routing.inhibit_rules else []
        self._inhibitions = [_Inhibition(rule, labelled) for rule in routing.inhibit_rules]

    def reasons(self, instance: AlertInstance, labels: Mapping[str, str]) -> list[Mute]:
        """Return all reasons that do not depend on the route. `labels` are the instance's."""
        found = []
        sources = [source for one in self._inhibitions if (source := one.source(labels))]
        if sources:
            told = " and ".join(_named(source) for source in sources)
            found.append(Mute(Stage.INHIBITION, f"held back while {told} fires", tuple(map(fingerprint, sources))))
        if silences := self._silences.covering(labels):
            told = " and ".join(f"{one.id} of {one.created_by}: {one.comment}" for one in silences)
            found.append(Mute(Stage.SILENCE, f"silenced by {told}", tuple(silence.id for silence in silences)))
        if one := self._holds.acknowledgement(instance, self._at):
            kind = "acknowledged" if one.until is None else "snoozed"
            found.append(Mute(Stage.ACKNOWLEDGEMENT, f"{kind} by {one.by}", (one.by,)))
        return found

    def of_route(self, node: Node) -> Mute | None:
        """Return why a route sends nothing now; None when it sends."""
        reason = self._routing.held_back(node, self._at)
        return Mute(Stage.INTERVAL, reason, (*node.mute_intervals, *node.active_intervals)) if reason else None


class _Inhibition:
    """An inhibition and the firing alerts that it lets hold others back, by their `equal` labels."""

    def __init__(self, rule: InhibitRule, firing: Sequence[tuple[Labels, Mapping[str, str]]]) -> None:
        self._rule = rule
        self._sources: dict[tuple[str, ...], tuple[Labels | None, Labels | None]] = {}
        for source, labels in firing:
            if all_match(rule.source, labels):
                key = self._key(labels)
                pure, any_ = self._sources.get(key, (None, None))
                self._sources[key] = (pure or (None if rule.holds(labels) else source), any_ or source)

    def source(self, target: Mapping[str, str]) -> Labels | None:
        """Return the labels of an alert that holds back one with these labels.

        An alert that matches both sides is held back only by one that does not match the target's side.
        """
        found = self._sources.get(self._key(target))
        if found is None or not self._rule.holds(target):
            return None
        pure, any_ = found
        return pure if all_match(self._rule.source, target) else any_

    def _key(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(labels.get(name, "") for name in self._rule.equal)


def next_change(routing: Routing, holds: Holds, at: float) -> float:
    """Return the next unix second after `at` at which an alert may be held back or let go although no alert changes."""
    times = holds.changes_at(at)
    if any(node.mute_intervals or node.active_intervals for node in routing.root.walk()):
        times.append((math.floor(at / MINUTE_S) + 1) * MINUTE_S)
    return min(times, default=math.inf)


def _named(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}"
