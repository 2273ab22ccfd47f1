"""Silences and acknowledgements: what people decided about alerts. Stored, and read with the alerts they hold back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from alerts.interfaces import AlertInstance
from alerts.routing.matchers import Matcher, all_match


@dataclass(frozen=True)
class Silence:
    """Holds back all alerts that match, for a time. Times are unix seconds."""

    id: str
    """UUID, as Alertmanager's silences have."""
    matchers: tuple[Matcher, ...]
    starts_at: float
    ends_at: float
    """Exclusive. A silence that is ended early gets an earlier one."""
    created_by: str
    comment: str
    updated_at: float

    def is_active(self, at: float) -> bool:
        """Return whether it holds alerts back at unix second `at`."""
        return self.starts_at <= at < self.ends_at

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Return whether an alert with these labels matches. A silence without matchers covers nothing."""
        return bool(self.matchers) and all_match(self.matchers, labels)

    def moved_by(self, by_s: float) -> Silence:
        """Return the silence with its times moved by `by_s`."""
        return replace(
            self,
            starts_at=self.starts_at + by_s,
            ends_at=self.ends_at + by_s,
            updated_at=self.updated_at + by_s,
        )


class Silences:
    """Finds the silences that cover an alert, without comparing the alert with each of them."""

    def __init__(self, silences: Iterable[Silence]) -> None:
        self._by_value: dict[tuple[str, str], list[tuple[int, Silence]]] = {}
        self._others: list[tuple[int, Silence]] = []
        for place, silence in enumerate(silences):
            known = next(((one.name, one.value) for one in silence.matchers if one.names_a_value), None)
            (self._others if known is None else self._by_value.setdefault(known, [])).append((place, silence))

    def covering(self, labels: Mapping[str, str]) -> list[Silence]:
        """Return the silences whose matchers match these labels, in the order in which they were given."""
        near = [found for pair in labels.items() for found in self._by_value.get(pair, ())]
        covering = [(place, one) for place, one in (*near, *self._others) if one.covers(labels)]
        return [one for _, one in sorted(covering, key=lambda found: found[0])]


@dataclass(frozen=True)
class Acknowledgement:
    """Somebody takes care of one alert, until it resolves or until a time. Times are unix seconds."""

    fingerprint: str
    fired_at: float
    """Begin of the episode that it belongs to. An alert that resolves and fires again is not acknowledged."""
    by: str
    at: float
    until: float | None = None
    """End of a snooze; None: until the alert resolves."""
    comment: str = ""

    def holds(self, instance: AlertInstance, at: float) -> bool:
        """Return whether it holds back this alert at unix second `at`."""
        return (
            self.fingerprint == instance.fingerprint
            and self.fired_at == instance.fired_at
            and (self.until is None or at < self.until)
        )

    def moved_by(self, by_s: float) -> Acknowledgement:
        """Return the acknowledgement with its times moved by `by_s`."""
        until = None if self.until is None else self.until + by_s
        return replace(self, fired_at=self.fired_at + by_s, at=self.at + by_s, until=until)


@dataclass(frozen=True)
class Holds:
    """All silences and acknowledgements that may hold an alert back."""

    silences: Sequence[Silence] = ()
    acknowledgements: Mapping[str, Acknowledgement] | None = None
    """By the alert's fingerprint."""

    def acknowledgement(self, instance: AlertInstance, at: float) -> Acknowledgement | None:
        """Return the acknowledgement that holds an alert back at unix second `at`."""
        if not self.acknowledgements:  # the usual case: a fingerprint is a digest of all labels
            return None
        found = self.acknowledgements.get(instance.fingerprint)
        return found if found is not None and found.holds(instance, at) else None

    def moved_by(self, by_s: float) -> Holds:
        """Return all of them with their times moved by `by_s`, as the clock was."""
        acknowledgements = {key: one.moved_by(by_s) for key, one in (self.acknowledgements or {}).items()}
        return Holds(tuple(silence.moved_by(by_s) for silence in self.silences), acknowledgements)

    def changes_at(self, at: float) -> list[float]:
        """Return the unix seconds after `at` at which one of them begins or ends."""
        times = [time for silence in self.silences for time in (silence.starts_at, silence.ends_at)]
        times += [one.until for one in (self.acknowledgements or {}).values() if one.until is not None]
        return [time for time in times if time > at]
