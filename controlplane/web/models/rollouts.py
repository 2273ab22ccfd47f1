"""The list of rollouts, and the page of one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from alerts.packs import threshold_values
from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.api.rollouts.bodies import RolloutId
from controlplane.api.rollouts.listing import findings as read_findings
from controlplane.api.rollouts.listing import rollout as read_rollout
from controlplane.api.rollouts.listing import rollouts as read_rollouts
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import ControlPlaneError
from controlplane.fleet.rollout_views import RolloutView
from controlplane.web.csv_answer import csv_answer
from controlplane.web.languages import noted as _
from controlplane.web.models.charts import Scope, of_rollout
from controlplane.web.models.versions import ordered
from controlplane.web.render import Renderer

PATH = "/rollouts"
NEWEST = 500
"""Rollouts among which the list filters: as many as the API lists."""
ROWS = 50
"""Rows of a page."""
FINDINGS = 200
BEFORE_S, AFTER = 300, 0.1
"""Time before a rollout that its charts show, and least after it, in seconds; and the share of its length after it."""
PHASES = (
    _("planned"),
    _("preparing"),
    _("switching"),
    _("verifying"),
    _("draining"),
    _("rolling-back"),
    _("succeeded"),
    _("failed"),
    _("rolled-back"),
)
KINDS = (_("promote"), _("rollback"))
RUNNING = _("running")
"""A choice among the phases: every phase that is not an end."""
Word = Annotated[str, Query(max_length=63, pattern=r"^[A-Za-z0-9_.-]*$")]
HEADER = ("rollout", "model", "from", "to", "kind", "strategy", "phase", "started", "finished", "by", "sentence")


class Filters(NamedTuple):
    """The filters of the list. "": no filter."""

    model: str = ""
    phase: str = ""
    kind: str = ""

    def keep(self, rollout: RolloutView) -> bool:
        """Return whether a rollout is among those that are asked for."""
        phase = not rollout.finished if self.phase == RUNNING else self.phase in ("", rollout.phase)
        return phase and self.model in ("", rollout.model) and self.kind in ("", rollout.kind)

    def address(self, **more: str | int) -> str:
        """Return the list's address with these filters; `more` replaces some, or adds a page or a format."""
        query = urlencode({name: text for name, text in {**self._asdict(), **more}.items() if text})
        return f"{PATH}?{query}" if query else PATH


def _filters(model: Word = "", phase: Word = "", kind: Word = "") -> Filters:
    return Filters(model, phase, kind)


class RolloutPages:
    """The endpoints. They need the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def list(
        self,
        request: Request,
        services: ServicesDep,
        filters: Annotated[Filters, Depends(_filters)],
        page: Annotated[int, Query(ge=1, le=NEWEST)] = 1,
        format: Annotated[str, Query(pattern="^(csv)?$")] = "",
    ) -> Response:
        """Show rollouts: running ones with their progress, then ended ones, newest first. `format=csv`: a file."""
        if "" in request.query_params.values():  # a browser also sends empty fields
            return RedirectResponse(filters.address(), 303)
        every = (await read_rollouts(services, None, NEWEST)).items
        found = [rollout for rollout in every if filters.keep(rollout)]
        if format:
            return csv_answer("rollouts", HEADER, map(_cells, found))
        ended = [rollout for rollout in found if rollout.finished]
        config = services.config()
        models = sorted({section.name for section in config.models} | {rollout.model for rollout in every})
        page = min(page, max(1, -(-len(ended) // ROWS)))
        first = (page - 1) * ROWS
        return self._render.page(
            request,
            "models/rollouts.html",
            running=await _whole(services, [rollout for rollout in found if not rollout.finished]),
            ended=ended[first : first + ROWS],
            counted=len(ended),
            first=first,
            number=page,
            rows=ROWS,
            any=bool(every),
            cut=len(every) == NEWEST,
            filters=filters,
            models=models,
            phases=(RUNNING, *PHASES),
            kinds=KINDS,
            order={model: ordered(config, model) for model in models},
        )

    @requires(Role.VIEWER)
    async def page(self, request: Request, services: ServicesDep, rollout_id: RolloutId) -> Response:
        """Show one rollout: its steps, both versions' numbers over its time, verdicts and events."""
        found, past = await asyncio.gather(
            read_rollout(services, rollout_id), read_findings(services, rollout_id, FINDINGS)
        )
        config = services.config()
        pair = tuple(filter(None, (found.from_, found.to)))
        return self._render.page(
            request,
            "models/rollout.html",
            rollout=found,
            findings=past.items,
            most_findings=FINDINGS,
            span=_span(found),
            versions=ordered(config, found.model, pair),
            scrape=config.scrape.interval,
            charts=of_rollout(Scope(found.model, pair, threshold_values(config.thresholds))),
        )


def _span(rollout: RolloutView) -> tuple[int, int | None]:
    """Return the time that the charts of a rollout show, in unix seconds: its own and a little around it."""
    began = datetime.fromisoformat(rollout.created_at).timestamp()
    if rollout.finished_at is None:
        return int(began - BEFORE_S), None
    ended = datetime.fromisoformat(rollout.finished_at).timestamp()
    return int(began - BEFORE_S), int(ended + max(BEFORE_S, AFTER * (ended - began)))


async def _whole(services: Services, rollouts: Sequence[RolloutView]) -> Sequence[RolloutView]:
    """Return rollouts with their progress. One whose record cannot be read stays as the list has it."""

    async def one(rollout: RolloutView) -> RolloutView:
        try:
            return await read_rollout(services, rollout.id)
        except ControlPlaneError:
            return rollout

    return await asyncio.gather(*map(one, rollouts))


def _cells(r: RolloutView) -> Sequence[object]:
    whole = (r.id, r.model, r.from_, r.to, r.kind, r.strategy, r.phase, r.created_at, r.finished_at, r.created_by)
    return (*whole, r.sentence)
