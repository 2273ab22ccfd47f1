"""Reads an `alertmanager.yml`. What Alertmanager refuses is refused here too, with file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TypeVar

from alerts.errors import MatcherError
from alerts.routing.intervals import TimeInterval, day_span, month_span, time_span, weekday_span, year_span, zone_of
from alerts.routing.matchers import Matcher, Op, parse_matchers
from alerts.routing.tree import ALL_LABELS, InhibitRule, Node, Receiver, Routing, route_key
from alerts.yaml_nodes import Place, read_text, read_yaml
from collectors.durations import parse_duration

T = TypeVar("T")
KINDS = (
    "discord", "email", "incidentio", "jira", "mattermost", "msteams", "msteamsv2", "opsgenie", "pagerduty", "pushover",
    "rocketchat", "slack", "sns", "telegram", "victorops", "webex", "webhook", "wechat",
)  # fmt: skip
"""Kinds of receivers of Alertmanager 0.34. Their fields are `KIND_configs`."""
GROUP_WAIT_S, GROUP_INTERVAL_S, REPEAT_INTERVAL_S = 30.0, 300.0, 4 * 3600.0
"""Alertmanager's defaults."""
MAX_DEPTH = 50
"""Maximum depth of the tree of routes (chosen)."""
_MATCHING = ("match", "match_re", "matchers")


def read_file(path: Path) -> Routing:
    """Return the routing of an `alertmanager.yml`. Raises RuleError, also for a file that cannot be read."""
    return read_alertmanager(read_text(path, "an alertmanager.yml"), str(path))


def read_alertmanager(text: str, file: str) -> Routing:
    """Return the routing of an `alertmanager.yml`. Raises RuleError with the place of the first fault."""
    document = read_yaml(text, file)
    fields = document.fields(
        "global", "route", "receivers", "inhibit_rules", "templates", "mute_time_intervals", "time_intervals", "tracing"
    )
    if "route" not in fields or fields["route"].is_null:
        raise document.error("a configuration needs a route:")
    receivers = _receivers(fields.get("receivers"))
    intervals = _intervals(
        place for name in ("mute_time_intervals", "time_intervals") if name in fields for place in fields[name].items()
    )
    root = _Routes(receivers, intervals).root(fields["route"])
    rules = tuple(_inhibit_rule(item) for item in _listed(fields, "inhibit_rules"))
    return Routing(root, receivers, rules, intervals, root_sends_none=True)


class _Routes:
    """Reads the tree. A route takes its settings over from its parent."""

    def __init__(self, receivers: dict[str, Receiver], intervals: dict[str, tuple[TimeInterval, ...]]) -> None:
        self._receivers, self._intervals = receivers, intervals

    def root(self, place: Place) -> Node:
        start = Node("route", 0, (), "", (), GROUP_WAIT_S, GROUP_INTERVAL_S, REPEAT_INTERVAL_S)
        root = self._route(place.within("route"), start, 0)
        if not root.receiver:
            raise place.within("route").error("the root route needs a receiver")
        if root.matchers:
            raise place.within("route").error("the root route takes every alert, so it may have no matchers")
        if root.goes_on:
            raise place.within("route").error("the root route has no sibling, so it may not have continue: true")
        if root.mute_intervals or root.active_intervals:
            raise place.within("route").error(
                "the root route may have no time intervals; put them into routes below it"
            )
        return root

    def _route(self, place: Place, above: Node, depth: int, siblings: set[str] | None = None) -> Node:
        """Read a route. `siblings` are the keys of those before it; None: it is the root."""
        if depth > MAX_DEPTH:
            raise place.error(f"routes are nested more than {MAX_DEPTH} levels deep")
        path = place.path
        fields = place.fields(
            "receiver", "group_by", "continue", "group_wait", "group_interval", "repeat_interval", "routes",
            "mute_time_intervals", "active_time_intervals", *_MATCHING,
        )  # fmt: skip
        matchers = _matchers(fields, path)
        node = Node(
            path,
            place.line,
            matchers,
            self._receiver(fields, path) or above.receiver,
            self._group_by(fields, path, above),
            _seconds(fields, "group_wait", path, above.group_wait_s),
            _seconds(fields, "group_interval", path, above.group_interval_s, least="more than 0s"),
            _seconds(fields, "repeat_interval", path, above.repeat_interval_s, least="more than 0s"),
            _flag(fields, "continue", path),
            self._named_intervals(fields, "mute_time_intervals", path),
            self._named_intervals(fields, "active_time_intervals", path),
            key="" if siblings is None else route_key(above.key, matchers, siblings),
        )
        keys: set[str] = set()
        below = tuple(
            self._route(item.within(f"{path}.routes[{number}]"), node, depth + 1, keys)
            for number, item in enumerate(_listed(fields, "routes"))
        )
        return replace(node, routes=below)

    def _receiver(self, fields: dict[str, Place], path: str) -> str:
        name = fields["receiver"].text() if "receiver" in fields else ""
        if name and name not in self._receivers:
            known = ", ".join(self._receivers) or "none"
            raise fields["receiver"].within(path).error(f"receiver {name} is not in receivers:; known are {known}")
        return name

    def _group_by(self, fields: dict[str, Place], path: str, above: Node) -> tuple[str, ...]:
        if "group_by" not in fields or fields["group_by"].is_null:
            return above.group_by
        names = tuple(item.text() for item in fields["group_by"].within(path).items())
        if not names:
            return above.group_by  # Alertmanager takes an empty list for one that is not given
        if len(set(names)) != len(names):
            raise fields["group_by"].within(path).error("group_by has a label twice")
        if ALL_LABELS in names and len(names) > 1:
            raise fields["group_by"].within(path).error("group_by has ... and other labels; ... means every label")
        return names

    def _named_intervals(self, fields: dict[str, Place], field: str, path: str) -> tuple[str, ...]:
        names = []
        for item in _listed(fields, field):
            if (name := item.text()) not in self._intervals:
                known = ", ".join(self._intervals) or "none"
                raise item.within(path).error(f"{field}: {name} is not in time_intervals:; known are {known}")
            names.append(name)
        return tuple(names)


