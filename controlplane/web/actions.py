"""Actions. A dialog states what each will do and asks for confirmation. Its key makes a repeated action happen once."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import RedirectResponse, Response

from controlplane.access.roles import Role
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.models import ModelName
from controlplane.api.rollouts import RolloutId
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import ControlPlaneError, Refused
from controlplane.fleet.rollouts import rollout_view
from controlplane.fleet.views import RolloutView
from controlplane.rollout.model import Plan, Rollout, RolloutKind
from controlplane.rollout.step_words import step_sentences
from controlplane.web.render import Renderer

STRATEGY = "blue-green"
OBSERVES = "this control plane only observes (--observe-only); start it without that flag to act"
Key = Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")]
"""Idempotency key, made with the dialog: a double click, or a repeat after a lost answer, starts one rollout."""


class Actions:
    """The endpoints. All of them need the role operator. They return a dialog's content or redirect to the rollout."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.OPERATOR)
    async def confirm_promotion(
        self, request: Request, services: ServicesDep, name: ModelName, version: ModelName
    ) -> Response:
        """Show what a promotion would do, and ask for confirmation."""
        plan = services.rollouts.plan(name, version, STRATEGY)
        return await self._confirm(request, plan, f"Promote {name} to {version}?", f"Promote {version}")

    @requires(Role.OPERATOR)
    async def promote(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        name: ModelName,
        version: ModelName,
        key: Key,
    ) -> Response:
        """Start the confirmed promotion."""
        return await self._start(
            request,
            services,
            services.rollouts.start(name, version, STRATEGY, actor=principal.name, idempotency_key=f"console-{key}"),
        )

    @requires(Role.OPERATOR)
    async def confirm_rollback(self, request: Request, services: ServicesDep, name: ModelName) -> Response:
        """Show what a rollback would do, and ask for confirmation. A running promotion is reversed."""
        model = await services.fleet.model(name)
        running = model.rollout
        if running is None:
            title = f"Roll {name} back to {model.previous}?" if model.previous else f"Roll {name} back?"
            return await self._confirm(request, services.rollouts.plan_rollback(name), title, "Roll back")
        if running.kind == RolloutKind.ROLLBACK:
            reason = f"rollout {running.id} is rolling {name} back to {running.to} already"
            return self._dialog(request, title=f"Roll {name} back?", verb="", reasons=(reason,))
        title = f"Roll {name} back to {running.from_}?"
        return self._dialog(request, title=title, verb="Roll back", steps=_turning_back(running))

    @requires(Role.OPERATOR)
    async def rollback(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, name: ModelName, key: Key
    ) -> Response:
        """Start the confirmed rollback."""
        return await self._start(
            request, services, services.rollouts.rollback(name, actor=principal.name, idempotency_key=f"console-{key}")
        )

    @requires(Role.OPERATOR)
    async def confirm_abort(self, request: Request, services: ServicesDep, rollout_id: RolloutId) -> Response:
        """Show what an abort would do, and ask for confirmation."""
        rollout = rollout_view((await services.rollouts.show(rollout_id)).rollout)
        title = f"Abort rollout {rollout_id}?"
        if rollout.finished or rollout.switched:
            done = f"it has {'finished' if rollout.finished else 'switched'} already: {rollout.sentence}"
            return self._dialog(request, title=title, verb="", reasons=(done,))
        return self._dialog(request, title=title, verb="Abort and go back", steps=_turning_back(rollout))

    @requires(Role.OPERATOR)
    async def abort(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId
    ) -> Response:
        """Roll the rollout back."""
        return await self._start(request, services, services.rollouts.abort(rollout_id, actor=principal.name))

    async def _confirm(self, request: Request, planned: Awaitable[Plan], title: str, verb: str) -> Response:
        try:
            plan = await planned
        except ControlPlaneError as error:
            return self._dialog(request, title=title, verb="", reasons=_reasons(error))
        services: Services = request.app.state.services
        if services.rollouts.observe_only:
            return self._dialog(request, title=title, verb="", reasons=(OBSERVES,))
        return self._dialog(
            request, title=title, verb=verb, steps=step_sentences(plan), notes=(*plan.notes, *plan.known)
        )

    async def _start(self, request: Request, services: Services, started: Awaitable[Rollout]) -> Response:
        try:
            rollout = await started
        except ControlPlaneError as error:
            return self._dialog(request, title="Nothing was done", verb="", reasons=_reasons(error))
        services.fleet.forget()
        return Response(status_code=204, headers={"HX-Redirect": f"/rollouts/{rollout.id}"})

    def _dialog(
        self,
        request: Request,
        *,
        title: str,
        verb: str,
        steps: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        reasons: tuple[str, ...] = (),
    ) -> Response:
        if "HX-Request" not in request.headers:  # the address was opened directly: show the page that holds the dialog
            return RedirectResponse("/".join(request.url.path.split("/")[:3]), 303)
        # The status is always 200, because htmx shows only successful answers and the user must see a refusal.
        return self._render.page(
            request,
            "dialog.html",
            title=title,
            verb=verb,
            steps=steps,
            notes=notes,
            reasons=reasons,
            key=secrets.token_hex(16),
        )


def _turning_back(rollout: RolloutView) -> tuple[str, ...]:
    return (
        f"stop rollout {rollout.id} of {rollout.model} to {rollout.to}, which is {rollout.phase} now",
        f"if {rollout.to} is loaded already, load {rollout.from_} again; it serves as before once it is ready",
        f"keep {rollout.from_} as the stable version",
    )


def _reasons(error: ControlPlaneError) -> tuple[str, ...]:
    return error.reasons if isinstance(error, Refused) else (str(error),)
