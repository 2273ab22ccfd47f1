"""The page of notifications: who is on call, the messages, and where an alert with given labels would go.

Its address holds the labels, so that a link can be shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from alerts.errors import MatcherError
from alerts.routing.matchers import parse_labels
from controlplane.access.roles import Role
from controlplane.api.alerting.route import MAX_LABELS
from controlplane.api.auth import requires
from controlplane.api.notifications import notification_view
from controlplane.api.notifications import notifications as read_notifications
from controlplane.api.notifications import notifiers as read_notifiers
from controlplane.api.services import Services, ServicesDep
from controlplane.fleet.alerting.routes import RoutesView, RouteView, routes_view
from controlplane.web.languages import noted as _
from controlplane.web.render import Renderer

PATH = "/notifications"
NOTIFICATIONS = 200
"""Most rows of the page. Chosen: a browser redraws so many at every change without a delay."""
TROUBLES = 50
"""Most messages that are listed because they did not get through."""
MOST_LABELS_TEXT = 2000
"""Most characters of the labels. Chosen: ten labels or so, with room for long values."""
STATUSES = (_("queued"), _("retrying"), _("sent"), _("dead"), _("held"))
EXAMPLE = "severity=critical, model=chat"


class Branch(NamedTuple):
    """A route on the way of an alert."""

    route: RouteView
    taken: bool
    """Whether the alert takes it. The others lead to a route that it takes."""
    below: tuple[Branch, ...]


class Answer(NamedTuple):
    """Where an alert goes."""

    labels: dict[str, str]
    found: RoutesView
    tree: tuple[Branch, ...]


class NotificationsPage:
    """The endpoint. It needs the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def page(
        self,
        request: Request,
        services: ServicesDep,
        labels: str = "",
    ) -> Response:
        """Show who is on call and the messages. With labels, show where an alert with them would go, or what is wrong.

        `labels` are written as `severity=critical, model=chat`.
        """
        if "labels" in request.query_params and not labels.strip():  # a browser also sends an empty field
            return RedirectResponse(PATH, 303)
        fault, answer = "", None
        if labels:
            try:
                answer = await asyncio.to_thread(_answer, services, labels_of(labels))
            except ValueError as error:
                fault = str(error)
        found, notifiers, troubles = await asyncio.gather(
            asyncio.to_thread(read_notifications, services, NOTIFICATIONS),
            asyncio.to_thread(read_notifiers, services),
            asyncio.to_thread(services.outbox.troubles, TROUBLES + 1),
        )
        return self._render.page(
            request,
            "notifications/page.html",
            notifications=found.items,
            notifiers=notifiers.items,
            troubles=[notification_view(entry) for entry in troubles[:TROUBLES]],
            more_troubles=len(troubles) > TROUBLES,
            rotas=services.rotas.all(),
            labels=labels,
            example=EXAMPLE,
            fault=fault,
            answer=answer,
        )


def labels_of(text: str) -> dict[str, str]:
    """Return the labels of a text such as `severity=critical, model="chat"`.

    Raises ValueError, whose text is shown at the field, for what is no label, for a label that is given twice, and for
    more than MOST_LABELS_TEXT characters.
    """
    if len(text) > MOST_LABELS_TEXT:
        raise ValueError(f"{len(text)} characters: the most is {MOST_LABELS_TEXT}. Give only labels that routes match.")
    try:
        pairs = parse_labels(text)
    except MatcherError as error:
        raise ValueError(f"{error}. Write labels as {EXAMPLE}.") from error
    labels: dict[str, str] = {}
    for name, value in pairs:
        if name in labels:
            raise ValueError(f"The label {name} is given twice. An alert has one value of each label.")
        labels[name] = value
    if not 0 < len(labels) <= MAX_LABELS:
        raise ValueError(f"{len(labels)} labels: expected 1 to {MAX_LABELS}, such as {EXAMPLE}.")
    return labels


def _answer(services: Services, labels: dict[str, str]) -> Answer:
    stages, now = services.pipeline.stages(), services.clock.now()
    found = routes_view(stages, labels, now, services.holding.covering(labels))
    return Answer(labels, found, tree_of(routes_view(stages, {}, now).routes, found.routes))


def tree_of(every: Sequence[RouteView], taken: Sequence[RouteView]) -> tuple[Branch, ...]:
    """Return the part of the tree of routes that leads to those that are taken, from the root on.

    `every` has no groups, so those that are taken stand as they are in `taken`.
    """
    mine = {route.path: route for route in taken}
    on_way = [
        mine.get(route.path, route) for route in every if any(f"{path}.".startswith(f"{route.path}.") for path in mine)
    ]

    def below(above: str) -> tuple[Branch, ...]:
        routes = (route for route in on_way if route.path.rpartition(".")[0] == above)
        return tuple(Branch(route, route.path in mine, below(route.path)) for route in routes)

    return below("")
