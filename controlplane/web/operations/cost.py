"""The page of cost and usage: budgets, and what models, tenants and keys used. Its address holds the filters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.api.gateway.routes import cost as read_cost
from controlplane.api.services import Services, ServicesDep
from controlplane.cost.reckoning import month_of
from controlplane.fleet.operations.costs import BudgetView
from controlplane.fleet.usage import SUMS, UsageView, usage_view
from controlplane.fleet.view import instant
from controlplane.store.usage import DAY_S, HOUR_S
from controlplane.web.csv_answer import csv_answer
from controlplane.web.languages import noted
from controlplane.web.operations.bars import WHOLE, columns, share
from controlplane.web.render import Renderer

PATH = "/cost"
ROWS = 200
"""Most rows of a table. Chosen: the largest are first, and CSV has the rest."""
CSV_ROWS = 10_000
PERIODS = {
    "24h": noted("24 hours"),
    "7d": noted("7 days"),
    "month": noted("this month"),
    "30d": noted("30 days"),
    "90d": noted("90 days"),
}
"""Periods by their word in the address."""
LENGTHS_S = {"24h": DAY_S, "7d": 7 * DAY_S, "30d": 30 * DAY_S, "90d": 90 * DAY_S}
CSV_BY = ("day", "tenant", "key", "model", "version", "outcome")
Name = Annotated[str, Query(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Asked(NamedTuple):
    """The filters of the address. "": no filter."""

    period: str
    model: str
    tenant: str

    def address(self, **changed: str) -> str:
        """Return the page's address with these filters; `changed` replaces some of them, or adds `format`."""
        found = {**self._asdict(), **changed}
        given = {name: word for name, word in found.items() if word and (name, word) != ("period", "month")}
        return f"{PATH}?{urlencode(given)}" if given else PATH

    @property
    def only(self) -> Mapping[str, str]:
        """The filters of the store."""
        return {name: word for name, word in (("model", self.model), ("tenant", self.tenant)) if word}

    def span(self, now: float) -> tuple[float, float]:
        """Return the time from whole hours or days on, until now."""
        if self.period == "month":
            return month_of(now).start, now
        step = HOUR_S if self.period == "24h" else DAY_S
        return (now - LENGTHS_S[self.period]) // step * step + step, now


class Used(NamedTuple):
    """The usage of a period in the tables of the page."""

    by_time: Sequence[UsageView]
    by_version: Sequence[UsageView]
    by_tenant: Sequence[UsageView]
    by_key: Sequence[UsageView]
    total: UsageView | None
    """None: there is no usage."""


class Span(NamedTuple):
    """Lengths of a budget's bar: shares of its width, 0 to 1."""

    spent: float
    forecast: float
    limit: float | None
    prorated: float | None


def _asked(period: Literal["24h", "7d", "month", "30d", "90d"] = "month", model: Name = "", tenant: Name = "") -> Asked:
    return Asked(period, model, tenant)


class CostPage:
    """The endpoint. Viewers may read it."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def page(
        self,
        request: Request,
        services: ServicesDep,
        asked: Annotated[Asked, Depends(_asked)],
        format: Literal["", "csv"] = "",
    ) -> Response:
        """Show the month's budgets, and the usage of a period."""
        if format == "csv":
            views = await asyncio.to_thread(_usage, services, asked, CSV_BY, CSV_ROWS)
            names = (*CSV_BY, *SUMS)
            return csv_answer("usage", names, ([getattr(view, name) for name in names] for view in views))
        time = "hour" if asked.period == "24h" else "day"
        found, used = await asyncio.gather(read_cost(services), asyncio.to_thread(_used, services, asked, time))
        keys = await asyncio.to_thread(services.keys.list)
        start, end = asked.span(services.clock.now())
        starts = _starts(start, end, HOUR_S if time == "hour" else DAY_S)
        return self._render.page(
            request,
            "operations/cost.html",
            asked=asked,
            periods=PERIODS,
            cost=found,
            budgets=[(budget, span_of(budget)) for budget in found.budgets],
            total=used.total,
            charts=_charts(starts, used.by_time, time),
            by_version=used.by_version,
            by_tenant=used.by_tenant,
            by_key=used.by_key,
            keys={key.id: key.name for key in keys},
            most=max((_tokens(view) for view in used.by_version), default=0),
            rows=ROWS,
            models=sorted(model.name for model in services.config().models),
            part_of_month=part_of_month(services.clock.now()),
        )


def span_of(budget: BudgetView) -> Span:
    """Return what the bar of a budget shows. Its whole is the largest of budget, spending and forecast."""
    whole = max(budget.limit_usd or 0.0, budget.spent_usd or 0.0, budget.forecast_usd or 0.0)
    spent, forecast = share(budget.spent_usd, whole), share(budget.forecast_usd, whole)
    return Span(spent or 0.0, forecast or 0.0, share(budget.limit_usd, whole), share(budget.prorated_usd, whole))


def part_of_month(now: float) -> float:
    """Return the elapsed share of the month, 0 to 1."""
    month = month_of(now)
    return (now - month.start) / (month.end - month.start)


def _used(services: Services, asked: Asked, time: str) -> Used:
    total = _usage(services, asked, (), 1)
    return Used(
        _usage(services, asked, (time,), CSV_ROWS),
        _usage(services, asked, ("model", "version"), ROWS),
        _usage(services, asked, ("tenant",), ROWS),
        _usage(services, asked, ("tenant", "key"), ROWS),
        total[0] if total else None,
    )


def _usage(services: Services, asked: Asked, by: Sequence[str], limit: int) -> tuple[UsageView, ...]:
    start, end = asked.span(services.clock.now())
    found = services.usage.report(by, start, end, limit, asked.only)
    return tuple(usage_view(row, by) for row in found.rows)


def _tokens(view: UsageView) -> int:
    return view.prompt_tokens + view.completion_tokens


def _starts(start: float, end: float, step: float) -> list[str]:
    count = max(1, int((end - start) // step) + 1)
    return [instant(start + number * step) for number in range(count)]


def _charts(starts: Sequence[str], views: Sequence[UsageView], time: str) -> dict[str, Any]:
    known = {(view.hour if time == "hour" else view.day): view for view in views}

    def of(value: Callable[[UsageView], float | None]) -> Any:
        return columns([(at, value(known[at]) if at in known else 0.0) for at in starts])

    return {
        "whole": WHOLE,
        "labels": [_label(at, time) for at in starts],
        "usd": of(lambda view: view.usd),
        "tokens": of(lambda view: float(_tokens(view))),
        "requests": of(lambda view: float(view.requests)),
    }


def _label(at: str, time: str) -> str:
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%H:%M" if time == "hour" else "%m-%d")
