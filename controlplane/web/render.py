"""The renderer of templates. It adds the values that every page needs: the signed-in user and the CSRF token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from controlplane.access.roles import Principal, Role
from controlplane.access.sessions import csrf_token
from controlplane.api.auth import SESSION_COOKIE
from controlplane.api.services import Services
from controlplane.fleet.view import instant
from controlplane.plain_text import plain_block
from controlplane.web.format import FILTERS, TESTS


def _shown(value: Any) -> Any:
    """Return a template expression's value with unprintable characters escaped. Jinja2 escapes HTML after that."""
    return plain_block(value) if isinstance(value, str) and not isinstance(value, Markup) else value


class Renderer:
    """Jinja2 with autoescaping. An undefined name in a template is an error and not an empty string."""

    def __init__(self, templates: Path) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(templates),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            finalize=_shown,
        )
        self._environment.filters |= FILTERS
        self._environment.tests |= TESTS

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a template rendered for the signed-in user."""
        services: Services = request.app.state.services
        principal: Principal | None = getattr(request.state, "principal", None)
        cookie = request.cookies.get(SESSION_COOKIE, "")
        text = self._environment.get_template(template).render(
            values,
            path=request.url.path,
            here=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            principal=principal,
            may_act=principal is not None and principal.role.includes(Role.OPERATOR),
            csrf=csrf_token(cookie) if cookie and principal else "",
            now=instant(services.clock.now()),
            version=services.version,
            status=status,
            observe_only=services.observe_only,
        )
        return HTMLResponse(text, status)
