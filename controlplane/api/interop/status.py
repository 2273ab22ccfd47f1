"""Prometheus's status API: `rules`, `alerts`, `status/buildinfo`."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from alerts.evaluate import GroupReport, RuleHealth
from alerts.gotemplate.goformat import go_float
from alerts.interfaces import AlertInstance, AlertState
from alerts.rules import AlertingRule, RecordingRule
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.prometheus import ParamsDep, success
from controlplane.api.prometheus_params import Params, bad
from controlplane.api.services import ServicesDep
from controlplane.errors import QueryError
from controlplane.fleet.view import rfc3339
from controlplane.metrics.promql.syntax.tree import parse_selector
from controlplane.metrics.series.matchers import Matcher

router = APIRouter(route_class=GuardedRoute, tags=["prometheus"])

PROMETHEUS_VERSION = "3.0.0"
"""Version of Prometheus whose PromQL and API this server offers to clients."""
_NEVER = "0001-01-01T00:00:00Z"


@router.get("/api/v1/rules")
@requires(Role.VIEWER)
def rules(services: ServicesDep, params: ParamsDep) -> Response:
    """List rule groups.

    `type`, `rule_name[]`, `rule_group[]`, `file[]`, `match[]`, `exclude_alerts`, `group_limit`, `group_next_token`.
    """
    kind = params.get("type").lower()
    if kind not in ("", "alert", "record"):
        raise bad("type", f'not supported value "{params.get("type")}"')
    params.flag("exclude_alerts")  # a wrong value is refused even when no rule is listed
    selectors = _selectors(params)
    page = Page.of(params)
    default_interval = services.config().evaluation_interval
    groups: list[dict[str, Any]] = []
    for report in page.rest(services.rules()):
        if not (_chosen(params, "rule_group[]", report.group.name) and _chosen(params, "file[]", report.group.file)):
            continue
        listed = [_rule(health, params) for health in report.rules if _wanted(health, params, selectors)]
        if not listed and (kind or selectors or params.all("rule_name[]")):
            continue
        if page.limit and len(groups) == page.limit:
            return success({"groups": groups, "groupNextToken": token_of(report)})
        groups.append(_group(report, listed, default_interval))
    return success({"groups": groups})


@router.get("/api/v1/alerts")
@requires(Role.VIEWER)
def alerts(services: ServicesDep) -> Response:
    """List pending and firing alerts."""
    return success({"alerts": [_alert(alert) for alert in services.alerts.active()]})


@router.get("/api/v1/status/buildinfo")
@requires(Role.VIEWER)
def buildinfo(services: ServicesDep) -> Response:
    """Return the version of Prometheus whose API this is, and this program's version after the `+`."""
    return success(
        {
            "version": f"{PROMETHEUS_VERSION}+controlplane.{services.version}",
            "revision": "",
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": f"python{platform.python_version()}",
        }
    )


