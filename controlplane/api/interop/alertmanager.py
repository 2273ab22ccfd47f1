"""Alertmanager's API, its reading half: `/api/v2/alerts`, `receivers` and `status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import yaml
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from alerts.dispatch import Mute, Stage
from alerts.errors import MatcherError
from alerts.interfaces import AlertInstance
from alerts.received import RECEIVED
from alerts.routing.matchers import Matcher, all_match, parse_matchers
from alerts.routing.tree import Node, Routing
from alerts.routing.written import settings_of
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import MalformedRequest
from controlplane.fleet.alerting.pipeline import Standing
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
    """State of an alert: `active`, or `suppressed` when something holds it back."""

    state: str
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
    matchers = filter_matchers(filter)
    pattern = _pattern(receiver)
    shown = _Shown(active=active, silenced=silenced, inhibited=inhibited, unprocessed=unprocessed)
    at, url = services.clock.now(), services.config().fleet.external_url
    found = []
    standings = services.holding.firing()
    pages = _pages(services, [one.instance for one in standings])
    for one in standings:
        labels = dict(one.instance.labels)
        by_name = pattern is None or any(pattern.matches(name) for name in one.receivers)
        alert = _alert(one, labels, pages.get(one.instance.fingerprint) or _own_page(url, one.instance), at)
        if all_match(matchers, labels) and by_name and shown.has(alert.status):
            found.append(alert)
    return tuple(sorted(found, key=lambda alert: alert.fingerprint))


@router.get("/api/v2/receivers")
@requires(Role.VIEWER)
def receivers(services: ServicesDep) -> tuple[Receiver, ...]:
    """List the receivers that a route may name."""
    return tuple(Receiver(name=name) for name in services.pipeline.stages().routing.receivers)


@router.get("/api/v2/status")
@requires(Role.VIEWER)
def status(services: ServicesDep) -> dict[str, Any]:
    """Return version, start and routing of this server, as Alertmanager describes itself."""
    return {
        "cluster": {"status": "disabled", "peers": []},
        "config": {"original": _original(services.pipeline.stages().routing)},
        "uptime": instant(services.run().started_at),
        "versionInfo": _version(services),
    }


def _version(services: Services) -> dict[str, str]:
    unknown = dict.fromkeys(("branch", "buildDate", "buildUser", "goVersion", "revision"), "")
    return {**unknown, "version": f"{ALERTMANAGER_VERSION}+controlplane.{services.version}"}


def _original(routing: Routing) -> str:
    """Return the routing as an `alertmanager.yml`. Receivers have their names only: their settings may be secret."""
    content: dict[str, Any] = {
        "route": _route(routing.root),
        "inhibit_rules": [
            {
                "source_matchers": [str(one) for one in rule.source],
                "target_matchers": [str(one) for one in rule.target],
                "equal": list(rule.equal),
            }
            for rule in routing.inhibit_rules
        ],
        "receivers": [{"name": name} for name in routing.receivers],
    }
    return yaml.safe_dump(
        {name: value for name, value in content.items() if value}, sort_keys=False, allow_unicode=True
    )


def _route(node: Node) -> dict[str, Any]:
    content = {**settings_of(node), "routes": [_route(below) for below in node.routes]}
    return {name: value for name, value in content.items() if value or name == "group_by"}


def _pages(services: Services, firing: Sequence[AlertInstance]) -> Mapping[str, str]:
    """Return the senders' pages about alerts that came from other senders, by fingerprint."""
    received = [alert.fingerprint for alert in firing if alert.rule.startswith(RECEIVED)]
    return services.received.generator_urls(received) if received and services.received else {}


def _own_page(url: str | None, alert: AlertInstance) -> str:
    return f"{url.rstrip('/')}/alerts/{alert.fingerprint}" if url else ""


def _alert(one: Standing, labels: dict[str, str], page: str, at: float) -> GettableAlert:
    alert = one.instance
    return GettableAlert(
        annotations=dict(alert.annotations),
        ends_at=instant(at + ENDS_AFTER_S),
        fingerprint=alert.fingerprint,
        receivers=tuple(Receiver(name=name) for name in one.receivers),
        starts_at=instant(alert.active_at if alert.fired_at is None else alert.fired_at),
        status=_status(one.mutes),
        updated_at=instant(at),
        generator_url=page,
        labels=labels,
    )


def _status(mutes: Sequence[Mute]) -> AlertStatus:
    by = {stage: tuple(name for mute in mutes if mute.stage is stage for name in mute.by) for stage in Stage}
    return AlertStatus(
        state="suppressed" if mutes else "active",
        silenced_by=by[Stage.SILENCE],
        inhibited_by=by[Stage.INHIBITION],
        muted_by=(*by[Stage.INTERVAL], *by[Stage.ACKNOWLEDGEMENT]),
    )


class _Shown(NamedTuple):
    """Filter of a request by state. As in Alertmanager, `active` and the others are asked one by one."""

    active: bool
    silenced: bool
    inhibited: bool
    unprocessed: bool

    def has(self, status: AlertStatus) -> bool:
        """Return whether an alert with this status is asked for. Alerts are never `unprocessed` here."""
        if status.state == "active":
            return self.active
        return (self.silenced or not status.silenced_by) and (self.inhibited or not status.inhibited_by)


def filter_matchers(filters: list[str]) -> tuple[Matcher, ...]:
    """Return the matchers of the parameters `filter`. Raises MalformedRequest."""
    try:
        return tuple(matcher for text in filters for matcher in parse_matchers(text))
    except MatcherError as error:
        raise MalformedRequest(f"filter: {error}") from error


def _pattern(receiver: str) -> Regex | None:
    try:
        return compile_regex(receiver) if receiver else None
    except PatternError as error:
        raise MalformedRequest(f"receiver: {error}") from error
