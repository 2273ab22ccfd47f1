"""Actions that start or turn back a rollout. A dialog states what each will do and asks for confirmation."""

from __future__ import annotations

from collections.abc import Awaitable

from fastapi import Request
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.models import ModelName
from controlplane.api.rollouts.bodies import RolloutId
from controlplane.api.rollouts.listing import known_of
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import ControlPlaneError
from controlplane.fleet.rollouts import plan_view, turning_back_view
from controlplane.rollout.model import Plan, Rollout, RolloutKind
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.planning.plan import OBSERVES
from controlplane.web.dialog import Dialogs, Key, Reason, reasons_of

WHY = "why, for the history and the audit trail"
"""Hint of a field for a reason that may stay empty."""


class Actions:
    """The endpoints. All of them need the role operator. They return a dialog's content or redirect to the rollout."""

    def __init__(self, dialogs: Dialogs) -> None:
        self._dialogs = dialogs

    @requires(Role.OPERATOR)
    async def confirm_promotion(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, name: ModelName, version: ModelName
    ) -> Response:
        """Show what a promotion would do, and ask for confirmation. Its options are those of fleet.yaml."""
        plan = services.rollouts.plan(
            name, version, overrides=Overrides(), actor=principal.name, role=principal.role.value
        )
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
        started = services.rollouts.start(
            name,
            version,
            overrides=Overrides(),
            actor=principal.name,
            role=principal.role.value,
            idempotency_key=f"console-{key}",
        )
        return await self._dialogs.done(request, started)

    @requires(Role.OPERATOR)
    async def confirm_rollback(self, request: Request, services: ServicesDep, name: ModelName) -> Response:
        """Show what a rollback would do, and ask for confirmation. A running promotion is reversed."""
        model = await services.rollouts.model(name)
        running = model.rollout
        if running is None:
            title = f"Roll {name} back to {model.previous}?" if model.previous else f"Roll {name} back?"
            return await self._confirm(request, services.rollouts.plan_rollback(name), title, "Roll back", WHY)
        if running.plan.kind is RolloutKind.ROLLBACK:
            reason = f"rollout {running.id} is rolling {name} back to {running.plan.to_version} already"
            return self._dialogs.ask(request, title=f"Roll {name} back?", verb="", reasons=(reason,))
        title = f"Roll {name} back to {running.plan.from_version}?"
        return await self._confirm_turning_back(request, running, title, "Roll back")

    @requires(Role.OPERATOR)
    async def rollback(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        name: ModelName,
        key: Key,
        reason: Reason = "",
    ) -> Response:
        """Start the confirmed rollback."""
        started = services.rollouts.rollback(
            name,
            actor=principal.name,
            role=principal.role.value,
            reason=reason.strip(),
            idempotency_key=f"console-{key}",
        )
        return await self._dialogs.done(request, started)

    @requires(Role.OPERATOR)
    async def confirm_abort(self, request: Request, services: ServicesDep, rollout_id: RolloutId) -> Response:
        """Show what an abort would do, and ask for confirmation."""
        rollout = (await services.rollouts.show(rollout_id)).rollout
        title = f"Abort rollout {rollout_id}?"
        if rollout.finished or rollout.switched:
            done = f"it has {'finished' if rollout.finished else 'switched'} already: {rollout.sentence}"
            return self._dialogs.ask(request, title=title, verb="", reasons=(done,))
        return await self._confirm_turning_back(request, rollout, title, "Abort and go back")

    @requires(Role.OPERATOR)
    async def abort(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        rollout_id: RolloutId,
        reason: Reason = "",
    ) -> Response:
        """Roll the rollout back."""
        aborted = services.rollouts.abort(rollout_id, actor=principal.name, reason=reason.strip())
        return await self._dialogs.done(request, aborted)

    async def _confirm(
        self, request: Request, planned: Awaitable[Plan], title: str, verb: str, wants_reason: str = ""
    ) -> Response:
        services: Services = request.app.state.services
        try:
            plan = await planned
            view = plan_view(plan, *await known_of(services, plan.model))
        except ControlPlaneError as error:
            return self._dialogs.ask(request, title=title, verb="", reasons=reasons_of(error))
        if services.rollouts.observe_only:
            return self._dialogs.ask(request, title=title, verb="", reasons=(OBSERVES,))
        times = (f"Time until {view.to} is the stable version: {view.left}.", f"A rollback: {view.rollback}.")
        return self._dialogs.ask(
            request,
            title=title,
            verb=verb,
            steps=view.steps,
            notes=(*times, *view.notes),
            wants_reason=wants_reason,
        )

    async def _confirm_turning_back(self, request: Request, rollout: Rollout, title: str, verb: str) -> Response:
        services: Services = request.app.state.services
        back = turning_back_view(rollout, *await known_of(services, rollout.model))
        notes = (f"A rollback now: {back.left}.",)
        return self._dialogs.ask(request, title=title, verb=verb, steps=back.steps, notes=notes, wants_reason=WHY)
