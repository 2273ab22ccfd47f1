"""The confirmation dialog: what an action will do, or why it cannot be done now."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from typing import Annotated, Any

from fastapi import Form, Request
from fastapi.responses import RedirectResponse, Response

from controlplane.api.rollouts.bodies import MOST_TEXT
from controlplane.api.services import Services
from controlplane.errors import ControlPlaneError, Refused
from controlplane.rollout.model import Rollout
from controlplane.web.render import Renderer

Key = Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")]
"""Idempotency key, made with the dialog: a double click, or a repeat after a lost answer, acts once."""
Reason = Annotated[str, Form(max_length=MOST_TEXT, pattern=r"^[^\x00-\x1f]*$")]


class Dialogs:
    """Renders dialogs, and the answers to confirmed ones."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def ask(
        self,
        request: Request,
        *,
        title: str,
        verb: str,
        steps: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        reasons: tuple[str, ...] = (),
        wants_reason: str = "",
    ) -> Response:
        """Return the dialog. Without a `verb` it has no button to confirm, and `reasons` say why.

        `wants_reason` is the hint of a field for the operator's reason; "": there is no such field.
        """
        if opened := opened_directly(request):
            return opened
        # The status is always 200, because htmx shows only successful answers and the user must see a refusal.
        return self._render.page(
            request,
            "dialog.html",
            title=title,
            verb=verb,
            steps=steps,
            notes=notes,
            reasons=reasons,
            wants_reason=wants_reason,
            most=MOST_TEXT,
            key=secrets.token_hex(16),
        )

    async def done(self, request: Request, acted: Awaitable[Any], page: str = "") -> Response:
        """Await the action, and lead the browser to its page: `page`, or that of the rollout that it returned.

        A refusal is shown in the dialog.
        """
        services: Services = request.app.state.services
        try:
            result = await acted
        except ControlPlaneError as error:
            return self.ask(request, title="Nothing was done", verb="", reasons=reasons_of(error))
        services.fleet.forget()
        if not page:
            assert isinstance(result, Rollout)
            page = f"/rollouts/{result.id}"
        return led_to(page)


def opened_directly(request: Request, page: str = "") -> Response | None:
    """Return the way to the page that holds a dialog whose address was opened directly; None when htmx asks for it.

    `page`: "" for the one of two parts of the address, such as `/models/chat`.
    """
    if "HX-Request" in request.headers:
        return None
    return RedirectResponse(page or "/".join(request.url.path.split("/")[:3]), 303)


def led_to(page: str) -> Response:
    """Return the answer to a confirmed dialog, which leads the browser to a page."""
    return Response(status_code=204, headers={"HX-Redirect": page})


def reasons_of(error: ControlPlaneError) -> tuple[str, ...]:
    """Return the sentences of an error, one for each reason of a refusal."""
    return error.reasons if isinstance(error, Refused) else (str(error),)
