"""Alerts of other senders (Prometheus, `amtool`): when they fire and end, as Alertmanager decides it. No I/O here.

A sender repeats an alert while it fires, each time with a later end. An alert ends when its end passes. Times of a
ReceivedAlert are unix seconds on one clock, which the caller chooses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from alerts.changes import earlier_changes
from alerts.gotemplate.goformat import humanize_duration
from alerts.interfaces import AlertInstance, AlertState, Transition, fingerprint
from alerts.routing.names import short
from alerts.state import RESOLVED_RETENTION_S, Step
from collectors.samples import Labels

RECEIVED = "received;"
"""Beginning of the rule ids of alerts of other senders: `received;<sender>;<alertname>`."""
RESOLVE_TIMEOUT_S = 300.0
"""Seconds after which an alert without an end is over unless it is repeated: Alertmanager's `resolve_timeout`."""


@dataclass(frozen=True)
class ReceivedAlert:
    """The newest state of one alert of another sender."""

    labels: Labels
    annotations: Labels
    sender: str
    """Name of the token with which it was first sent."""
    starts_at: float
    ends_at: float
    """It is over from then on. Repetitions move it."""
    updated_at: float
    """Time of the last repetition."""
    timeout: bool = False
    """Whether the sender gave no end, so that `ends_at` is RESOLVE_TIMEOUT_S after `updated_at`."""
    generator_url: str = ""
    """The sender's page about the alert, or ""."""

    @property
    def rule(self) -> str:
        """Rule id of its instances."""
        return f"{RECEIVED}{self.sender};{short(dict(self.labels).get('alertname', ''))}"

    @cached_property
    def fingerprint(self) -> str:
        """Stable id of 16 hex digits. The labels alone identify an alert, whoever sends it."""
        return fingerprint(self.labels)

    @property
    def is_ended(self) -> bool:
        """Whether the sender said that it is over."""
        return self.ends_at <= self.updated_at

    def moved_by(self, by_s: float) -> ReceivedAlert:
        """Return the alert with its times moved by `by_s`, as the clock was. Its durations stay the same."""
        times = {name: getattr(self, name) + by_s for name in ("starts_at", "ends_at", "updated_at")}
        return replace(self, **times)

    def over_at(self, deaf_until: float) -> float:
        """Return the time of its end when nobody could hear its sender until `deaf_until`.

        The sender gets the time that it had at its last repetition, at most RESOLVE_TIMEOUT_S, to repeat the alert.
        """
        if self.is_ended:
            return self.ends_at
        return max(self.ends_at, deaf_until + min(self.ends_at - self.updated_at, RESOLVE_TIMEOUT_S))


def merged(old: ReceivedAlert | None, new: ReceivedAlert) -> ReceivedAlert:
    """Return an alert after a repetition, as Alertmanager merges them.

    If both times overlap, the alert began with the earlier of both. The later of two given ends counts, so a shorter
    repetition by a second sender does not end it. The first sender of an alert stays its sender until it ends.
    """
    if old is None:
        return new
    if new.updated_at < old.ends_at:
        new = replace(new, sender=old.sender)
    begins_within = old.starts_at < new.starts_at < old.ends_at
    overlap = begins_within or old.starts_at < new.ends_at < old.ends_at or new.starts_at == old.starts_at
    if not overlap:
        return new
    made = replace(new, starts_at=min(old.starts_at, new.starts_at))
    if new.is_ended:
        later = old.ends_at <= new.updated_at and old.ends_at > new.ends_at
    else:
        later = old.ends_at > new.ends_at and not old.timeout
    return replace(made, ends_at=old.ends_at) if later else made


def step_received(
    rule: str,
    previous: Sequence[AlertInstance],
    current: Iterable[ReceivedAlert],
    at: float,
    ahead_s: float = 0.0,
    deaf_until: float = -math.inf,
) -> Step:
    """Return the instances of a rule id at unix second `at`, and the transitions.

    `current` are its alerts as received, on a clock that is `ahead_s` behind that of `at` and of the instances. See
    `ReceivedAlert.over_at` for `deaf_until`, which is on the clock of `current`.
    """
    before = {instance.labels: instance for instance in previous}
    instances: list[AlertInstance] = []
    transitions: list[Transition] = []
    known: dict[Labels, ReceivedAlert] = {}
    for alert in current:
        known[alert.labels] = alert
        if at - ahead_s >= alert.over_at(deaf_until):
            continue
        old = before.pop(alert.labels, None)
        was = old.state if old else AlertState.INACTIVE
        instance = _firing(rule, old, alert, at, ahead_s)
        instances.append(instance)
        if was is AlertState.INACTIVE:
            sentence = f"{_name(instance)} went from inactive to firing: {_what(instance)}, says {alert.sender}"
            transitions.append(Transition(instance, was, AlertState.FIRING, at, sentence))
    for old in before.values():
        if old.state is AlertState.INACTIVE:
            if old.resolved_at is not None and at - old.resolved_at <= RESOLVED_RETENTION_S:
                instances.append(old)
            continue
        ended = replace(old, state=AlertState.INACTIVE, resolved_at=at)
        instances.append(ended)
        sentence = _ending(ended, known.get(old.labels), at, ahead_s)
        transitions.append(Transition(ended, old.state, AlertState.INACTIVE, at, sentence))
    return Step(tuple(instances), tuple(transitions))


def _firing(rule: str, old: AlertInstance | None, alert: ReceivedAlert, at: float, ahead_s: float) -> AlertInstance:
    if old is not None and old.state is not AlertState.INACTIVE:
        return replace(old, annotations=alert.annotations)
    since = min(at, alert.starts_at + ahead_s)
    return AlertInstance(
        rule,
        alert.labels,
        alert.annotations,
        AlertState.FIRING,
        math.nan,
        active_at=since,
        fired_at=since,
        changes=earlier_changes(old, at),
    )


def _ending(instance: AlertInstance, alert: ReceivedAlert | None, at: float, ahead_s: float) -> str:
    fired = instance.active_at if instance.fired_at is None else instance.fired_at
    head = f"{_name(instance)} went from firing to inactive: over after firing for {_lasted(at - fired)}"
    if alert is None or alert.is_ended:
        return f"{head}, says its sender (was: {_what(instance)})"
    silent = _lasted(at - ahead_s - alert.updated_at)
    return f"{head}; {alert.sender} has not repeated it for {silent} (was: {_what(instance)})"


def _name(instance: AlertInstance) -> str:
    return dict(instance.labels).get("alertname", "an alert without a name")


def _what(instance: AlertInstance) -> str:
    annotations = dict(instance.annotations)
    said = annotations.get("summary") or annotations.get("description")
    return said or ", ".join(f"{k}={v}" for k, v in instance.labels if k not in ("alertname", "severity")) or "it fires"


def _lasted(seconds: float) -> str:
    return humanize_duration(float(max(0, round(seconds))))
