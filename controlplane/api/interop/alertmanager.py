"""Alertmanager's API, its reading half: `/api/v2/alerts`, `receivers` and `status`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from operator import itemgetter
from typing import Annotated, Any, NamedTuple

import yaml
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from alerts.dispatch import Mute, Outlet, Stage
from alerts.errors import MatcherError
from alerts.received import RECEIVED
from alerts.routing.matchers import Matcher, all_match, parse_matchers
from alerts.routing.tree import Node, Routing
from alerts.routing.written import settings_of
from collectors.samples import Labels
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

_MUTING = (Stage.INTERVAL, Stage.ACKNOWLEDGEMENT)
"""Stages that this API calls muting."""

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


class AlertGroup(Shown):
    """The firing alerts of a route that have equal values of the labels in its `group_by`."""

    alerts: tuple[GettableAlert, ...]
    labels: dict[str, str]
    receiver: Receiver


@router.get("/api/v2/alerts", response_model=tuple[GettableAlert, ...])
@requires(Role.VIEWER)
def alerts(
    services: ServicesDep,
    filter: Filters = [],  # noqa: B006 - the parameter's name; FastAPI copies defaults
    receiver: Pattern = "",
    active: bool = True,
    silenced: bool = True,
    inhibited: bool = True,
    unprocessed: bool = True,
) -> Response:
    """List firing alerts whose labels match every filter. `receiver` matches a whole name. Raises MalformedRequest.

    No alert is ever `unprocessed` here.
    """
    matchers = filter_matchers(filter)
    pattern = _pattern(receiver)
    shown = _Shown(active=active, silenced=silenced, inhibited=inhibited)
    firing = _firing(services, matchers, shown)
    names = _matching(pattern, {name for one in firing for name in one.receivers})
    found = [one for one in firing if pattern is None or not names.isdisjoint(one.receivers)]
    return _json(_content(services, _by_fingerprint(found)))


@router.get("/api/v2/alerts/groups", response_model=tuple[AlertGroup, ...])
@requires(Role.VIEWER)
def groups(
    services: ServicesDep,
    filter: Filters = [],  # noqa: B006 - the parameter's name; FastAPI copies defaults
    receiver: Pattern = "",
    active: bool = True,
    silenced: bool = True,
    inhibited: bool = True,
    muted: bool = True,
) -> Response:
    """List firing alerts by route and the labels that it groups by. An alert that takes two routes is in two groups.

    `receiver` matches the whole name of a group's receiver. Raises MalformedRequest.
    """
    matchers = filter_matchers(filter)
    pattern = _pattern(receiver)
    shown = _Shown(active=active, silenced=silenced, inhibited=inhibited, muted=muted)
    stages = services.pipeline.stages()
    found = _by_fingerprint(_firing(services, matchers, shown))
    by_group: dict[tuple[Labels, str, str], list[dict[str, object]]] = {}
    for (_, one), shape in zip(found, _content(services, found), strict=True):
        for node in stages.nodes(dict(one.instance.labels)):
            if pattern is None or pattern.matches(node.receiver):
                labels = Outlet(node, "").group_labels(one.instance.labels)
                by_group.setdefault((labels, node.receiver, node.path), []).append(shape)
    return _json(
        [
            {"alerts": members, "labels": dict(labels), "receiver": {"name": name}}
            for (labels, name, _), members in sorted(by_group.items(), key=itemgetter(0))
        ]
    )


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


def _json(content: object) -> Response:
    # Written without models: ten thousand alerts take a tenth of the time.
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(), media_type="application/json")


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


def _firing(services: Services, matchers: Sequence[Matcher], shown: _Shown) -> list[Standing]:
    firing = services.holding.firing(lambda labels: all_match(matchers, labels))
    return [one for one in firing if shown.has(one.mutes)]


def _by_fingerprint(found: Iterable[Standing]) -> list[tuple[str, Standing]]:
    """Return alerts with their fingerprints, which take time to compute, in the order of these."""
    return sorted(((one.instance.fingerprint, one) for one in found), key=itemgetter(0))


def _content(services: Services, found: Sequence[tuple[str, Standing]]) -> list[dict[str, object]]:
    """Return alerts, given with their fingerprints, in the shape of GettableAlert."""
    now, url = services.clock.now(), services.config().fleet.external_url
    ends_at, updated_at = instant(now + ENDS_AFTER_S), instant(now)
    own = f"{url.rstrip('/')}/alerts/" if url else ""
    received = [key for key, one in found if one.instance.rule.startswith(RECEIVED)]
    pages = services.received.generator_urls(received) if received and services.received else {}
    content: list[dict[str, object]] = []
    for key, one in found:
        alert = one.instance
        content.append(
            {
                "annotations": dict(alert.annotations),
                "endsAt": ends_at,
                "fingerprint": key,
                "receivers": [{"name": name} for name in one.receivers],
                "startsAt": instant(alert.active_at if alert.fired_at is None else alert.fired_at),
                "status": _status(one.mutes),
                "updatedAt": updated_at,
                "generatorURL": pages.get(key) or (own and own + key),
                "labels": dict(alert.labels),
            }
        )
    return content


def _status(mutes: Sequence[Mute]) -> dict[str, object]:
    def by(*stages: Stage) -> list[str]:
        return [name for stage in stages for mute in mutes if mute.stage is stage for name in mute.by]

    return {
        "state": "suppressed" if mutes else "active",
        "silencedBy": by(Stage.SILENCE),
        "inhibitedBy": by(Stage.INHIBITION),
        "mutedBy": by(*_MUTING),
    }


class _Shown(NamedTuple):
    """Filter of a request by state. As in Alertmanager, `active` and the others are asked one by one."""

    active: bool
    silenced: bool
    inhibited: bool
    muted: bool = True

    def has(self, mutes: Sequence[Mute]) -> bool:
        """Return whether an alert that these hold back is asked for."""
        if not mutes:
            return self.active
        by = {mute.stage for mute in mutes if mute.by}
        return (
            (self.silenced or Stage.SILENCE not in by)
            and (self.inhibited or Stage.INHIBITION not in by)
            and (self.muted or by.isdisjoint(_MUTING))
        )


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


def _matching(pattern: Regex | None, names: Collection[str]) -> set[str]:
    """Return the names that a pattern matches: there are fewer receivers than alerts."""
    return set() if pattern is None else {name for name in names if pattern.matches(name)}
