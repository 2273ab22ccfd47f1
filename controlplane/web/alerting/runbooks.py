"""The runbooks that alerts link to, as pages of the console."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response

from alerts.interfaces import AlertInstance
from alerts.packs import BUILTIN
from alerts.rules import AlertingRule
from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import ControlPlaneError
from controlplane.fleet.alerting.runbooks import Runbook, Shelf
from controlplane.web.alerting.markdown import markdown
from controlplane.web.render import Renderer

Name = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_]{1,100}(\.md)?$")]
"""The alert's name, also with `.md`, because runbooks link to each other so."""
PATH = "/runbooks"


class RunbookPages:
    """The endpoints. All of them need the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render, self._shelf = render, Shelf()

    def add_to(self, router: APIRouter) -> None:
        """Add the endpoints' routes."""
        router.get(PATH)(self.index)
        router.get(f"{PATH}/{{name}}")(self.runbook)

    @requires(Role.VIEWER)
    async def runbook(self, request: Request, services: ServicesDep, name: Name) -> Response:
        """Show one runbook, with its alerts and its rule. Raises NotFound."""
        name = name.removesuffix(".md")
        text = await asyncio.to_thread(self._shelf.text, name)
        active, rules = await asyncio.to_thread(_active, services), _rules(services)
        return self._render.page(
            request,
            "runbook.html",
            name=name,
            body=markdown(text),
            alerts=None if active is None else [one for one in active if _name(one) == name],
            is_loaded=name in rules,
        )

    @requires(Role.VIEWER)
    async def index(self, request: Request, services: ServicesDep, q: str = "") -> Response:
        """List the runbooks by pack. `q` is the text of the filter, which the browser applies."""
        books, active = await asyncio.gather(asyncio.to_thread(self._shelf.all), asyncio.to_thread(_active, services))
        firing: dict[str, int] = {}
        for one in active or ():
            if one.state.value == "firing":
                firing[_name(one)] = firing.get(_name(one), 0) + 1
        return self._render.page(
            request, "runbooks.html", packs=_by_pack(books), firing_of=firing, loaded=_rules(services), q=q[:200]
        )


def _by_pack(books: Iterable[Runbook]) -> list[tuple[str, list[Runbook]]]:
    """Return the runbooks by pack, in the order of the packs."""
    found: dict[str, list[Runbook]] = {pack: [] for pack in BUILTIN}
    for book in books:
        found.setdefault(book.pack, []).append(book)
    return [(pack, some) for pack, some in found.items() if some]


def _active(services: Services) -> list[AlertInstance] | None:
    """Return the active alerts; None when they cannot be read: the runbooks are needed then most of all."""
    try:
        return services.alerts.active()
    except ControlPlaneError:
        return None


def _rules(services: Services) -> frozenset[str]:
    rules = (health.rule for report in services.rules() for health in report.rules)
    return frozenset(rule.alert for rule in rules if isinstance(rule, AlertingRule))


def _name(alert: AlertInstance) -> str:
    return dict(alert.labels).get("alertname", "")
