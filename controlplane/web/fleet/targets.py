"""The page of the scraped targets. Its address holds the filters. Targets that are not up are on every page of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.api.services import ServicesDep
from controlplane.api.targets import dropped_groups
from controlplane.fleet.views import TargetView
from controlplane.web.csv_answer import csv_answer
from controlplane.web.languages import noted as _
from controlplane.web.render import Renderer

PATH = "/targets"
UP_ROWS = 200
"""Rows of targets that are up, on one page."""
NOT_UP_ROWS = 200
"""Rows of targets that are not up. They are on every page."""
DROPPED_GROUPS = 50
"""Most reasons of dropped endpoints on the page."""
STATES = {"down": _("down"), "blind": _("blind"), "unknown": _("unknown"), "up": _("up")}
"""The states, the worst first."""
CSV = ("job", "instance", "url", "engine", "state", "since", "last_good_scrape", "error", "remark", "missing", "labels")

State = Literal["", "down", "blind", "unknown", "up"]
Typed = Annotated[str, Query(max_length=200)]


class View(NamedTuple):
    """Filters and page of the address. "": everything."""

    q: str = ""
    """Words that a row must have."""
    state: State = ""
    engine: str = ""
    job: str = ""
    page: int = 1

    def address(self, **changed: object) -> str:
        """Return the page's address; `changed` replaces some of its values. A changed filter begins at page 1."""
        given = {**self._asdict(), "page": 1, **changed}
        query = urlencode({name: value for name, value in given.items() if value not in ("", 1)})
        return f"{PATH}?{query}" if query else PATH


def _view(
    q: Typed = "",
    state: State = "",
    engine: Typed = "",
    job: Typed = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> View:
    return View(q.strip(), state, engine, job, page)


class TargetsPage:
    """The endpoint. It needs the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def page(
        self,
        request: Request,
        services: ServicesDep,
        view: Annotated[View, Depends(_view)],
        format: Literal["", "csv"] = "",
    ) -> Response:
        """Show the targets and their last scrape, or return them as CSV."""
        everything = services.fleet.targets()
        of_filters = [t for t in everything if _wanted(t, view)]
        chosen = sorted((t for t in of_filters if view.state in ("", state_of(t))), key=_order)
        if format == "csv":
            return csv_answer("targets", CSV, _rows(chosen))
        not_up, up = [t for t in chosen if state_of(t) != "up"], [t for t in chosen if state_of(t) == "up"]
        pages = max(1, -(-len(up) // UP_ROWS))
        page = min(view.page, pages)
        dropped = await asyncio.to_thread(dropped_groups, services.dropped_targets())
        return self._render.page(
            request,
            "fleet/targets.html",
            view=view,
            all_targets=len(everything),
            found=len(chosen),
            counts=Counter(state_of(t) for t in of_filters),
            of_filters=len(of_filters),
            states=STATES,
            state_of=state_of,
            not_up=not_up[:NOT_UP_ROWS],
            not_up_more=len(not_up[NOT_UP_ROWS:]),
            up=_by_job(up[(page - 1) * UP_ROWS : page * UP_ROWS]),
            up_count=len(up),
            up_rows=UP_ROWS,
            page=page,
            pages=pages,
            engines=sorted({t.engine for t in everything}),
            jobs=sorted({t.job for t in everything}),
            faults=services.discovery_faults(),
            remarks=services.discovery_remarks(),
            dropped=dropped[:DROPPED_GROUPS],
            dropped_more=len(dropped[DROPPED_GROUPS:]),
        )


def state_of(target: TargetView) -> str:
    """Return a key of STATES. A blind target answers, with none of the metrics that its engine should have."""
    return "blind" if target.blind and target.health == "up" else target.health


def _order(target: TargetView) -> tuple[int, str, str]:
    return list(STATES).index(state_of(target)), target.job, target.instance


def _wanted(target: TargetView, view: View) -> bool:
    words = " ".join((target.job, target.instance, target.engine, target.last_error, *target.labels.values())).lower()
    return (
        view.engine in ("", target.engine)
        and view.job in ("", target.job)
        and all(word in words for word in view.q.lower().split())
    )


def _by_job(targets: Sequence[TargetView]) -> dict[str, list[TargetView]]:
    found: dict[str, list[TargetView]] = {}
    for target in targets:
        found.setdefault(target.job, []).append(target)
    return found


def _rows(targets: Sequence[TargetView]) -> Iterator[Sequence[object]]:
    for t in targets:
        missing, labels = ", ".join(t.missing), ", ".join(f"{name}={value}" for name, value in t.labels.items())
        told = (t.job, t.instance, t.url, t.engine, state_of(t), t.since, t.last_good_at, t.last_error, t.remark)
        yield (*told, missing, labels)
