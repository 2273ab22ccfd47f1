"""`route:`, `inhibit_rules:`, `time_intervals:` and `notifications:` of fleet.yaml, in Alertmanager's shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from alerts.errors import MatcherError
from alerts.routing.config import MAX_DEPTH
from alerts.routing.flapping import FEWEST_CHANGES, LONGEST_S, MOST_CHANGES
from alerts.routing.intervals import day_span, month_span, time_span, weekday_span, year_span, zone_of
from alerts.routing.matchers import parse_matchers
from alerts.routing.storms import CAUSES
from controlplane.config.checking import Fault, Loc, check
from controlplane.config.notifications.heartbeats import HeartbeatSection, WatchdogSection
from controlplane.config.vocabulary import Duration, FilePath, Interval, LabelName, Model, Text, label_name
from controlplane.config.wording import not_one_of

EVERY_LABEL = "..."
"""Single value of `group_by` that groups alerts by all their labels, as in Alertmanager."""


def _group_labels(value: tuple[str, ...]) -> tuple[str, ...]:
    if EVERY_LABEL in value and len(value) > 1:
        raise ValueError("'...' groups by all labels, and must be the only entry")
    return value


def _group_label(value: str) -> str:
    return value if value == EVERY_LABEL else label_name(value)


def _matcher(value: str) -> str:
    try:
        found = parse_matchers(value)
    except MatcherError as error:
        raise ValueError(str(error)) from error
    if not found:
        raise ValueError('expected a matcher such as severity="critical"')
    return value


def _valid(check_text: Callable[[str], object]) -> AfterValidator:
    """Return a validator for texts that `check_text` reads. It raises ValueError for all others."""

    def validated(value: str) -> str:
        check_text(value)
        return value

    return AfterValidator(validated)


GroupBy = Annotated[tuple[Annotated[str, AfterValidator(_group_label)], ...], AfterValidator(_group_labels)]
Matchers = tuple[Annotated[str, AfterValidator(_matcher)], ...]


class EscalationStep(Model):
    """A further receiver, when nobody has acknowledged an alert for a time."""

    after: Annotated[Duration, Field(ge=1)]
    receiver: Text


class ChildRoute(Model):
    """A route below another one. Settings that it does not name are those of the route above it."""

    receiver: Text | None = None
    matchers: Matchers = ()
    """All of them must match. Without matchers it takes every alert."""
    group_by: GroupBy | None = None
    group_wait: Duration | None = None
    group_interval: Interval | None = None
    repeat_interval: Interval | None = None
    continue_: bool = Field(default=False, alias="continue")
    mute_time_intervals: tuple[Text, ...] = ()
    active_time_intervals: tuple[Text, ...] = ()
    escalation: tuple[EscalationStep, ...] | None = None
    routes: tuple[ChildRoute, ...] = ()


class FlappingSection(Model):
    """When an alert that fires and resolves again and again flaps: it is then not sent for each change."""

    enabled: bool = True
    changes: Annotated[int, Field(ge=FEWEST_CHANGES, le=MOST_CHANGES)] = 5
    window: Annotated[Duration, Field(ge=60, le=LONGEST_S)] = 3600.0
    settled_after: Annotated[Duration, Field(ge=120, le=LONGEST_S)] = 900.0

    @check
    def _pause_within_window(self) -> Iterator[Fault]:
        if self.reads("settled_after") and self.reads("window") and self.settled_after > self.window:
            yield Fault(("settled_after",), "must not be longer than window")


class StormSection(Model):
    """When many groups that begin together are one message."""

    enabled: bool = True
    groups: Annotated[int, Field(ge=4, le=1000)] = 10
    window: Annotated[Duration, Field(ge=10, le=600)] = 60.0
    share: Annotated[float, Field(ge=0.5, le=1)] = 0.7
    causes: Annotated[tuple[LabelName, ...], Field(min_length=1)] = CAUSES


class RouteSection(Model):
    """The root route, which takes every alert."""

    receiver: Text
    group_by: GroupBy = ("model", "alertname")
    group_wait: Duration = 10.0
    group_interval: Duration = 60.0
    repeat_interval: Duration = 4 * 3600.0
    escalation: tuple[EscalationStep, ...] = ()
    flapping: FlappingSection = FlappingSection()
    storms: StormSection = StormSection()
    routes: tuple[ChildRoute, ...] = ()


class InhibitSection(Model):
    """Alerts that match the target are held back while one that matches the source fires with equal labels."""

    source_matchers: Matchers = ()
    target_matchers: Matchers = ()
    equal: tuple[LabelName, ...] = ()


class DayTimes(Model):
    """A range of a day, `HH:MM` to `HH:MM`. The end is exclusive, and may be 24:00."""

    start_time: Text
    end_time: Text

    @check
    def _ordered(self) -> Iterator[Fault]:
        try:
            time_span(self.start_time, self.end_time)
        except ValueError as error:
            yield Fault((), str(error))


class Times(Model):
    """A time is in it when it is in one range of each field that is given."""

    times: tuple[DayTimes, ...] = ()
    weekdays: tuple[Annotated[str, _valid(weekday_span)], ...] = ()
    days_of_month: tuple[Annotated[str, _valid(day_span)], ...] = ()
    months: tuple[Annotated[str, _valid(month_span)], ...] = ()
    years: tuple[Annotated[str, _valid(year_span)], ...] = ()
    location: Annotated[str, _valid(zone_of)] = "UTC"
    """Time zone, such as Asia/Shanghai; `Local`: that of this machine."""


class TimeIntervalSection(Model):
    """Times with a name, for the routes."""

    name: Text
    time_intervals: tuple[Times, ...]


class NotificationsSection(Model):
    """Notifications: another file with their routes, and dead man's switches."""

    alertmanager_config: FilePath | None = None
    """An `alertmanager.yml`. Its routes, inhibitions, time intervals and receivers are used instead of `route:`."""
    flapping: FlappingSection | None = None
    """With `alertmanager_config` only, whose alerts do not flap by default. Else it is set in `route`."""
    storms: StormSection | None = None
    """With `alertmanager_config` only, whose alerts make no storm by default. Else it is set in `route`."""
    watchdog: WatchdogSection | None = None
    heartbeats: tuple[HeartbeatSection, ...] = ()

    @check
    def _of_a_file(self) -> Iterator[Fault]:
        for name in ("flapping", "storms"):
            if self.reads(name) and getattr(self, name) is not None and self.alertmanager_config is None:
                yield Fault((name,), f"is for the routes of an alertmanager_config: set route.{name}")

    @check
    def _heartbeats_differ(self) -> Iterator[Fault]:
        names = [one.name if one.reads("name") else None for one in self.heartbeats]
        for number, name in enumerate(names):
            if name is not None and name in names[:number]:
                yield Fault(("heartbeats", number, "name"), f"{name} is given twice")


