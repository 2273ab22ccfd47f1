"""Where the running configuration sends an alert with given labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from alerts.dispatch import Outlet, Stages
from alerts.holds import Silence
from alerts.routing.taken import taken, whole
from collectors.durations import format_duration
from controlplane.fleet.view import View, instant


class SendsToView(View):
    """One notifier to which a route leads."""

    notifier: str
    after: str
    """Time of a step of an escalation after the group opened; empty for the route's own receiver."""
    on_call: tuple[str, ...]
    """The people on call now, for a notifier with a rota."""
    held_back: str
    """Why it gets nothing now, as rotas have it; empty when it does."""


class StepView(View):
    """One step of an escalation."""

    after: str
    receiver: str


class RouteView(View):
    """One route, with the settings that it takes over. Durations are texts such as `5m`."""

    path: str
    """Its place in the tree: `route.routes[2]`."""
    line: int
    """Its line in an `alertmanager.yml`; 0 in fleet.yaml."""
    receiver: str
    group_by: tuple[str, ...]
    matchers: tuple[str, ...]
    group_wait: str
    group_interval: str
    repeat_interval: str
    continue_: bool = Field(alias="continue")
    mute_time_intervals: tuple[str, ...]
    active_time_intervals: tuple[str, ...]
    escalation: tuple[StepView, ...]
    group: dict[str, str]
    """Labels of the alert's group."""
    held_back: str
    """Why the route sends nothing now, as its time intervals have it; empty when it sends."""
    sends_to: tuple[SendsToView, ...]


class InhibitionView(View):
    """An inhibition that can hold the alert back."""

    line: int
    source: tuple[str, ...]
    equal: dict[str, str]


class SilencedByView(View):
    """A silence that holds the alert back now."""

    id: str
    created_by: str
    comment: str
    ends_at: str


class DoubtView(View):
    """Something in the routes that is hardly meant."""

    line: int
    sentence: str


class RoutesView(View):
    """The routes that an alert takes; without labels, all routes and the doubts about them."""

    labels: dict[str, str]
    routes: tuple[RouteView, ...]
    inhibited_by: tuple[InhibitionView, ...]
    silenced_by: tuple[SilencedByView, ...]
    warnings: tuple[DoubtView, ...]


def routes_view(stages: Stages, labels: Mapping[str, str], at: float, silences: Sequence[Silence] = ()) -> RoutesView:
    """Return the routes of an alert at unix second `at`; without labels, all of them.

    `silences`: those that hold it back.
    """
    nodes = stages.nodes(labels) if labels else list(stages.routing.root.walk())
    sends = {node.path: [_sends_to(stages, outlet, at) for outlet in stages.of(node)] for node in nodes}
    found = taken(stages.routing, nodes, labels, at, sends) if labels else whole(stages.routing, at, sends)
    return RoutesView.model_validate(found | {"silenced_by": [_silenced_by(one) for one in silences]})


def _silenced_by(silence: Silence) -> SilencedByView:
    return SilencedByView(
        id=silence.id, created_by=silence.created_by, comment=silence.comment, ends_at=instant(silence.ends_at)
    )


def _sends_to(stages: Stages, outlet: Outlet, at: float) -> dict[str, Any]:
    mute, on_call = stages.off_duty(outlet, at), stages.on_call(outlet, at)
    return {
        "notifier": outlet.notifier,
        "after": format_duration(outlet.after_s) if outlet.after_s else "",
        "on_call": on_call.people if on_call else (),
        "held_back": mute.sentence if mute else "",
    }