def go_exponent(value: float) -> str:
    """Return a float as Go's `FormatFloat(v, 'e', -1, 64)` does for `/api/v1/alerts`: 2.5 → `2.5e+00`."""
    if not isfinite(value):
        return go_float(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    power = exponent + len(text) - 1 if value else 0
    mantissa = text[0] + (f".{text[1:]}" if len(text) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


@dataclass(frozen=True)
class Page:
    """One page of rule groups. Its token names the first group, so it stays valid when other groups come or go."""

    limit: int = 0
    """Number of groups; 0: all."""
    token: str = ""
    """Token of the first group; empty: the first of all."""

    @classmethod
    def of(cls, params: Params) -> Page:
        """Read `group_limit` and `group_next_token`. Raises QueryError(bad_data)."""
        limit, token = params.get("group_limit"), params.get("group_next_token")
        if token and not limit:
            raise bad("group_next_token", "group_limit needs to be present in order to paginate over the groups")
        if not limit:
            return cls()
        if not re.fullmatch(r"[+-]?\d{1,9}", limit):
            told = f'group_limit needs to be a valid number: strconv.ParseInt: parsing "{limit}": invalid syntax'
            raise bad("group_limit", told)
        if int(limit) <= 0:
            raise bad("group_limit", "group_limit needs to be greater than 0")
        return cls(int(limit), token)

    def rest(self, reports: Sequence[GroupReport]) -> Sequence[GroupReport]:
        """Return the groups from the token's group on. Raises QueryError(bad_data) when that group is gone."""
        if not self.token:
            return reports
        first = next((n for n, report in enumerate(reports) if token_of(report) == self.token), None)
        if first is None:
            told = f"invalid group_next_token '{self.token}'. were rule groups changed?"
            raise bad("group_next_token", told)
        return reports[first:]


def token_of(report: GroupReport) -> str:
    """Return the value of `group_next_token` for a group."""
    named = f"{report.group.file};{report.group.name}"
    return hashlib.sha1(named.encode(), usedforsecurity=False).hexdigest()


def _chosen(params: Params, name: str, value: str) -> bool:
    wanted = params.all(name)
    return not wanted or value in wanted


def _wanted(health: RuleHealth, params: Params, selectors: Sequence[Sequence[Matcher]]) -> bool:
    kind = params.get("type").lower()
    is_alert = isinstance(health.rule, AlertingRule)
    if (kind and (kind == "alert") != is_alert) or not _chosen(params, "rule_name[]", health.rule.name):
        return False
    labels = _labels(health.rule)
    return not selectors or any(all(m.matches(labels.get(m.name, "")) for m in matchers) for matchers in selectors)


def _selectors(params: Params) -> list[Sequence[Matcher]]:
    try:
        return [parse_selector(text) for text in params.all("match[]")]
    except QueryError as error:
        raise bad("match[]", str(error)) from error


def _labels(rule: AlertingRule | RecordingRule) -> dict[str, str]:
    """Return a rule's labels as they are written; templates are not expanded."""
    if isinstance(rule, AlertingRule):
        return {name: text.text for name, text in rule.labels}
    return dict(rule.labels)


def _group(report: GroupReport, listed: list[dict[str, Any]], default_interval: float) -> dict[str, Any]:
    return {
        "name": report.group.name,
        "file": report.group.file,
        "rules": listed,
        "interval": default_interval if report.group.interval_s is None else report.group.interval_s,
        "limit": report.group.limit,
        "evaluationTime": report.evaluation_s,
        "lastEvaluation": rfc3339(report.last_evaluation) or _NEVER,
    }


def _rule(health: RuleHealth, params: Params) -> dict[str, Any]:
    rule = health.rule
    common: dict[str, Any] = {
        "name": rule.name,
        "query": rule.expr,
        "health": health.health,
        "evaluationTime": health.evaluation_s,
        "lastEvaluation": rfc3339(health.last_evaluation) or _NEVER,
    }
    if health.last_error:
        common["lastError"] = health.last_error
    if health.told_by:
        # Two fields that Prometheus lacks: the replica that evaluates this rule, and the time of its report.
        common["evaluatedBy"] = health.told_by
        common["toldAt"] = rfc3339(health.told_at)
    if health.seen_at is not None:
        common["alertsReadAt"] = rfc3339(health.seen_at)
    if not isinstance(rule, AlertingRule):
        return {**common, "labels": _labels(rule), "type": "recording"}
    return {
        **common,
        "state": health.state,
        "duration": rule.for_s,
        "keepFiringFor": rule.keep_firing_for_s,
        "labels": _labels(rule),
        "annotations": {name: text.text for name, text in rule.annotations},
        "alerts": [] if params.flag("exclude_alerts") else [_alert(alert) for alert in health.instances],
        "type": "alerting",
    }


def _alert(alert: AlertInstance) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "state": alert.state.value,
        "activeAt": rfc3339(alert.active_at),
        "value": go_exponent(alert.value),
    }
    if alert.state is AlertState.FIRING and alert.keep_firing_since is not None:
        shown["keepFiringSince"] = rfc3339(alert.keep_firing_since)
    if alert.unknown_since is not None:
        shown["unknownSince"] = rfc3339(alert.unknown_since)
    return shown
