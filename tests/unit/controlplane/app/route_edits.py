"""Edits of routes and notifications of a fleet.yaml, and what they start from."""

from __future__ import annotations

from typing import Any

from tests.unit.controlplane.app.oauth2_edits import proxy_edits

RICH_ROUTE: dict[str, Any] = {
    "receiver": "ops",
    "group_by": ["model"],
    "group_wait": "1s",
    "group_interval": "2s",
    "escalation": [{"after": "15m", "receiver": "ops"}],
    "routes": [
        {"matchers": ['severity="critical"'], "receiver": "log", "continue": True},
        {"matchers": ['team="a"'], "active_time_intervals": ["days"], "routes": [{"matchers": ['kind="x"']}]},
    ],
}
RICH_INTERVALS: list[dict[str, Any]] = [
    {"name": "days", "time_intervals": [{"times": [{"start_time": "06:00", "end_time": "22:00"}]}]},
    {"name": "nights", "time_intervals": [{"times": [{"start_time": "22:00", "end_time": "24:00"}]}]},
]
RICH_INHIBITIONS: list[dict[str, Any]] = [
    {"source_matchers": ['alertname="Down"'], "target_matchers": ['severity="warning"'], "equal": ["model"]}
]

RICH_NOTIFICATIONS: dict[str, Any] = {
    "watchdog": {"url_env": "WATCHDOG_URL", "interval": "1m"},
    "heartbeats": [{"name": "export", "within": "1d"}],
}

RICH_PEOPLE: dict[str, Any] = {"ann": {"slack": "U0ANN", "email": "ann@example.org"}, "bo": {"calendar": ["Bo B."]}}
RICH_ROTAS: list[dict[str, Any]] = [
    {"name": "primary", "ical_file": "rota.ics", "fallback": "log"},
    {"name": "other", "ical_url_env": "ROTA_URL", "fallback": "log"},
]

_WATCHDOG = ("notifications", "watchdog")
_AT: tuple[str | int, ...] = ("route", "routes", 1)
_TIMES: tuple[str | int, ...] = ("time_intervals", 0, "time_intervals", 0)


def _route(field: str, value: Any) -> tuple[str, tuple[str | int, ...], Any]:
    return f"route.routes[].{field}", (*_AT, field), value


def _times(field: str, value: Any) -> tuple[str, tuple[str | int, ...], Any]:
    return f"time_intervals[].time_intervals[].{field}", (*_TIMES, field), value


ROUTE_EDITS: tuple[tuple[str, tuple[str | int, ...], Any], ...] = (
    _route("receiver", "file"),
    _route("matchers", ['team="b"']),
    _route("group_by", ["node"]),
    _route("group_wait", "9s"),
    _route("group_interval", "9s"),
    _route("repeat_interval", "9h"),
    _route("continue", True),
    _route("mute_time_intervals", ["nights"]),
    _route("active_time_intervals", ["nights"]),
    _route("routes", []),
    ("route.escalation[].after", ("route", "escalation", 0, "after"), "20m"),
    ("route.escalation[].receiver", ("route", "escalation", 0, "receiver"), "log"),
    _route("escalation", [{"after": "1h", "receiver": "ops"}]),
    _route("escalation", []),
    ("inhibit_rules[].source_matchers", ("inhibit_rules", 0, "source_matchers"), ['alertname="Gone"']),
    ("inhibit_rules[].target_matchers", ("inhibit_rules", 0, "target_matchers"), ['severity="info"']),
    ("inhibit_rules[].equal", ("inhibit_rules", 0, "equal"), ["node"]),
    ("time_intervals[].name", ("time_intervals", 1, "name"), "evenings"),
    ("time_intervals[].time_intervals[].times[].start_time", (*_TIMES, "times", 0, "start_time"), "07:00"),
    ("time_intervals[].time_intervals[].times[].end_time", (*_TIMES, "times", 0, "end_time"), "21:00"),
    ("notifications.watchdog.url_env", (*_WATCHDOG, "url_env"), "OTHER_URL"),
    ("notifications.watchdog.url_file", _WATCHDOG, {"url_file": "/watchdog-url"}),
    ("notifications.watchdog.interval", (*_WATCHDOG, "interval"), "30s"),
    ("notifications.heartbeats[].name", ("notifications", "heartbeats", 0, "name"), "import"),
    ("notifications.heartbeats[].within", ("notifications", "heartbeats", 0, "within"), "2d"),
    ("people.<name>.slack", ("people", "ann", "slack"), "U0OTHER"),
    ("people.<name>.email", ("people", "ann", "email"), "a@example.org"),
    ("people.<name>.calendar", ("people", "bo", "calendar"), ["B. B."]),
    ("rotas[].name", ("rotas", 1, "name"), "spare"),
    ("rotas[].ical_file", ("rotas", 0, "ical_file"), "other.ics"),
    ("rotas[].ical_url_env", ("rotas", 1, "ical_url_env"), "OTHER_URL"),
    ("rotas[].ical_url_file", ("rotas", 1), {"name": "other", "ical_url_file": "/rota-url", "fallback": "log"}),
    *proxy_edits("rotas[]", ("rotas", 1), {"name": "other", "ical_url_env": "ROTA_URL", "fallback": "log"}),
    ("rotas[].time_zone", ("rotas", 0, "time_zone"), "Europe/Berlin"),
    ("rotas[].fallback", ("rotas", 0, "fallback"), "hook"),
    ("notifiers[].on_call", ("notifiers", 0, "on_call"), "other"),
    _times("weekdays", ["monday:friday"]),
    _times("days_of_month", ["1:5"]),
    _times("months", ["march"]),
    _times("years", ["2027"]),
    _times("location", "Asia/Shanghai"),
)
