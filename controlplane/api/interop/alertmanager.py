"""Alertmanager's API, its reading half: `/api/v2/alerts`, `receivers`, `silences` and `status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import yaml
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from alerts.dispatch.routing import UNROUTED_SEVERITY
from alerts.errors import MatcherError
from alerts.interfaces import AlertInstance, AlertState
from alerts.received import RECEIVED
from alerts.routing.matchers import Matcher, all_match, parse_matchers
from collectors.durations import format_duration
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.services import Services, ServicesDep
from controlplane.config.model import Fleet
from controlplane.errors import MalformedRequest
from controlplane.fleet.route import receivers_of, route_of
from controlplane.fleet.view import instant
from promql.errors import PatternError
from promql.regex import Regex, compile_regex

router = APIRouter(route_class=GuardedRoute, tags=["alertmanager"])

ALERTMANAGER_VERSION = "0.28.0"
"""Version of Alertmanager whose API this server offers to clients."""
ENDS_AFTER_S = 300.0
"""Seconds from the answer to `endsAt` of a firing alert: Alertmanager's `resolve_timeout`."""
MAX_FILTERS, MAX_FILTER_LENGTH = 20, 1024
"""Maximum number of filters, and of characters of each (chosen: all of them fit into the head of a request)."""

Filter = Annotated[str, Field(max_length=MAX_FILTER_LENGTH, json_schema_extra={"format": "label-matchers"})]
Filters = Annotated[list[Filter], Query(max_length=MAX_FILTERS)]
Pattern = Annotated[str, Query(max_length=MAX_FILTER_LENGTH, json_schema_extra={"format": "regex"})]


class Shown(BaseModel):
    """A part of an answer. Its names are Alertmanager's, in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Receiver(Shown):
    """A receiver's name."""

    name: str


class AlertStatus(Shown):
    """State of an alert. Nothing is silenced or inhibited yet, so every firing alert is active."""

    state: str = "active"
    silenced_by: tuple[str, ...] = ()
    inhibited_by: tuple[str, ...] = ()
    muted_by: tuple[str, ...] = ()


class GettableAlert(Shown):
    """A firing alert, as Alertmanager shows it. Times are RFC 3339."""

    annotations: dict[str, str]
    ends_at: str
    fingerprint: str
    receivers: tuple[Receiver, ...]
    starts_at: str
    status: AlertStatus
    updated_at: str
    generator_url: Annotated[str, Field(alias="generatorURL")]
    labels: dict[str, str]


@router.get("/api/v2/alerts")
@requires(Role.VIEWER)
def alerts(
    services: ServicesDep,
    filter: Filters = [],  # noqa: B006 - the parameter's name; FastAPI copies defaults
    receiver: Pattern = "",
    active: bool = True,
    silenced: bool = True,
    inhibited: bool = True,
    unprocessed: bool = True,
) -> tuple[GettableAlert, ...]:
    """List firing alerts whose labels match every filter. `receiver` matches a whole name. Raises MalformedRequest."""
    matchers = _matchers(filter)
    pattern = _pattern(receiver)
    if not active:
        return ()  # silenced, inhibited and unprocessed alerts do not exist
    at, fleet = services.clock.now(), services.config()
    routed = Receiver(name=route_of(fleet).receiver)
    found = []
    firing = services.alerts.active(AlertState.FIRING)
    pages = _pages(services, firing)
    for alert in firing:
        labels = dict(alert.labels)
        receivers = () if labels.get("severity") == UNROUTED_SEVERITY else (routed,)
        if all_match(matchers, labels) and (pattern is None or any(pattern.matches(one.name) for one in receivers)):
            page = pages.get(alert.fingerprint) or _own_page(fleet.fleet.external_url, alert)
            found.append(_shown(alert, labels, receivers, page, at))
    return tuple(sorted(found, key=lambda one: one.fingerprint))


@router.get("/api/v2/receivers")
@requires(Role.VIEWER)
def receivers(services: ServicesDep) -> tuple[Receiver, ...]:
    """List the receivers: the notifiers of fleet.yaml, and the log where alerts go to it."""
    return tuple(Receiver(name=name) for name in receivers_of(services.config()))


@router.get("/api/v2/silences")
@requires(Role.VIEWER)
def silences(services: ServicesDep, filter: Filters = []) -> tuple[str, ...]:  # noqa: B006 - as above
    """List silences: there are none, and none can be made yet. Raises MalformedRequest for a wrong filter."""
    _matchers(filter)
    return ()


@router.get("/api/v2/status")
@requires(Role.VIEWER)
def status(services: ServicesDep) -> dict[str, Any]:
    """Return version, start and routing of this server, as Alertmanager describes itself."""
    return {
        "cluster": {"status": "disabled", "peers": []},
        "config": {"original": _original(services.config())},
        "uptime": instant(services.run().started_at),
        "versionInfo": _version(services),
    }


def _version(services: Services) -> dict[str, str]:
    unknown = dict.fromkeys(("branch", "buildDate", "buildUser", "goVersion", "revision"), "")
    return {**unknown, "version": f"{ALERTMANAGER_VERSION}+controlplane.{services.version}"}


def _original(fleet: Fleet) -> str:
    """Return the routing as an `alertmanager.yml`. Receivers have their names only: their settings may be secret."""
    route = route_of(fleet)
    content = {
        "route": {
            "receiver": route.receiver,
            "group_by": list(route.group_by),
            "group_wait": format_duration(route.group_wait_s),
            "group_interval": format_duration(route.group_interval_s),
            "repeat_interval": format_duration(route.repeat_interval_s),
        },
        "receivers": [{"name": name} for name in receivers_of(fleet)],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _pages(services: Services, firing: Sequence[AlertInstance]) -> Mapping[str, str]:
    """Return the senders' pages about alerts that came from other senders, by fingerprint."""
    received = [alert.fingerprint for alert in firing if alert.rule.startswith(RECEIVED)]
    return services.received.generator_urls(received) if received and services.received else {}


def _own_page(url: str | None, alert: AlertInstance) -> str:
    return f"{url.rstrip('/')}/alerts/{alert.fingerprint}" if url else ""


def _shown(
    alert: AlertInstance, labels: dict[str, str], receivers: tuple[Receiver, ...], page: str, at: float
) -> GettableAlert:
    return GettableAlert(
        annotations=dict(alert.annotations),
        ends_at=instant(at + ENDS_AFTER_S),
        fingerprint=alert.fingerprint,
        receivers=receivers,
        starts_at=instant(alert.active_at if alert.fired_at is None else alert.fired_at),
        status=AlertStatus(),
        updated_at=instant(at),
        generator_url=page,
        labels=labels,
    )


def _matchers(filters: list[str]) -> tuple[Matcher, ...]:
    try:
        return tuple(matcher for text in filters for matcher in parse_matchers(text))
    except MatcherError as error:
        raise MalformedRequest(f"filter: {error}") from error


def _pattern(receiver: str) -> Regex | None:
    try:
        return compile_regex(receiver) if receiver else None
    except PatternError as error:
        raise MalformedRequest(f"receiver: {error}") from error
