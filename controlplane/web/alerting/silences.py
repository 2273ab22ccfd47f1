"""The page of silences, the dialogs that make and change one, and those that acknowledge an alert.

The dialogs ask the same desk as the API, so that both have the same rules.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import ValidationError

from controlplane.access.roles import Principal, Role
from controlplane.api.alerts import Fingerprint
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.holding.bodies import ExtendRequest, SilenceId, SilenceRequest, SnoozeRequest, actor_of
from controlplane.api.holding.routes import State
from controlplane.api.holding.routes import silences as read_silences
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import ControlPlaneError
from controlplane.fleet.holding.bounds import MOST_COMMENT, matchers_of
from controlplane.fleet.holding.views import SilenceView
from controlplane.web.dialog import Key, led_to, opened_directly
from controlplane.web.faults import faults_of
from controlplane.web.languages import noted as _
from controlplane.web.render import Renderer

PATH = "/silences"
SILENCES = 500
"""Most rows of the page. Chosen: a browser redraws so many at every change without a delay."""
Typed = Annotated[str, Form(max_length=200)]
Words = Annotated[str, Form(max_length=MOST_COMMENT)]
MatchersText = Annotated[str, Form()]
"""Bounded by the desk of silences, whose refusal is shown in the form. A field that cuts a pasted text widens it."""
LABELS = {"for": "for how long", "starts_at": "begin", "starts_in": "begin"}
"""Names of fields in the dialogs, by those of the API."""
Endpoint = Callable[..., Coroutine[Any, Any, Response]]


_OPEN = {"active": "open", "pending": "open"}
_TABS = (
    ("open", _("open")),
    ("active", _("active", "silence")),
    ("pending", _("pending", "silence")),
    ("expired", _("expired")),
    ("all", _("all")),
)


class _Act(NamedTuple):
    """An act on one alert, in words."""

    title: str
    verb: str
    words: str
    length: str = ""
    """The proposed length; "": the act has none."""


_ACTS = {
    "acknowledge": _Act(
        _("Acknowledge %(name)s?"),
        _("Acknowledge"),
        _("You take care of this alert. Nobody is notified of it again until it has resolved."),
    ),
    "snooze": _Act(
        _("Snooze %(name)s?"),
        _("Snooze"),
        _("Nobody is notified of this alert for a time. Then it is notified again."),
        "1h",
    ),
    "unacknowledge": _Act(
        _("Give %(name)s back?"),
        _("Give back"),
        _("If the alert still fires, it is notified again."),
    ),
}


class HoldingPages:
    """The endpoints. Viewers may read the page; the dialogs need the role operator."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def add_to(self, router: APIRouter) -> None:
        """Add the endpoints' routes."""
        router.get(PATH)(self.page)
        router.get(f"{PATH}/new")(self.ask_new)
        router.post(f"{PATH}/new")(self.create)
        router.get(f"{PATH}/preview")(self.preview)
        router.get(f"{PATH}/{{silence_id}}/extend")(self.ask_extend)
        router.post(f"{PATH}/{{silence_id}}/extend")(self.extend)
        router.get(f"{PATH}/{{silence_id}}/expire")(self.ask_expire)
        router.post(f"{PATH}/{{silence_id}}/expire")(self.expire)
        for act in _ACTS:
            router.get(f"/alerts/{{fingerprint}}/{act}")(self._asking(act))
            router.post(f"/alerts/{{fingerprint}}/{act}")(self._acting(act))

    @requires(Role.VIEWER)
    def page(self, request: Request, services: ServicesDep, principal: PrincipalDep, state: State = "open") -> Response:
        """Show silences by their ends."""
        every = read_silences(services, "all").items
        counts = Counter(one.state for one in every)
        found = [one for one in every if state == "all" or state in (one.state, _OPEN.get(one.state))]
        return self._render.page(
            request,
            "silences/page.html",
            silences=found[:SILENCES],
            truncated=len(found) > SILENCES,
            selected=state,
            tabs=_TABS,
            counts={**counts, "open": counts["active"] + counts["pending"], "all": len(every)},
            left=_left,
            may_silence=principal.role.includes(Role.OPERATOR),
        )

    @requires(Role.OPERATOR)
    async def ask_new(
        self,
        request: Request,
        services: ServicesDep,
        alert: Annotated[str, Query(pattern=r"^([0-9a-f]{16})?$")] = "",
        like: Annotated[str, Query(pattern=r"^([A-Za-z0-9][A-Za-z0-9-]{0,63})?$")] = "",
    ) -> Response:
        """Show the form of a new silence; for an alert, with matchers of all its labels; `like`: as another one."""
        if like:
            past = await run_in_threadpool(services.holding.show, like)
            return self._dialog(request, new=True, matchers=", ".join(past.matchers), comment=past.comment)
        return self._dialog(request, new=True, matchers=await run_in_threadpool(_matchers_for, services, alert))

    @requires(Role.OPERATOR)
    async def create(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        key: Key,
        matchers: MatchersText = "",
        length: Typed = "",
        begin: Typed = "",
        comment: Words = "",
    ) -> Response:
        """Make the silence; or show the form again with what is wrong."""
        try:
            body: dict[str, Any] = {"matchers": [matchers], "for": length.strip(), "comment": comment.strip()}
            if text := begin.strip():
                body["starts_in" if text[-1].isalpha() and text[-1] not in "Zz" else "starts_at"] = text
            wanted = SilenceRequest.model_validate(body).wanted(services.clock.now())
            await run_in_threadpool(services.holding.create, wanted, actor_of(principal), f"console-{key}")
        except (ValidationError, ControlPlaneError) as error:
            return self._dialog(
                request,
                new=True,
                matchers=matchers,
                length=length,
                begin=begin,
                comment=comment,
                faults=faults_of(error, LABELS),
            )
        return led_to(PATH)

    @requires(Role.OPERATOR)
    async def preview(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        matchers: str = "",
    ) -> Response:
        """Show what a silence with these matchers would hold back, as they are typed."""
        try:
            found = await run_in_threadpool(services.holding.preview, matchers_of([matchers]))
        except ControlPlaneError as error:
            return self._render.page(request, "silences/preview.html", preview=None, fault=str(error))
        is_admin = principal.role.includes(Role.ADMIN)
        return self._render.page(request, "silences/preview.html", preview=found, fault="", is_admin=is_admin)

    @requires(Role.OPERATOR)
    async def ask_extend(self, request: Request, services: ServicesDep, silence_id: SilenceId) -> Response:
        """Ask how long a silence is to last from now."""
        return self._dialog(request, extending=await run_in_threadpool(services.holding.show, silence_id))

    @requires(Role.OPERATOR)
    async def extend(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        silence_id: SilenceId,
        length: Typed = "",
    ) -> Response:
        """Let the silence end this long from now; or show the form again with what is wrong."""
        try:
            wanted = ExtendRequest.model_validate({"for": length.strip()})
            await run_in_threadpool(services.holding.extend, silence_id, wanted.length, actor_of(principal))
        except (ValidationError, ControlPlaneError) as error:
            silence = await run_in_threadpool(services.holding.show, silence_id)
            return self._dialog(request, extending=silence, length=length, faults=faults_of(error, LABELS))
        return led_to(PATH)

    @requires(Role.OPERATOR)
    async def ask_expire(self, request: Request, services: ServicesDep, silence_id: SilenceId) -> Response:
        """Ask whether to end a silence now."""
        return self._dialog(request, expiring=await run_in_threadpool(services.holding.show, silence_id))

    @requires(Role.OPERATOR)
    async def expire(
        self,
        services: ServicesDep,
        principal: PrincipalDep,
        silence_id: SilenceId,
        comment: Words = "",
    ) -> Response:
        """End the silence."""
        await run_in_threadpool(services.holding.expire, silence_id, actor_of(principal), comment.strip())
        return led_to(PATH)

    def _asking(self, name: str) -> Endpoint:
        """Return the endpoint that asks whether to do one of _ACTS."""

        @requires(Role.OPERATOR)
        async def ask(request: Request, services: ServicesDep, fingerprint: Fingerprint) -> Response:
            alert = await run_in_threadpool(services.alerts.by_fingerprint, fingerprint)
            about = dict(alert.labels).get("alertname", "") if alert else fingerprint
            return self._dialog(request, act=_ACTS[name], about=about, length=_ACTS[name].length)

        return ask

    def _acting(self, name: str) -> Endpoint:
        """Return the endpoint that does one of _ACTS."""

        @requires(Role.OPERATOR)
        async def act(
            request: Request,
            services: ServicesDep,
            principal: PrincipalDep,
            fingerprint: Fingerprint,
            length: Typed = "",
            comment: Words = "",
        ) -> Response:
            try:
                await run_in_threadpool(_acted, services, principal, name, fingerprint, length.strip(), comment.strip())
            except (ValidationError, ControlPlaneError) as error:
                return self._dialog(
                    request, act=_ACTS[name], about="", length=length, comment=comment, faults=faults_of(error, LABELS)
                )
            return led_to(f"/alerts/{fingerprint}")

        return act

    def _dialog(
        self,
        request: Request,
        *,
        length: str = "2h",
        begin: str = "",
        matchers: str = "",
        comment: str = "",
        faults: tuple[str, ...] = (),
        new: bool = False,
        extending: SilenceView | None = None,
        expiring: SilenceView | None = None,
        act: _Act | None = None,
        about: str = "",
    ) -> Response:
        if opened := opened_directly(request, PATH if request.url.path.startswith(PATH) else ""):
            return opened
        return self._render.page(
            request,
            "silences/dialog.html",
            length=length,
            begin=begin,
            matchers=matchers,
            comment=comment,
            faults=faults,
            most=MOST_COMMENT,
            key=secrets.token_hex(16),
            new=new,
            extending=extending,
            expiring=expiring,
            act=act,
            about=about,
        )


def _left(silence: SilenceView, now: str) -> float | None:
    """Return the share of a silence's time that is left, 0 to 1; None: it is not active."""
    if silence.state != "active":
        return None
    begin, end, at = (datetime.fromisoformat(text) for text in (silence.starts_at, silence.ends_at, now))
    whole = (end - begin).total_seconds()
    return min(1.0, max(0.0, (end - at).total_seconds() / whole)) if whole > 0 else 0.0


def _acted(services: Services, principal: Principal, name: str, fingerprint: str, length: str, comment: str) -> None:
    desk, actor = services.holding, actor_of(principal)
    if name == "unacknowledge":
        desk.unacknowledge(fingerprint, actor, comment)
    elif name == "snooze":
        wanted = SnoozeRequest.model_validate({"for": length, "comment": comment})
        desk.acknowledge(fingerprint, actor, comment, wanted.length)
    else:
        desk.acknowledge(fingerprint, actor, comment)


def _matchers_for(services: Services, fingerprint: str) -> str:
    """Return matchers of all labels of an alert but its severity, which may rise."""
    alert = services.alerts.by_fingerprint(fingerprint) if fingerprint else None
    if alert is None:
        return ""
    return services.holding.matchers_for(alert)
