"""Actions on a running rollout, its repetition, and the quarantine of a version. Each asks for confirmation."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.models import ModelName
from controlplane.api.rollouts.bodies import RolloutId
from controlplane.api.services import ServicesDep
from controlplane.fleet.rollouts import rollout_view
from controlplane.rollout.model import Rollout
from controlplane.web.actions import WHY
from controlplane.web.dialog import Dialogs, Key, Reason

Endpoint = Callable[..., Coroutine[Any, Any, Response]]


class _Question(NamedTuple):
    """The words of a dialog. `{…}` are fields of the rollout's view."""

    title: str
    verb: str
    steps: tuple[str, ...]


_QUESTIONS = {
    "pause": _Question(
        "Pause rollout {id}?",
        "Pause",
        (
            "stop before the next step: requests stay shared as they are now",
            "go on looking at {to}, and roll back if it fails",
        ),
    ),
    "resume": _Question("Resume rollout {id}?", "Resume", ("end the pause, and go on with the next step",)),
    "approve": _Question(
        "Approve rollout {id}?",
        "Approve",
        ("record your approval; the rollout goes on when it has all that it needs",),
    ),
    "full": _Question(
        "Send every request to {to}?",
        "Promote to 100%",
        ("skip the pauses and analyses that remain", "send every request of {model} to {to}, and watch it"),
    ),
}


class Steering:
    """The endpoints. They need the role operator; lifting a quarantine needs the role admin."""

    def __init__(self, dialogs: Dialogs) -> None:
        self._dialogs = dialogs

    def add_to(self, router: APIRouter) -> None:
        """Add the endpoints' routes."""
        rollout, version = "/rollouts/{rollout_id}", "/models/{name}/quarantine/{version}"
        for action in _QUESTIONS:
            router.get(f"{rollout}/{action}")(self._asking(action))
            router.post(f"{rollout}/{action}")(self._acting(action))
        router.get(f"{rollout}/retry")(self.ask_retry)
        router.post(f"{rollout}/retry")(self.retry)
        router.get(version)(self.ask_lift)
        router.post(version)(self.lift)

    def _asking(self, action: str) -> Endpoint:
        """Return the endpoint that asks whether to do one of _QUESTIONS."""

        @requires(Role.OPERATOR)
        async def ask(request: Request, services: ServicesDep, rollout_id: RolloutId) -> Response:
            return await self._ask(request, services, rollout_id, action)

        return ask

    def _acting(self, action: str) -> Endpoint:
        """Return the endpoint that does one of _QUESTIONS."""

        @requires(Role.OPERATOR)
        async def act(
            request: Request, services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId, reason: Reason = ""
        ) -> Response:
            rollouts = services.rollouts
            steer = {
                "pause": rollouts.pause,
                "resume": rollouts.resume,
                "approve": rollouts.approve,
                "full": rollouts.full,
            }[action]
            acted = steer(rollout_id, actor=principal.name, role=principal.role.value, reason=reason.strip())
            return await self._dialogs.done(request, acted)

        return act

    @requires(Role.OPERATOR)
    async def ask_retry(self, request: Request, services: ServicesDep, rollout_id: RolloutId) -> Response:
        """Ask whether to start the rollout again."""
        rollout = (await services.rollouts.show(rollout_id)).rollout
        title = f"Start rollout {rollout_id} again?"
        if not rollout.finished:
            return self._dialogs.ask(request, title=title, verb="", reasons=(f"it is running: {rollout.sentence}",))
        steps = (
            f"start a new rollout of {rollout.model} to {rollout.plan.to_version} with the same options",
            "refuse it if the version is in quarantine, or if anything else speaks against it now",
        )
        return self._dialogs.ask(request, title=title, verb="Start again", steps=steps)

    @requires(Role.OPERATOR)
    async def retry(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, rollout_id: RolloutId, key: Key
    ) -> Response:
        """Start the rollout again."""
        again = services.rollouts.retry(
            rollout_id, actor=principal.name, role=principal.role.value, idempotency_key=f"console-{key}"
        )
        return await self._dialogs.done(request, again)

    @requires(Role.ADMIN)
    async def ask_lift(self, request: Request, services: ServicesDep, name: ModelName, version: ModelName) -> Response:
        """Ask whether to lift the quarantine of a version, and for the reason."""
        kept = [q for q in await services.rollouts.quarantines() if (q.model, q.version) == (name, version)]
        title = f"Lift the quarantine of {version} of {name}?"
        if not kept:
            return self._dialogs.ask(request, title=title, verb="", reasons=(f"{version} is not in quarantine",))
        notes = (f"It is in quarantine because of rollout {kept[0].rollout_id}: {kept[0].reason}",)
        steps = (f"allow promotions of {name} to {version} again",)
        return self._dialogs.ask(
            request,
            title=title,
            verb="Lift",
            steps=steps,
            notes=notes,
            wants_reason="why; it is kept in the audit trail",
        )

    @requires(Role.ADMIN)
    async def lift(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        name: ModelName,
        version: ModelName,
        reason: Reason = "",
    ) -> Response:
        """Lift the quarantine of a version. Without a reason nothing happens."""
        if not reason.strip():
            words = "a reason is needed: say what changed since the rollback"
            return self._dialogs.ask(request, title="Nothing was done", verb="", reasons=(words,))
        lifted = services.rollouts.lift(
            name, version, actor=principal.name, role=principal.role.value, reason=reason.strip()
        )
        return await self._dialogs.done(request, lifted, f"/models/{name}")

    async def _ask(self, request: Request, services: ServicesDep, rollout_id: RolloutId, action: str) -> Response:
        rollout = (await services.rollouts.show(rollout_id)).rollout
        question, fields = _QUESTIONS[action], rollout_view(rollout).model_dump()
        title = question.title.format_map(fields)
        if rollout.finished:
            return self._dialogs.ask(request, title=title, verb="", reasons=(f"it has ended: {rollout.sentence}",))
        return self._dialogs.ask(
            request,
            title=title,
            verb=question.verb,
            steps=tuple(step.format_map(fields) for step in question.steps),
            notes=_waits(rollout),
            wants_reason=WHY,
        )


def _waits(rollout: Rollout) -> tuple[str, ...]:
    return () if rollout.wait is None else (f"It waits: {rollout.wait.words}.",)