def _receivers(place: Place | None) -> dict[str, Receiver]:
    found: dict[str, Receiver] = {}
    for item in place.items() if place else ():
        fields = item.within("receivers").fields("name", *(f"{kind}_configs" for kind in KINDS))
        name = fields["name"].text() if "name" in fields else ""
        if not name:
            raise item.within("receivers").error("a receiver needs a name")
        if name in found:
            raise item.within("receivers").error(f"receiver {name} is given twice")
        kinds = (kind for kind in KINDS for _ in _listed(fields, f"{kind}_configs"))
        found[name] = Receiver(name, item.line, tuple(kinds))
    return found


def _inhibit_rule(item: Place) -> InhibitRule:
    sides = {side: [f"{side}_{field}" for field in _MATCHING] for side in ("source", "target")}
    path = "inhibit_rules"
    fields = item.within(path).fields("name", "equal", *sides["source"], *sides["target"])
    source, target = (
        _matchers({name.removeprefix(f"{side}_"): fields[name] for name in names if name in fields}, path)
        for side, names in sides.items()
    )
    return InhibitRule(item.line, source, target, tuple(label.text() for label in _listed(fields, "equal")))


def _intervals(places: Iterable[Place]) -> dict[str, tuple[TimeInterval, ...]]:
    found: dict[str, tuple[TimeInterval, ...]] = {}
    for place in places:
        fields = place.within("time_intervals").fields("name", "time_intervals")
        name = fields["name"].text() if "name" in fields else ""
        if not name:
            raise place.within("time_intervals").error("a time interval needs a name")
        if name in found:
            raise place.within("time_intervals").error(f"time interval {name} is given twice")
        found[name] = tuple(_interval(item, f"time_intervals: {name}") for item in _listed(fields, "time_intervals"))
    return found


def _interval(item: Place, path: str) -> TimeInterval:
    fields = item.within(path).fields("times", "weekdays", "days_of_month", "months", "years", "location")

    def spans(field: str, span: Callable[[str], T]) -> tuple[T, ...]:
        return tuple(_valued(one.within(f"{path}: {field}"), span) for one in _listed(fields, field))

    times = []
    for one in _listed(fields, "times"):
        ends = one.within(f"{path}: times").fields("start_time", "end_time")
        if len(ends) < 2:
            raise one.within(f"{path}: times").error("a range needs start_time and end_time")
        end = ends["end_time"].text()
        times.append(_valued(ends["start_time"].within(f"{path}: times"), partial(time_span, end=end)))
    return TimeInterval(
        tuple(times),
        spans("weekdays", weekday_span),
        spans("days_of_month", day_span),
        spans("months", month_span),
        spans("years", year_span),
        _valued(fields["location"].within(path), _zone) if "location" in fields else TimeInterval.zone,
    )


def _zone(name: str) -> tzinfo | None:
    return zone_of(name or "UTC")  # as in Go


def _matchers(fields: dict[str, Place], path: str) -> tuple[Matcher, ...]:
    """Return the matchers of a route or of one side of an inhibition, without repetitions, in the order of names."""
    found: list[Matcher] = []
    for field, op in (("match", Op.EQUAL), ("match_re", Op.MATCHES)):
        for name, value in fields[field].within(f"{path}: {field}").fields().items() if field in fields else ():
            found.append(_valued(value, partial(Matcher, name, op)))
    for item in _listed(fields, "matchers"):
        found += _valued(item.within(f"{path}: matchers"), parse_matchers)
    return tuple(sorted(dict.fromkeys(found), key=lambda matcher: (matcher.name, matcher.value, matcher.op)))


def _valued(place: Place, of: Callable[[str], T]) -> T:
    try:
        return of(place.text())
    except (ValueError, MatcherError) as error:
        raise place.error(str(error)) from error


def _listed(fields: dict[str, Place], name: str) -> Iterable[Place]:
    return fields[name].within(name).items() if name in fields else ()


def _seconds(fields: dict[str, Place], name: str, path: str, default: float, least: str = "") -> float:
    if name not in fields or fields[name].is_null:
        return default
    seconds = _valued(fields[name].within(f"{path}: {name}"), parse_duration)
    if least and seconds <= 0:
        raise fields[name].within(path).error(f"{name}: expected {least}")
    return seconds


def _flag(fields: dict[str, Place], name: str, path: str) -> bool:
    text = fields[name].text().lower() if name in fields else "false"
    if text not in ("true", "false", ""):
        raise fields[name].within(path).error(f"{name}: expected true or false, got {text!r}")
    return text == "true"
