"""Alertmanager's API of silences: `/api/v2/silences` and `/api/v2/silence/{id}`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from alerts.errors import MatcherError
from alerts.routing.matchers import Matcher, Op
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.holding.bodies import SilenceId, actor_of
from controlplane.api.interop.alertmanager import Filters, Shown, filter_matchers
from controlplane.api.services import ServicesDep
from controlplane.errors import MalformedRequest
from controlplane.fleet.holding.bounds import MOST_COMMENT, MOST_LENGTH, MOST_MATCHERS
from controlplane.fleet.holding.desk import Wanted
from controlplane.fleet.view import instant
from controlplane.store.holding.silences import SilenceState, StoredSilence

router = APIRouter(route_class=GuardedRoute, tags=["alertmanager"])

Text = Annotated[str, Field(max_length=MOST_LENGTH, pattern=r"^[^\x00]*$")]
_ORDER = {SilenceState.ACTIVE: 0, SilenceState.PENDING: 1, SilenceState.EXPIRED: 2}
_REGEX, _PLAIN = (Op.MATCHES_NOT, Op.MATCHES), (Op.NOT_EQUAL, Op.EQUAL)


class MatcherBody(Shown):
    """A matcher, as Alertmanager sends and takes it."""

    name: Annotated[str, Field(min_length=1, max_length=MOST_LENGTH, pattern=r"^[^\x00]*$")]
    value: Text
    is_regex: bool
    is_equal: bool = True


class PostableSilence(Shown):
    """A silence that a client sends. With an id it replaces the silence of that id."""

    id: Annotated[str | None, Field(max_length=64, pattern=r"^[A-Za-z0-9-]*$")] = None
    matchers: Annotated[list[MatcherBody], Field(min_length=1, max_length=MOST_MATCHERS)]
    starts_at: datetime
    ends_at: datetime
    created_by: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
    comment: Annotated[str, Field(max_length=MOST_COMMENT, pattern=r"^[^\x00]*$")]


class SilenceStatus(Shown):
    """State of a silence: active, pending or expired."""

    state: str


class GettableSilence(Shown):
    """A silence, as Alertmanager shows it. Times are RFC 3339."""

    id: str
    status: SilenceStatus
    updated_at: str
    comment: str
    created_by: str
    ends_at: str
    matchers: tuple[MatcherBody, ...]
    starts_at: str


class Posted(Shown):
    """The id of the silence that was made or changed."""

    silence_id: Annotated[str, Field(alias="silenceID")]


@router.get("/api/v2/silences")
@requires(Role.VIEWER)
def silences(
    services: ServicesDep,
    filter: Filters = [],  # noqa: B006 - the parameter's name; FastAPI copies defaults
) -> tuple[GettableSilence, ...]:
    """List silences whose own matchers match every filter, expired ones included. Raises MalformedRequest."""
    filters, now = filter_matchers(filter), services.clock.now()
    found = [one for one in services.holding.stored() if _passes(one, filters)]
    return tuple(_shown(one, now) for one in sorted(found, key=lambda one: _place(one, now)))


@router.post("/api/v2/silences")
@requires(Role.OPERATOR)
def post_silence(services: ServicesDep, principal: PrincipalDep, body: PostableSilence) -> Posted:
    """Make a silence, or change the one of `id`. Raises MalformedRequest, NotFound and Forbidden."""
    wanted = Wanted(
        tuple(_matcher(one) for one in body.matchers),
        _seconds(body.starts_at),
        _seconds(body.ends_at),
        body.comment,
        body.created_by,
    )
    return Posted(silence_id=services.holding.put(body.id or "", wanted, actor_of(principal)))


@router.get("/api/v2/silence/{silence_id}")
@requires(Role.VIEWER)
def silence(services: ServicesDep, silence_id: SilenceId) -> GettableSilence:
    """Return one silence. Raises NotFound."""
    return _shown(services.holding.stored_one(silence_id), services.clock.now())


@router.delete("/api/v2/silence/{silence_id}")
@requires(Role.OPERATOR)
def expire(services: ServicesDep, principal: PrincipalDep, silence_id: SilenceId) -> Response:
    """End a silence now. Raises NotFound, and Conflict for one that is over."""
    services.holding.expire(silence_id, actor_of(principal), again=False)
    return Response(status_code=200)


def _matcher(body: MatcherBody) -> Matcher:
    try:
        return Matcher(body.name, (_REGEX if body.is_regex else _PLAIN)[body.is_equal], body.value)
    except MatcherError as error:
        raise MalformedRequest(f"silence invalid: {error}") from error


def _seconds(at: datetime) -> float:
    try:
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError) as error:
        raise MalformedRequest("a time of the silence is out of range") from error


def _shown(one: StoredSilence, now: float) -> GettableSilence:
    silence = one.silence
    return GettableSilence(
        id=silence.id,
        status=SilenceStatus(state=one.state(now).value),
        updated_at=instant(silence.updated_at),
        comment=silence.comment,
        created_by=silence.created_by,
        ends_at=instant(silence.ends_at),
        matchers=tuple(
            MatcherBody(name=m.name, value=m.value, is_regex=m.op in _REGEX, is_equal=m.op in (Op.EQUAL, Op.MATCHES))
            for m in silence.matchers
        ),
        starts_at=instant(silence.starts_at),
    )


def _place(one: StoredSilence, now: float) -> tuple[int, float]:
    """Return the place of a silence in Alertmanager's order: active by end, pending by begin, expired newest first."""
    state, silence = one.state(now), one.silence
    times = {
        SilenceState.ACTIVE: silence.ends_at,
        SilenceState.PENDING: silence.starts_at,
        SilenceState.EXPIRED: -silence.ends_at,
    }
    return _ORDER[state], times[state]


def _passes(one: StoredSilence, filters: tuple[Matcher, ...]) -> bool:
    values: Mapping[str, str] = {matcher.name: matcher.value for matcher in one.silence.matchers}
    return all(_meets(wanted, values) for wanted in filters)


def _meets(wanted: Matcher, values: Mapping[str, str]) -> bool:
    """Compare a filter with the matchers of a silence, as Alertmanager does."""
    if wanted.op in (Op.EQUAL, Op.MATCHES):
        if wanted.value == "" and wanted.name not in values:
            return True
        return wanted.name in values and wanted.matches(values)
    if wanted.value == "" and wanted.name in values:
        return True
    return wanted.matches(values)
