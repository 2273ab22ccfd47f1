"""The page of the whole fleet. Its address holds the filters, the grouping, and what colours the grid of GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.api.services import ServicesDep
from controlplane.web.active import ALERTS, active_alerts
from controlplane.web.fleet.cards import COMPACT_FROM, MEASURES, STATES, Card, cards_of
from controlplane.web.fleet.causes import KINDS, NEEDS, SHOWN, causes_of
from controlplane.web.fleet.gpus import COLOURS, Colour, nodes_of
from controlplane.web.render import Renderer
from controlplane.web.slos import known_slos

PATIENCE_S = 0.15
"""Longest wait for new lines, in seconds. The page is shown without them then, and asks for them a second later."""
Group = Literal["state", "driver", "none"]
Only = Literal["", "alerts"]


class View(NamedTuple):
    """Filters, grouping and colours of the address."""

    q: str = ""
    """Words that a card must have."""
    only: Only = ""
    """`alerts`: only models with an active alert."""
    driver: str = ""
    """Only models of this driver."""
    group: Group = "state"
    gpus: Colour = "memory"
    """Number that colours the grid of GPUs."""

    def address(self, **changed: str) -> str:
        """Return the page's address; `changed` replaces some of its values."""
        defaults = View._field_defaults
        given = {**self._asdict(), **changed}
        query = urlencode({name: value for name, value in given.items() if value != defaults[name]})
        return f"/?{query}" if query else "/"


Typed = Annotated[str, Query(max_length=200)]


def _view(q: Typed = "", only: Only = "", driver: Typed = "", group: Group = "state", gpus: Colour = "memory") -> View:
    return View(q.strip(), only, driver, group, gpus)


class FleetPage:
    """The endpoint. It needs the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    async def page(self, request: Request, services: ServicesDep, view: Annotated[View, Depends(_view)]) -> Response:
        """Show the whole fleet. The page names the parts that cannot be read, and shows the others."""
        fleet, read, slos, trends = await asyncio.gather(
            services.fleet.fleet(), active_alerts(services), known_slos(services), services.trends.trends(PATIENCE_S)
        )
        active, counted = read or (), 0 if fleet.alerts is None else fleet.alerts.firing + fleet.alerts.pending
        every = read is not None and counted < ALERTS
        cards = cards_of(fleet.models, active, fleet.attention, slos or (), trends, every_alert=every)
        nodes = nodes_of(fleet.gpus, active, view.gpus, trends.limits)
        return self._render.page(
            request,
            "fleet/overview.html",
            fleet=fleet,
            view=view,
            causes=causes_of(active, fleet.attention, [model.name for model in fleet.models]),
            causes_shown=SHOWN,
            unread_alerts=max(0, counted - len(active)),
            groups=_grouped([card for card in cards if _wanted(card, view)], view.group),
            drivers=sorted({model.driver for model in fleet.models}),
            compact=len(cards) >= COMPACT_FROM,
            nodes=nodes,
            gpu_count=sum(len(node.cells) for node in nodes),
            limits=trends.limits,
            soon=not trends.models and not trends.warnings,
            warnings=(*fleet.warnings, *trends.warnings),
            states=STATES,
            measures=MEASURES,
            needs=NEEDS,
            kinds=KINDS,
            colours=COLOURS,
        )


def _wanted(card: Card, view: View) -> bool:
    words = f"{card.model.name} {card.model.driver}".lower()
    return (
        all(word in words for word in view.q.lower().split())
        and view.driver in ("", card.model.driver)
        and (not view.only or bool(card.badges))
    )


def _grouped(cards: Sequence[Card], group: Group) -> list[tuple[str, list[Card]]]:
    """Return the cards by group, with the group's key; the worst state first, drivers by name."""
    if group == "none":
        return [("", list(cards))] if cards else []
    if group == "state":
        found = [(state, [card for card in cards if card.state == state]) for state in STATES]
    else:
        drivers = sorted({card.model.driver for card in cards})
        found = [(driver, [card for card in cards if card.model.driver == driver]) for driver in drivers]
    return [(key, members) for key, members in found if members]