def route_faults(route: RouteSection, receivers: Sequence[str], intervals: Sequence[str]) -> Iterator[Fault]:
    """Yield the names in the routes that are no receiver or no time interval, with their places below `route`."""
    if route.reads("receiver") and route.receiver not in receivers:
        yield Fault(("receiver",), not_one_of(route.receiver, "notifiers", receivers))
    yield from _step_faults(route, (), receivers)
    if route.reads("routes"):
        yield from _child_faults(route.routes, (), receivers, intervals)


def _child_faults(
    routes: Sequence[ChildRoute], above: Loc, receivers: Sequence[str], intervals: Sequence[str]
) -> Iterator[Fault]:
    for number, route in enumerate(routes):
        place = (*above, "routes", number)
        if len(place) > 2 * MAX_DEPTH:
            yield Fault(place, f"routes are nested more than {MAX_DEPTH} levels deep")
            return
        if route.reads("receiver") and route.receiver is not None and route.receiver not in receivers:
            yield Fault((*place, "receiver"), not_one_of(route.receiver, "notifiers", receivers))
        yield from _step_faults(route, place, receivers)
        for field in ("mute_time_intervals", "active_time_intervals"):
            for at, name in enumerate(getattr(route, field) if route.reads(field) else ()):
                if name not in intervals:
                    yield Fault((*place, field, at), not_one_of(name, "time_intervals", intervals))
        if route.reads("routes"):
            yield from _child_faults(route.routes, place, receivers, intervals)


def _step_faults(route: RouteSection | ChildRoute, place: Loc, receivers: Sequence[str]) -> Iterator[Fault]:
    for number, step in enumerate((route.escalation or ()) if route.reads("escalation") else ()):
        if step.reads("receiver") and step.receiver not in receivers:
            at = (*place, "escalation", number, "receiver")
            yield Fault(at, not_one_of(step.receiver, "notifiers", receivers))
