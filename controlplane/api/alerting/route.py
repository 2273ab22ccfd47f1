"""Where the running configuration sends an alert."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.services import ServicesDep
from controlplane.errors import MalformedRequest
from controlplane.fleet.alerting.routes import RoutesView, routes_view

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
MAX_LABELS = 30
"""Labels of one question. Chosen: an alert has ten or so, and an address of more than 64 KiB is refused as a whole."""
Labels = Annotated[list[Annotated[str, Query(max_length=2000)]], Query(max_length=MAX_LABELS)]


@router.get("/cp/v1/alerts/route")
@requires(Role.VIEWER)
def route(services: ServicesDep, label: Labels = []) -> RoutesView:  # noqa: B006 - FastAPI copies it
    """Return the routes that an alert with these labels takes now; without labels, all routes. Nothing changes.

    Each `label` is `NAME=VALUE`. Raises MalformedRequest.
    """
    pairs: dict[str, str] = {}
    for text in label:
        name, equals, value = text.partition("=")
        if not _NAME.fullmatch(name) or not equals:
            raise MalformedRequest(f"label {text[:100]!r}: expected NAME=VALUE")
        if name in pairs:
            raise MalformedRequest(f"label {name} is given twice")
        pairs[name] = value
    silences = services.holding.covering(pairs) if pairs else ()
    return routes_view(services.pipeline.stages(), pairs, services.clock.now(), silences)
