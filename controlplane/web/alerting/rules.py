"""The page of rules: every rule group in force, with the state of each rule."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, NamedTuple

from fastapi import Query, Request
from fastapi.responses import Response

from alerts.evaluate import GroupReport, RuleHealth
from alerts.interfaces import AlertState
from alerts.rules import AlertingRule
from controlplane.access.roles import Role
from controlplane.api.auth import requires
from controlplane.api.services import ServicesDep
from controlplane.fleet.alerting.charts import compared_of
from controlplane.fleet.view import rfc3339
from controlplane.web.languages import noted as _
from controlplane.web.render import Renderer

State = Literal["all", "firing", "pending", "inactive", "error", "recording"]
TABS: tuple[State, ...] = ("all", "firing", "pending", "inactive", "error", "recording")
WORDS = (_("all"), _("firing"), _("pending"), _("inactive"), _("with error"), _("recording"))
"""Names of the tabs, in the order of TABS."""
RUNBOOK = "runbook_url"


class Row(NamedTuple):
    """One rule."""

    id: str
    name: str
    is_alert: bool
    states: tuple[str, ...]
    """The tabs that have it, beside `all`."""
    state: str
    """firing, pending or inactive; of a recording rule: recording."""
    firing: int
    pending: int
    error: str
    health: str
    """ok, err, or unknown before the first evaluation."""
    last_at: str | None
    seconds: float
    expr: str
    threshold: float | None
    """The number that the expression is compared to."""
    for_s: float
    labels: dict[str, str]
    summary: str
    has_runbook: bool
    told_by: str


class Group(NamedTuple):
    """One rule group."""

    name: str
    file: str
    interval_s: float
    last_at: str | None
    seconds: float
    rows: tuple[Row, ...]


class RulesPage:
    """The endpoint. It needs the role viewer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    @requires(Role.VIEWER)
    def page(
        self,
        request: Request,
        services: ServicesDep,
        state: State = "all",
        q: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        """Show the rules of a state by their groups. `q` is the text of the filter, which the browser applies."""
        interval = services.config().evaluation_interval
        groups = [_group(report, interval) for report in services.rules()]
        counts = Counter(name for group in groups for row in group.rows for name in ("all", *row.states))
        shown = [group._replace(rows=tuple(row for row in group.rows if _on(row, state))) for group in groups]
        return self._render.page(
            request,
            "rules/page.html",
            groups=sorted((group for group in shown if group.rows), key=_rank),
            counts=counts,
            tabs=tuple(zip(TABS, WORDS, strict=True)),
            selected=state,
            q=q,
        )


def _rank(group: Group) -> int:
    """Return the place of a group: that of its most urgent rule; groups that only record come last."""
    return min(_urgency(row) + (not row.is_alert) for row in group.rows)


def _on(row: Row, state: State) -> bool:
    return state == "all" or state in row.states


def _group(report: GroupReport, interval_s: float) -> Group:
    group = report.group
    rows = sorted((_row(health) for health in report.rules), key=_urgency)
    return Group(
        group.name,
        group.file,
        group.interval_s or interval_s,
        rfc3339(report.last_evaluation),
        report.evaluation_s,
        tuple(rows),
    )


def _urgency(row: Row) -> int:
    """Return the place of a rule in its group. Rules of one place stay in the order of their file."""
    return 0 if row.error else {"firing": 1, "pending": 2}.get(row.state, 3)


def _row(health: RuleHealth) -> Row:
    rule = health.rule
    is_alert = isinstance(rule, AlertingRule)
    state = health.state if is_alert else "recording"
    annotations = dict(rule.annotations) if isinstance(rule, AlertingRule) else {}
    labels = {k: v.text for k, v in rule.labels} if isinstance(rule, AlertingRule) else dict(rule.labels)
    compared = compared_of(rule.expr) if is_alert else None
    return Row(
        id=rule.id,
        name=rule.name,
        is_alert=is_alert,
        states=(state, "error") if health.last_error else (state,),
        state=state,
        firing=_count(health, AlertState.FIRING),
        pending=_count(health, AlertState.PENDING),
        error=health.last_error,
        health=health.health,
        last_at=rfc3339(health.last_evaluation),
        seconds=health.evaluation_s,
        expr=rule.expr,
        threshold=compared.threshold if compared else None,
        for_s=rule.for_s if isinstance(rule, AlertingRule) else 0.0,
        labels=labels,
        summary=annotations["summary"].text if "summary" in annotations else "",
        has_runbook=RUNBOOK in annotations,
        told_by=health.told_by,
    )


def _count(health: RuleHealth, state: AlertState) -> int:
    return sum(one.state is state for one in health.instances)
