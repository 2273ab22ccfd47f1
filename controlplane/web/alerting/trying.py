"""The page that tries a rule over the stored history. Its address holds the rule, so that a trial can be shared."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NamedTuple

from fastapi import Query, Request
from fastapi.responses import Response

from alerts.rules import AlertingRule
from collectors.durations import format_duration
from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.api.interop.asker import AskerDep
from controlplane.api.services import Services, ServicesDep
from controlplane.config.durations import duration_seconds
from controlplane.errors import ControlPlaneError, MalformedRequest, NotFound
from controlplane.fleet.alerting.charts import compared_of
from controlplane.fleet.alerting.trials import MOST_TEXT, AlertOfTrial, EpisodeOfTrial, Trial, TrialView, tried
from controlplane.web.live import wants_part
from controlplane.web.render import Renderer

RANGES = ("1h", "6h", "24h", "3d", "7d")
ROWS = 100
"""Alerts, and episodes, that the page lists."""
WIDTH = 1000.0
"""Width of a bar, in units of its picture."""
EXAMPLE = "gpu_temperature_celsius > 80"


class Span(NamedTuple):
    """A part of a bar."""

    x: float
    width: float
    kind: str
    """pending or firing."""
    title: str


class Line(NamedTuple):
    """One alert with its bar."""

    alert: AlertOfTrial
    spans: tuple[Span, ...]


class InForce(NamedTuple):
    """The expression and the interval that a trial takes from a rule in force."""

    expr: str
    wait: str
    """`for`; "": none."""
    interval_s: float | None
    """Interval of its group. None: the fleet's."""


class TryPage:
    """The endpoint. It needs the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def page(
        self,
        request: Request,
        services: ServicesDep,
        asker: AskerDep,
        rule: Annotated[str, Query(max_length=2000)] = "",
        expr: Annotated[str, Query(max_length=MOST_TEXT)] = "",
        wait: Annotated[str, Query(alias="for", max_length=20)] = "",
        range: Annotated[str, Query(max_length=20)] = "24h",
    ) -> Response:
        """Show the form; with a rule, also when it would have fired in the last `range`.

        `rule`: the id of a rule in force. Its expression fills an empty form, and the interval of its group holds.
        Raises NotFound when no such rule is in force.
        """
        expr, range = expr.replace("\r\n", "\n"), range.strip()  # as a browser sends lines
        interval_s = services.config().evaluation_interval
        if known := _in_force(services, rule):
            interval_s = known.interval_s or interval_s
        if rule and not expr.strip():
            if known is None:
                raise NotFound(f"there is no rule {rule}; /rules lists them")
            expr, wait = known.expr, known.wait
        fault, found = "", None
        if expr.strip() and not wants_part(request):  # nothing of a trial is live: it is not repeated every 5 s
            try:
                now = services.clock.now()
                trial = Trial(
                    expr,
                    _seconds(wait, "for") if wait.strip() else 0.0,
                    now - _seconds(range, "range"),
                    now,
                    interval_s,
                )
                found = await asker.wait_for(tried(services.queries, trial, asker.id))
            except ControlPlaneError as error:
                fault = str(error)
        compared = compared_of(found.expr) if found and found.evaluated else None
        return self._render.page(
            request,
            "rules/try.html",
            rule=rule if known else "",
            expr=expr,
            wait=wait,
            range=range,
            ranges=RANGES,
            example=EXAMPLE,
            most=MOST_TEXT,
            fault=fault,
            found=found,
            lines=_lines(found) if found else (),
            width=WIDTH,
            rows=ROWS,
            legend=_legend(found) if found else "",
            compared=compared,
        )


def _in_force(services: Services, identity: str) -> InForce | None:
    """Return a rule in force by its id; None: there is none."""
    for report in services.rules():
        for health in report.rules:
            if health.rule.id == identity:
                rule = health.rule
                wait_s = rule.for_s if isinstance(rule, AlertingRule) else 0.0
                return InForce(rule.expr, format_duration(wait_s) if wait_s else "", report.group.interval_s)
    return None


def _seconds(text: str, name: str) -> float:
    try:
        return duration_seconds(text.strip())
    except ValueError as error:
        raise MalformedRequest(f"{name}: {text!r} is not a duration such as 5m") from error


def _legend(found: TrialView) -> str:
    """Return the names of the labels that tell the alerts apart."""
    values: dict[str, set[str]] = {}
    for one in found.alerts:
        for name, value in one.labels.items():
            values.setdefault(name, set()).add(value)
    return " ".join(name for name, seen in values.items() if len(seen) > 1) or " ".join(values)


def _lines(found: TrialView) -> tuple[Line, ...]:
    """Return the alerts with their bars, those that fired longest first."""
    episodes: dict[tuple[tuple[str, str], ...], list[EpisodeOfTrial]] = {}
    for one in found.episodes:
        episodes.setdefault(tuple(one.labels.items()), []).append(one)
    return tuple(
        Line(alert, tuple(span for one in episodes.get(tuple(alert.labels.items()), ()) for span in _spans(found, one)))
        for alert in found.alerts[:ROWS]
    )


def _spans(found: TrialView, episode: EpisodeOfTrial) -> list[Span]:
    ended = episode.ended_at or found.end
    fired = episode.fired_at or ended
    parts = [(episode.active_at, fired, "pending"), (fired, ended, "firing")]
    return [
        Span(*_place(found, begin, end), kind, f"{kind}: {begin} – {end}") for begin, end, kind in parts if begin < end
    ]


def _place(found: TrialView, begin: str, end: str) -> tuple[float, float]:
    """Return the left side and the width of a part, at least as wide as can be seen."""
    start, whole = _at(found.start), _at(found.end) - _at(found.start)
    left = max(0.0, (_at(begin) - start) / whole * WIDTH)
    right = min(WIDTH, (_at(end) - start) / whole * WIDTH)
    return round(left, 1), round(max(2.0, right - left), 1)


def _at(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
