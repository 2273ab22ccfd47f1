"""The page of all alerts. Its address holds the filters, so that a link can be shared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import Response

from alerts.errors import MatcherError
from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import MalformedRequest
from controlplane.web.alerting.asked import GROUPS, SEVERITIES, STATES, TABS, Asked, State
from controlplane.web.alerting.board import PAGE, Found, board_of
from controlplane.web.csv_answer import csv_answer
from controlplane.web.render import Renderer

HEADER = ("fingerprint", "state", "severity", "alert", "labels", "summary", "value", "active_at", "fired_at",
          "resolved_at", "held_back")  # fmt: skip
Grouping = Literal["", "alertname", "model", "node", "severity"]
Words = Annotated[str, Query(max_length=2000)]


class AlertsPage:
    """The endpoint. It needs the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def page(
        self,
        request: Request,
        services: ServicesDep,
        state: State = "all",
        severity: Words = "",
        label: Words = "",
        q: Words = "",
        group: Grouping = "",
        page: Annotated[int, Query(ge=1, le=100_000)] = 1,
        format: Literal["", "csv"] = "",
    ) -> Response:
        """Show the alerts of a tab: as a list or by groups, or all of them as a CSV file.

        `label`: matchers, such as `node=n1`; messages of storms link to such a list.
        """
        chosen = tuple(request.query_params.getlist("open")) if "open" in request.query_params else None
        asked = Asked(state, severity, label.strip(), q.strip(), group, chosen, page)
        if format:
            return await asyncio.to_thread(_csv, services, asked)
        board = await asyncio.to_thread(board_of, services, asked)
        return self._render.page(
            request,
            "alerts/list.html",
            asked=asked,
            board=board,
            tabs=tuple(zip(STATES, TABS, strict=True)),
            groupings=GROUPS,
            severities=SEVERITIES,
            rows_of_page=PAGE,
        )


def _csv(services: Services, asked: Asked) -> Response:
    try:
        found = Found(services, asked)
    except MatcherError as error:
        raise MalformedRequest(f"label: {error}") from error
    alerts = found.of(asked.state)

    def rows() -> Iterator[tuple[object, ...]]:
        for first in range(0, len(alerts), PAGE):
            for a in found.views(alerts[first : first + PAGE]):
                labels = ", ".join(f"{k}={v}" for k, v in a.labels.items() if k not in ("alertname", "severity"))
                held = "; ".join(hold.sentence for hold in a.held_back)
                summary = a.annotations.get("summary", "")
                yield (a.fingerprint, a.state, a.severity, a.name, labels, summary, a.value, a.active_at, a.fired_at,
                       a.resolved_at, held)  # fmt: skip

    return csv_answer("alerts", HEADER, rows())
