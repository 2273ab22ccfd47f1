"""Acknowledging, snoozing and silencing several alerts. Each alert is one act of its own, with one reason for all."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import ValidationError

from alerts.interfaces import AlertInstance
from controlplane.access.roles import Role
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.holding.bodies import SilenceRequest, SnoozeRequest, actor_of
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import ControlPlaneError, MalformedRequest, NotFound
from controlplane.fleet.assemble import alert_state
from controlplane.fleet.holding.bounds import MOST_COMMENT, Actor
from controlplane.web.alerting.silences import LABELS, Typed, Words
from controlplane.web.dialog import Key, opened_directly
from controlplane.web.faults import faults_of
from controlplane.web.languages import noted as _
from controlplane.web.render import Renderer

PATH = "/alerts/selected"
MOST = 500
"""Most alerts of one act. Chosen: five pages of the list; a silence with fewer matchers is better for more."""
NAMED = 12
"""Alerts that a dialog names."""
DONE = "alertsHeld"
"""Event that tells the page's script that the act is over."""
VERBS = {"acknowledge": _("Acknowledge"), "snooze": _("Snooze"), "silence": _("Silence")}
LENGTHS = {"snooze": "1h", "silence": "2h"}
"""Acts that last for a time, each with the length that its form proposes."""
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")


class Chosen(NamedTuple):
    """A selected alert."""

    fingerprint: str
    name: str
    state: str
    labels: dict[str, str]


class Failed(NamedTuple):
    """An alert for which the act failed."""

    alert: Chosen
    why: str


class BulkHolding:
    """The endpoints. All of them need the role operator."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def add_to(self, router: APIRouter) -> None:
        """Add the endpoints' routes. They come before those of one alert, whose pattern they fit."""
        router.get(f"{PATH}/{{act}}")(self.ask)
        router.post(f"{PATH}/{{act}}")(self.do)

    @requires(Role.OPERATOR)
    async def ask(
        self,
        request: Request,
        services: ServicesDep,
        act: str,
        fp: Annotated[list[str], Query()] = [],  # noqa: B006
    ) -> Response:
        """Name the selected alerts, and ask for the reason."""
        if opened := opened_directly(request, "/alerts"):
            return opened
        _checked(act, fp)
        return self._dialog(request, act, await run_in_threadpool(_chosen, services, fp), length=LENGTHS.get(act, ""))

    @requires(Role.OPERATOR)
    async def do(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        act: str,
        key: Key,
        fp: Annotated[list[str], Form()] = [],  # noqa: B006 - FastAPI copies it
        length: Typed = "",
        comment: Words = "",
    ) -> Response:
        """Act on each alert; or show the form again with what is wrong. The answer names the alerts that failed."""
        _checked(act, fp)
        chosen = await run_in_threadpool(_chosen, services, fp)
        try:
            one = _act_of(services, act, actor_of(principal), length.strip(), comment.strip(), key)
        except (ValidationError, ControlPlaneError) as error:
            return self._dialog(request, act, chosen, length=length, comment=comment, faults=faults_of(error, LABELS))
        failed = await run_in_threadpool(_each, services, chosen, one)
        without = {one.alert.fingerprint for one in failed}
        done = [alert.fingerprint for alert in chosen if alert.fingerprint not in without]
        told = {"HX-Trigger": json.dumps({DONE: {"done": done, "all": not failed}})}
        if not failed:
            return Response(status_code=204, headers=told)
        answer = self._render.page(
            request, "alerts/selected_failed.html", act=act, failed=failed, count=len(chosen), done=len(done)
        )
        answer.headers.update(told)
        return answer

    def _dialog(
        self,
        request: Request,
        act: str,
        chosen: list[Chosen],
        *,
        length: str,
        comment: str = "",
        faults: tuple[str, ...] = (),
    ) -> Response:
        return self._render.page(
            request,
            "alerts/selected.html",
            act=act,
            verb=VERBS[act],
            lasts=act in LENGTHS,
            chosen=chosen,
            named=NAMED,
            length=length,
            comment=comment,
            faults=faults,
            most=MOST_COMMENT,
            key=secrets.token_hex(16),
        )


def _checked(act: str, fingerprints: list[str]) -> None:
    """Raise NotFound for an unknown act, MalformedRequest for fingerprints that are none, or too many."""
    if act not in VERBS:
        raise NotFound(f"there is no act {act[:50]!r}; those on several alerts are {', '.join(VERBS)}")
    if not 0 < len(fingerprints) <= MOST:
        raise MalformedRequest(f"{len(fingerprints)} alerts are selected; select 1 to {MOST}")
    if wrong := next((one for one in fingerprints if not _FINGERPRINT.fullmatch(one)), None):
        raise MalformedRequest(f"fp: {wrong[:50]!r} is no fingerprint of an alert")


def _chosen(services: Services, fingerprints: list[str]) -> list[Chosen]:
    """Return the selected alerts, each once. One that is not known has its fingerprint as its name."""
    found = []
    for fingerprint in dict.fromkeys(fingerprints):
        alert = services.alerts.by_fingerprint(fingerprint)
        labels = dict(alert.labels) if alert else {}
        name = labels.pop("alertname", fingerprint)
        found.append(Chosen(fingerprint, name, alert_state(alert) if alert else "", labels))
    return found


def _act_of(
    services: Services, act: str, actor: Actor, length: str, comment: str, key: str
) -> Callable[[AlertInstance], object]:
    """Return what acts on one alert. Raises ValidationError and MalformedRequest for a wrong form."""
    desk = services.holding
    if act == "acknowledge":
        return lambda alert: desk.acknowledge(alert.fingerprint, actor, comment)
    if act == "snooze":
        for_s = SnoozeRequest.model_validate({"for": length, "comment": comment}).length
        return lambda alert: desk.acknowledge(alert.fingerprint, actor, comment, for_s)
    body = {"matchers": ['alertname="checked"'], "for": length, "comment": comment}
    wanted = SilenceRequest.model_validate(body).wanted(services.clock.now())

    def silence(alert: AlertInstance) -> object:
        asked = SilenceRequest.model_validate(body | {"matchers": [desk.matchers_for(alert)]})
        mine = asked.wanted(services.clock.now())._replace(starts_at=wanted.starts_at, ends_at=wanted.ends_at)
        return desk.create(mine, actor, f"console-{key}-{alert.fingerprint}")

    return silence


def _each(services: Services, chosen: list[Chosen], act: Callable[[AlertInstance], object]) -> list[Failed]:
    """Act on each alert. Return those that failed, each with the reason."""
    failed = []
    for one in chosen:
        try:
            act(services.alerts.get(one.fingerprint))
        except (ControlPlaneError, ValidationError) as error:
            failed.append(Failed(one, "; ".join(faults_of(error, LABELS))))
    return failed
