"""The dashboard of alerts: what fires, what fired, and whether rules and messages work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.board import Section, chosen, dashboard, select, values_of
from dashboards.boards.common import rate
from dashboards.panels import GREEN, RED, YELLOW, Limit, Lines, Link, Number, Panel, Query, Rows, States
from dashboards.settings import Settings

_GRAVE = 'severity=~"warning|critical"'
_CHOSEN = chosen("alertname", "severity")


def alerts(settings: Settings) -> dict[str, Any]:
    """Return the dashboard."""
    return dashboard(
        settings,
        uid="llm-alerts",
        title="LLM alerts",
        description="Alerts now and over time, and the rules and messages behind them.",
        variables={
            "alertname": values_of("ALERTS", "alertname"),
            "severity": values_of("ALERTS", "severity"),
        },
        sections=[_now(settings), _history(), _rules(settings)],
        page="/alerts",
    )


def _now(settings: Settings) -> Section:
    alert = "${__data.fields.alertname:percentencode}"
    return "Now", [
        Number(
            title="Critical",
            description="Critical alerts that fire.",
            queries=[Query("count(ALERTS" + select('alertstate="firing"', 'severity="critical"') + ") or vector(0)")],
            unit="none",
            limits=[Limit(1)],
        ),
        Number(
            title="Warnings",
            description="Warnings that fire.",
            queries=[Query("count(ALERTS" + select('alertstate="firing"', 'severity="warning"') + ") or vector(0)")],
            unit="none",
            limits=[Limit(1, YELLOW)],
        ),
        Number(
            title="Pending",
            description="Alerts whose condition holds, but not yet for long enough.",
            queries=[Query("count(ALERTS" + select('alertstate="pending"', _GRAVE) + ") or vector(0)")],
            unit="none",
        ),
        Number(
            title="Messages not delivered",
            description="Notifications that were given up. NotificationsFailing fires for them.",
            queries=[Query("max(controlplane_outbox_messages" + select('status="dead"') + ") or vector(0)")],
            unit="none",
            limits=[Limit(1)],
        ),
        Rows(
            title="Alerts",
            description="Alerts that fire or are pending. The console explains each one, and silences it.",
            queries=[Query("ALERTS" + select('alertstate=~"pending|firing"', _CHOSEN), instant=True)],
            unit="none",
            columns=["alertname", "alertstate", "severity", "model", "version", "instance", "node", "gpu"],
            links=[Link("Runbook", settings.runbook(alert)), Link("Alerts in the console", settings.page("/alerts"))],
            width=24,
        ),
    ]


def _history() -> Section:
    firing = select('alertstate="firing"', _GRAVE, _CHOSEN)
    return "Over time", [
        States(
            title="Firing",
            description="A bar while an alert of this name fires for a model, whatever its other labels.",
            queries=[Query(f"count by (alertname, model, severity) (ALERTS{firing}) > 0", "{{alertname}} {{model}}")],
            unit="none",
            limits=[Limit(1)],
            width=24,
            height=10,
        ),
        Lines(
            title="Alerts that fire by severity",
            description="A step up in many at once is a common cause: a node, a network, a release.",
            queries=[
                Query("count by (severity) (ALERTS" + select('alertstate="firing"', _CHOSEN) + ")", "{{severity}}")
            ],
            unit="none",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Messages by state",
            description="`queued` that grows: a receiver does not answer. `dead`: given up.",
            queries=[Query(f"max by (status) (controlplane_outbox_messages{select()})", "{{status}}")],
            unit="none",
            minimum=0,
            width=12,
        ),
    ]


def _rules(settings: Settings) -> Section:
    evaluated = f"max by (rule_group) (controlplane_rule_group_last_evaluation_timestamp_seconds{select()})"
    return "Rules and people", [
        Lines(
            title="Duration of the rule groups",
            description="Of the last evaluation. A group that takes longer than its interval is late.",
            queries=[
                Query(f"max by (rule_group) (controlplane_rule_group_duration_seconds{select()})", "{{rule_group}}")
            ],
            unit="s",
            minimum=0,
        ),
        Lines(
            title="Age of the last evaluation",
            description="The line is the limit of RuleGroupLate: alerts that are not evaluated cannot fire.",
            queries=[Query(f"time() - {evaluated}", "{{rule_group}}")],
            unit="s",
            minimum=0,
            limits=[Limit(settings.limit("evaluation_late"))],
        ),
        Lines(
            title="Failed evaluations per minute",
            description="Rules whose query failed, by group. The log and `cp rules` tell why.",
            queries=[
                Query(
                    "60 * " + rate("controlplane_rule_evaluation_failures_total", "rule_group"),
                    "{{rule_group}}",
                )
            ],
            unit="none",
            minimum=0,
        ),
        Lines(
            title="Age of heartbeats",
            description="As a share of the time within which each is expected. Above 1, HeartbeatMissing fires.",
            queries=[
                Query(
                    f"max by (heartbeat) (controlplane_heartbeat_age_seconds{select()})"
                    f" / max by (heartbeat) (controlplane_heartbeat_within_seconds{select()})",
                    "{{heartbeat}}",
                )
            ],
            unit="percentunit",
            minimum=0,
            limits=[Limit(1)],
            width=12,
        ),
        *_people(settings),
    ]


def _people(settings: Settings) -> Sequence[Panel]:
    """Return the panels of the people on call and of their calendars."""
    return [
        Lines(
            title="People on call",
            description="By the calendar of each rota. 0: nobody is on call now.",
            queries=[Query(f"max by (rota) (controlplane_rota_on_call{select()})", "{{rota}}")],
            unit="none",
            minimum=0,
            width=12,
        ),
        Lines(
            title="Age of the calendars",
            description="Time since the calendar of each rota was last read well. The line is the limit of "
            "RotaCalendarOld.",
            queries=[Query(f"max by (rota) (controlplane_rota_calendar_age_seconds{select()})", "{{rota}}")],
            unit="s",
            minimum=0,
            limits=[Limit(settings.limit("rota_calendar_age"), YELLOW)],
            width=12,
        ),
        Lines(
            title="Shifts left in the calendars",
            description="Time until the last shift of each rota ends; calendars are read five weeks ahead. "
            "RotaCalendarEnds fires below the line.",
            queries=[Query(f"max by (rota) (controlplane_rota_shifts_left_seconds{select()})", "{{rota}}")],
            unit="s",
            minimum=0,
            lowest=RED,
            limits=[Limit(settings.limit("rota_calendar_ends"), GREEN)],
            width=12,
        ),
    ]
