"""The control plane itself: its version, history, audit trail and log, and the comparison with another fleet.yaml."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema

from controlplane.access.roles import Role, require
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.services import ServicesDep
from controlplane.config.difference import Change
from controlplane.config.durations import instant_seconds
from controlplane.config.loader import validated
from controlplane.fleet.history import KINDS, ActView, Cursor, HistoryItem, Kind
from controlplane.fleet.schedules import ScheduleView
from controlplane.fleet.view import View, instant
from controlplane.store.audit import MAX_ID, AuditFilter

router = APIRouter(route_class=GuardedRoute, tags=["operations"])

Level = Literal["debug", "info", "warning", "error"]
MAX_WORD = 200
"""Most characters of an actor, an action or a subject in a query. Stored ones are shorter."""
Word = Annotated[str, Query(min_length=1, max_length=MAX_WORD, pattern=r"^[^\x00-\x1f]+$")]
"""A word without control characters: PostgreSQL cannot compare a NUL."""


def _checked_instant(text: str) -> str:
    instant_seconds(text, 0.0)
    return text


INSTANT = {
    "type": "string",
    "format": "instant-or-ago",
    "description": "RFC 3339, unix seconds, or a duration before now such as 2h.",
}
Instant = Annotated[str, Query(max_length=64), AfterValidator(_checked_instant), WithJsonSchema(INSTANT)]
Id = Annotated[int, Query(ge=1, le=MAX_ID)]
LimitParam = Annotated[int, Query(ge=1, le=1000)]


class ReleaseView(View):
    """The program's version, the fleet's name, the mode and the start time."""

    version: str
    fleet: str
    observe_only: bool
    started_at: str


class HistoryList(BaseModel):
    """Events, oldest first. Send `next` as `after` to get the events that follow."""

    items: tuple[HistoryItem, ...]
    next: str
    """Position after the last event of all kinds, shown or not."""


class ActList(BaseModel):
    """Audit entries, newest first. Send `next` as `before` to get older entries. null: there are no older entries."""

    items: tuple[ActView, ...]
    next: int | None


class ScheduleList(BaseModel):
    """The scheduled jobs, by name."""

    items: tuple[ScheduleView, ...]


class LogLineView(View):
    """One line of the log."""

    id: int
    at: str
    level: str
    logger: str
    message: str


class LogList(BaseModel):
    """Lines of the log, oldest first."""

    items: tuple[LogLineView, ...]


class ChangeView(View):
    """One field that differs. Values are YAML texts; null: the field is absent. Possible secrets are hidden."""

    field: str
    running: str | None
    file: str | None
    effect: str


class Compared(BaseModel):
    """The changes that a reload would make."""

    changes: tuple[ChangeView, ...]


class CompareRequest(BaseModel):
    """The content of a fleet.yaml, as JSON."""

    model_config = ConfigDict(extra="forbid")

    fleet: dict[str, Any]


@router.get("/cp/v1/version")
@requires(Role.VIEWER)
async def version(services: ServicesDep) -> ReleaseView:
    """Return the program's version, the fleet's name, the mode and the start time."""
    return ReleaseView(
        version=services.version,
        fleet=services.config().fleet.name,
        observe_only=services.observe_only,
        started_at=instant(services.run().started_at),
    )


@router.get("/cp/v1/history")
@requires(Role.VIEWER)
def history(
    services: ServicesDep,
    principal: PrincipalDep,
    limit: LimitParam = 100,
    after: Annotated[str | None, Query(pattern=r"^\d{1,18}\.\d{1,18}\.\d{1,18}$")] = None,
    kind: Annotated[list[Kind] | None, Query(max_length=10)] = None,
) -> HistoryList:
    """Return events: transitions of alerts and steps of rollouts; for operators also entries of the audit trail."""
    if kind and "audit" in kind:
        require(principal, Role.OPERATOR)
    kinds = kind or [k for k in KINDS if k != "audit" or principal.role.includes(Role.OPERATOR)]
    if after is None:
        items, cursor = services.history.newest(limit, kinds)
    else:
        items, cursor = services.history.since(Cursor(*map(int, after.split("."))), limit, kinds)
    return HistoryList(items=tuple(items), next=str(cursor))


@router.get("/cp/v1/audit")
@requires(Role.OPERATOR)
def audit(
    services: ServicesDep,
    limit: LimitParam = 100,
    before: Id | None = None,
    actor: Word | None = None,
    action: Annotated[list[Word] | None, Query(max_length=20)] = None,
    subject: Word | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    id: Annotated[list[Id] | None, Query(max_length=100)] = None,
    refusals: bool = True,
) -> ActList:
    """Return the audit trail, newest first. `refusals=false` leaves out refused attempts."""
    now = services.clock.now()
    wanted = AuditFilter(
        actor=actor,
        actions=action or (),
        subject=subject,
        since=None if since is None else instant_seconds(since, now),
        until=None if until is None else instant_seconds(until, now),
        ids=id or (),
        refusals=refusals,
    )
    items, older = services.history.acts(wanted, limit, before)
    return ActList(items=tuple(items), next=items[-1].id if older else None)


@router.get("/cp/v1/schedules")
@requires(Role.VIEWER)
def schedules(services: ServicesDep) -> ScheduleList:
    """List the scheduled jobs: next run, last run and its result."""
    return ScheduleList(items=tuple(services.schedules()))


@router.get("/cp/v1/logs")
@requires(Role.OPERATOR)
async def logs(
    services: ServicesDep,
    limit: LimitParam = 200,
    after: Annotated[int | None, Query(ge=0, le=10**18)] = None,
    level: Level = "debug",
) -> LogList:
    """Return the last lines of the control plane's own log, or the lines after the id `after`."""
    found = services.log.lines(after, limit, logging.getLevelNamesMapping()[level.upper()])
    return LogList(items=tuple(LogLineView(**{**line._asdict(), "at": instant(line.at)}) for line in found))


@router.post("/cp/v1/config/diff")
@requires(Role.OPERATOR)
def diff(services: ServicesDep, wanted: CompareRequest) -> Compared:
    """Return, field by field, what a reload of this configuration would change. Nothing changes. 422: it is wrong."""
    found = services.compare(validated(wanted.fleet))
    return Compared(changes=tuple(_change(change) for change in found))


def _change(change: Change) -> ChangeView:
    return ChangeView(field=change.field, running=change.before, file=change.after, effect=change.effect)
