"""The page of the control plane itself: its health, configuration, schedules and log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from controlplane.access.roles import Role, require
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.itself.system import on_disk as read_on_disk
from controlplane.api.itself.system import system as read_system
from controlplane.api.operations import ChangeView, Level, schedules
from controlplane.api.operations import logs as read_logs
from controlplane.api.services import ServicesDep
from controlplane.api.tokens import reload as reload_configuration
from controlplane.errors import ConfigErrors, ControlPlaneError
from controlplane.web.csv_answer import csv_answer
from controlplane.web.dialog import led_to, opened_directly, reasons_of
from controlplane.web.languages import noted
from controlplane.web.render import Renderer

PATH = "/system"
LINES = 100
"""Most lines of the log. Chosen: `cp logs` shows all that are kept."""
GROUPS = 12
"""Most groups of rules: the slowest, and those with errors."""
SILENT_S = 30.0
"""Silence of a replica that the page tells, in seconds. Chosen: several times the interval at which replicas report."""
HEADER = ("at", "level", "logger", "message")
OUTCOMES = (noted("done"), noted("failed"), noted("up"), noted("down"), noted("unknown"))
"""Words of runs and of targets."""
LEVELS = (noted("debug"), noted("info"), noted("warning"), noted("error"))


class SystemPage:
    """The endpoints. Viewers may read the page; the log and the comparison need the role operator, as in the API."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def add_to(self, router: APIRouter) -> None:
        """Add the endpoints' routes."""
        router.get(PATH)(self.page)
        router.get(f"{PATH}/reload")(self.ask_reload)
        router.post(f"{PATH}/reload")(self.reload)

    @requires(Role.VIEWER)
    async def page(
        self,
        request: Request,
        services: ServicesDep,
        principal: PrincipalDep,
        level: Level = "info",
        format: Literal["", "csv"] = "",
    ) -> Response:
        """Show the control plane's health, and for operators its newest log lines of `level` and above.

        The CSV is the log. Raises Forbidden when a viewer asks for it.
        """
        if format == "csv":
            require(principal, Role.OPERATOR)
        may_read = principal.role.includes(Role.OPERATOR)
        lines = (await read_logs(services, LINES, None, level)).items if may_read else ()
        if format == "csv":
            return csv_answer("log", HEADER, ([getattr(line, name) for name in HEADER] for line in lines))
        found = await run_in_threadpool(read_system, services)
        try:
            jobs = (await asyncio.to_thread(schedules, services)).items
        except ControlPlaneError:
            jobs = None
        return self._render.page(
            request,
            "operations/system.html",
            system=found,
            groups=found.groups[:GROUPS],
            all_groups=len(found.groups),
            jobs=jobs,
            silent_s=SILENT_S,
            lines=lines[::-1],
            level=level,
            levels=LEVELS,
            may_read_log=may_read,
        )

    @requires(Role.OPERATOR)
    async def ask_reload(self, request: Request, services: ServicesDep, principal: PrincipalDep) -> Response:
        """Show what fleet.yaml on disk would change, or its faults; admins may then reload it."""
        if opened := opened_directly(request, PATH):
            return opened
        changes: Sequence[ChangeView] = ()
        faults: Sequence[str] = ()
        try:
            changes = (await read_on_disk(services)).changes
        except ConfigErrors as error:
            faults = [str(fault) for fault in error.errors]
        return self._render.page(
            request,
            "operations/reload_dialog.html",
            changes=changes,
            faults=faults,
            may_reload=principal.role.includes(Role.ADMIN) and not faults,
        )

    @requires(Role.ADMIN)
    async def reload(self, request: Request, services: ServicesDep, principal: PrincipalDep) -> Response:
        """Reload fleet.yaml. The old configuration stays when it has faults, which the dialog tells."""
        try:
            await reload_configuration(services, principal)
        except ConfigErrors as error:
            faults = tuple(str(fault) for fault in error.errors)
        except ControlPlaneError as error:
            faults = reasons_of(error)
        else:
            return led_to(PATH)
        return self._render.page(request, "operations/reload_dialog.html", changes=(), faults=faults, may_reload=False)
