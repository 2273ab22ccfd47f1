"""A rule over samples of the past: when its alerts would have been pending and firing. Pure, by the state machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from alerts.interfaces import AlertInstance, AlertState, VectorSample
from alerts.rules import AlertingRule
from alerts.state import activate, step
from alerts.template import Surroundings
from collectors.samples import Labels


@dataclass
class Episode:
    """One time for which an alert was active. Times are unix seconds."""

    labels: Labels
    active_at: float
    fired_at: float | None = None
    """None: it was pending only."""
    ended_at: float | None = None
    """None: it was active at the end of the trial."""
    peak: float = 0.0
    """The value that is farthest from zero."""


@dataclass(frozen=True)
class Instants:
    """The times of a trial, in unix seconds: `start`, `start + step_s`, … up to `end`."""

    start: float
    end: float
    step_s: float

    def __len__(self) -> int:
        return round((self.end - self.start) // self.step_s) + 1

    def at(self, number: int) -> float:
        """Return one of the times."""
        return self.start + number * self.step_s


def episodes(rule: AlertingRule, results: Mapping[int, Sequence[VectorSample]], times: Instants) -> list[Episode]:
    """Return the episodes of a rule's alerts, by their beginnings. `results` has the query's samples at each time.

    A time that `results` lacks has no samples. Annotations are not rendered. Raises RuleError when two results of one
    time have the same labels.
    """
    plain, around = replace(rule, annotations=()), Surroundings()
    instances: Sequence[AlertInstance] = ()
    found: list[Episode] = []
    current: dict[Labels, Episode] = {}
    for number in range(len(times)):
        at = times.at(number)
        active = activate(plain, results.get(number, ()), around)
        if not active and not current:
            instances = ()  # what is over does not matter to what comes
            continue
        instances = step(plain, instances, active, at).instances
        _note(instances, at, current, found)
    return found


def _note(instances: Iterable[AlertInstance], at: float, current: dict[Labels, Episode], found: list[Episode]) -> None:
    """Write down what an evaluation at unix second `at` changed."""
    present = set()
    for one in instances:
        if one.state is AlertState.INACTIVE:
            continue
        present.add(one.labels)
        episode = current.get(one.labels)
        if episode is None or episode.active_at != one.active_at:
            if episode is not None:
                episode.ended_at = at
            episode = current[one.labels] = Episode(one.labels, one.active_at, peak=one.value)
            found.append(episode)
        episode.fired_at = one.fired_at
        if abs(one.value) > abs(episode.peak):
            episode.peak = one.value
    for labels in [labels for labels in current if labels not in present]:
        current.pop(labels).ended_at = at
