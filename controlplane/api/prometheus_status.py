"""Prometheus's status API: `rules`, `alerts`, `status/buildinfo`."""

from __future__ import annotations

import platform
from decimal import Decimal
from math import isfinite
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from alerts.evaluate import GroupReport, RuleHealth
from alerts.goformat import go_float
from alerts.interfaces import AlertInstance, AlertState
from alerts.rules import AlertingRule
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.prometheus import ParamsDep, success
from controlplane.api.prometheus_params import Params, bad
from controlplane.api.services import ServicesDep
from controlplane.fleet.views import rfc3339

router = APIRouter(route_class=GuardedRoute, tags=["prometheus"])

PROMETHEUS_VERSION = "3.0.0"
"""The PromQL and the API that clients may expect of us."""
_NEVER = "0001-01-01T00:00:00Z"


@router.get("/api/v1/rules")
@requires(Role.VIEWER)
def rules(services: ServicesDep, params: ParamsDep) -> Response:
    """List rule groups (`type`, `rule_name[]`, `rule_group[]`, `file[]`, `exclude_alerts`)."""
    kind = params.get("type").lower()
    if kind not in ("", "alert", "record"):
        raise bad("type", f'not supported value "{params.get("type")}"')
    default_interval = services.config().evaluation_interval
    groups = []
    for report in services.rules():
        if not (_chosen(params, "rule_group[]", report.group.name) and _chosen(params, "file[]", report.group.file)):
            continue
        listed = [_rule(health, params) for health in report.rules if _wanted(health, params)]
        if listed or not (kind or params.all("rule_name[]")):
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
    """Return the version of Prometheus that this API compares to, with ours behind the `+`."""
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
    """Return a float as Go's `FormatFloat(v, 'e', -1, 64)`, which `/api/v1/alerts` uses: 2.5 is `2.5e+00`."""
    if not isfinite(value):
        return go_float(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    power = exponent + len(text) - 1 if value else 0
    mantissa = text[0] + (f".{text[1:]}" if len(text) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _chosen(params: Params, name: str, value: str) -> bool:
    wanted = params.all(name)
    return not wanted or value in wanted


def _wanted(health: RuleHealth, params: Params) -> bool:
    kind = params.get("type").lower()
    is_alert = isinstance(health.rule, AlertingRule)
    return (not kind or (kind == "alert") == is_alert) and _chosen(params, "rule_name[]", health.rule.name)


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
    if not isinstance(rule, AlertingRule):
        return {**common, "labels": dict(rule.labels), "type": "recording"}
    without_alerts = params.get("exclude_alerts").lower() in ("true", "1")
    return {
        **common,
        "state": health.state,
        "duration": rule.for_s,
        "keepFiringFor": rule.keep_firing_for_s,
        "labels": {name: text.text for name, text in rule.labels},
        "annotations": {name: text.text for name, text in rule.annotations},
        "alerts": [] if without_alerts else [_alert(alert) for alert in health.instances],
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
