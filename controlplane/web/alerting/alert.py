"""The page of one alert: its chart, who was told, what changed around its start, its runbook and its history."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import Response
from markupsafe import Markup

from alerts.rules import AlertingRule
from controlplane.access.roles import Role
from controlplane.api.alerts import Fingerprint
from controlplane.api.alerts import alert as read_alert
from controlplane.api.alerts import explanation as read_explanation
from controlplane.api.auth import requires
from controlplane.api.rollouts.listing import rollout as read_rollout
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import ControlPlaneError, NotFound
from controlplane.fleet.alerting.charts import about, compared_of
from controlplane.fleet.alerting.explanations import ExplanationView
from controlplane.fleet.alerting.runbooks import Shelf
from controlplane.fleet.rollout_views import RolloutView
from controlplane.fleet.views import AlertDetailView, ModelView
from controlplane.web.alerting.markdown import markdown
from controlplane.web.render import Renderer


class Drawn(NamedTuple):
    """The lines of an alert's chart."""

    expr: str
    """The part of the rule's expression that is compared, for the alert's labels alone."""
    thresholds: tuple[Mapping[str, object], ...]
    legend: str
    whole: str
    """The rule's whole expression."""


class Suspect(NamedTuple):
    """A version that took over a model's traffic shortly before the alert began, and still has it."""

    model: ModelView
    rollout: RolloutView


class AlertPage:
    """The endpoint. It needs the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render, self._shelf = render, Shelf()

    @requires(Role.VIEWER)
    async def page(self, request: Request, services: ServicesDep, fingerprint: Fingerprint) -> Response:
        """Show one alert. What cannot be read beside it is left out."""
        found, explained = await asyncio.gather(
            asyncio.to_thread(read_alert, services, fingerprint), _explained(services, fingerprint)
        )
        rule = rule_of(services, found.rule)
        return self._render.page(
            request,
            "alerts/alert.html",
            alert=found,
            explained=explained,
            rule=rule,
            drawn=_drawn(rule, found),
            suspect=await _suspect(services, found, explained),
            meaning=await asyncio.to_thread(self._meaning, found.name),
        )

    def _meaning(self, name: str) -> Markup | None:
        """Return the first section of an alert's runbook; None: there is no such runbook here."""
        if name not in self._shelf.names():
            return None
        try:
            return markdown(self._shelf.first_section(name))
        except NotFound:
            return None


def rule_of(services: Services, identity: str) -> AlertingRule | None:
    """Return the alerting rule with an id; None when it is not configured."""
    rules = (health.rule for report in services.rules() for health in report.rules)
    return next((rule for rule in rules if rule.id == identity and isinstance(rule, AlertingRule)), None)


def _drawn(rule: AlertingRule | None, alert: AlertDetailView) -> Drawn | None:
    if rule is None:
        return None
    compared = compared_of(rule.expr)
    own = {name for name, _ in rule.labels} | {"alertname"}
    labels = {name: value for name, value in alert.labels.items() if name not in own}
    expr = about(compared.expr if compared else rule.expr, labels)
    threshold = compared.threshold if compared else None
    lines = () if threshold is None else ({"value": threshold, "label": f"{threshold:g}"},)
    return Drawn(expr, lines, " ".join(labels), rule.expr)


async def _explained(services: Services, fingerprint: str) -> ExplanationView | None:
    """Return the explanation of an alert; None when it cannot be read: the alert itself may still be shown."""
    try:
        return await read_explanation(services, fingerprint)
    except ControlPlaneError:
        return None


async def _suspect(services: Services, alert: AlertDetailView, explained: ExplanationView | None) -> Suspect | None:
    """Return the last rollout of the alert's model around its start, if its version still serves."""
    name = alert.labels.get("model")
    if not name or explained is None or alert.state not in ("firing", "pending"):
        return None
    ids: Sequence[str] = [one.ref for one in explained.changes if one.kind == "rollout" and one.subject == name]
    if not ids:
        return None
    try:
        model, rollout = await asyncio.gather(services.fleet.model(name), read_rollout(services, ids[-1]))
    except ControlPlaneError:
        return None
    running = model.rollout is not None and model.rollout.id == rollout.id and rollout.kind == "promote"
    serves = rollout.finished and rollout.ok and model.stable == rollout.to and model.previous and model.can_promote
    return Suspect(model, rollout) if running or (serves and model.rollout is None) else None
