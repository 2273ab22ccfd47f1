"""Renders a message to a card without markup, which each notifier draws. Pure: same message, same card."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from alerts.goformat import go_float, humanize_duration
from alerts.interfaces import AlertInstance, Button, Message, Notice
from alerts.wire import summary

SHOWN = 10
"""Alerts that a card lists. The others are only counted."""
_WHERE = {"model": "Model", "version": "Version", "node": "Node", "gpu": "GPU", "instance": "Instance"}
"""Labels that locate an alert, and their names on a card."""
_SEVERITIES = ("critical", "warning", "info")


class Link(NamedTuple):
    """A link on a card."""

    text: str
    url: str


@dataclass(frozen=True)
class Card:
    """A message ready to be drawn: plain texts without markup."""

    status: str
    """firing, resolved or notice."""
    severity: str
    """The highest severity of its alerts."""
    title: str
    fields: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]
    """One line per alert."""
    more: int
    """Number of alerts that `lines` leaves out."""
    footer: str
    links: tuple[Link, ...]
    text: str
    """The whole message in one line, for receivers that show plain text."""
    buttons: tuple[Button, ...] = ()


def render(message: Message) -> Card:
    """Return the card of a message."""
    card = _alerts(message) if message.notice is None else _notice(message, message.notice)
    card = replace(card, buttons=message.buttons)
    if not message.undelivered:
        return card
    fields = (*card.fields, ("Sent here because", message.undelivered))
    return replace(card, fields=fields, text=f"{card.text} ({message.undelivered})")


def _alerts(message: Message) -> Card:
    alerts = (*message.firing, *message.resolved)
    common = _common_labels(alerts)
    severities = {dict(alert.labels).get("severity", "") for alert in alerts}
    severity = next((s for s in _SEVERITIES if s in severities), "")
    title = f"{message.status.upper()}: {_subject(message)}"
    marks = {mark.fingerprint: mark.text for mark in message.marks}
    # News first: a long list must not hide it behind what somebody takes care of already.
    firing = sorted(message.firing, key=lambda alert: alert.fingerprint in marks)
    lines = [_marked(_line(alert, resolved=False), marks.get(alert.fingerprint, "")) for alert in firing]
    lines += [_line(alert, resolved=True) for alert in message.resolved]
    return Card(
        status=message.status,
        severity=severity,
        title=title,
        fields=tuple(_fields(message, common, severity)),
        lines=tuple(lines[:SHOWN]),
        more=max(0, len(lines) - SHOWN),
        footer=_footer(message, common),
        links=tuple(_links(message, alerts)),
        text=f"{summary(message)}: {lines[0]}" if lines else summary(message),
    )


def _notice(message: Message, notice: Notice) -> Card:
    fields = [(name.capitalize(), value) for name, value in message.group_labels]
    fields += [("Switch", notice.subject)] if notice.subject else []
    return Card(
        status=message.status,
        severity=notice.severity,
        title=notice.title,
        fields=tuple(fields),
        lines=(notice.text,),
        more=0,
        footer=_footer(message, {}),
        links=tuple(_links(message, ())),
        text=f"{notice.title}: {notice.text}",
    )


def _subject(message: Message) -> str:
    labels = dict(message.group_labels)
    return " · ".join([labels.pop("alertname", "alerts"), *labels.values()])


def _marked(line: str, mark: str) -> str:
    return f"{line} ({mark})" if mark else line


def _line(alert: AlertInstance, *, resolved: bool) -> str:
    labels = dict(alert.labels)
    text = dict(alert.annotations).get("summary") or f"{labels.get('alertname', '?')}: value {go_float(alert.value)}"
    if not resolved:
        if alert.unknown_since is None:
            return text
        return f"{text} (unknown since {_time(alert.unknown_since)}: no data from {', '.join(alert.away)})"
    lasted = ""
    if alert.fired_at is not None and alert.resolved_at is not None:
        lasted = f", after firing for {humanize_duration(max(0.0, float(round(alert.resolved_at - alert.fired_at))))}"
    why = f"; {', '.join(alert.away)} is no longer configured" if alert.away else ""
    return f"ended at {_time(alert.resolved_at)}{lasted}{why} (was: {text})"


def _fields(message: Message, common: dict[str, str], severity: str) -> list[tuple[str, str]]:
    fields = [(name, common[label]) for label, name in _WHERE.items() if label in common]
    fields += [("Severity", severity)] if severity else []
    starts = [alert.fired_at for alert in message.firing or message.resolved if alert.fired_at is not None]
    fields += [("Since" if message.firing else "Fired", _time(min(starts)))] if starts else []
    counts = (("Firing", message.firing), ("Resolved", message.resolved))
    return fields + [(name, str(len(alerts))) for name, alerts in counts if alerts]


def _footer(message: Message, common: dict[str, str]) -> str:
    simulated = "simulated · " if common.get("simulated") == "true" else ""
    number = "edited" if message.edit else f"message {message.sequence}"
    return f"{simulated}{number} · {message.id}"


def _links(message: Message, alerts: tuple[AlertInstance, ...]) -> list[Link]:
    links = [Link("Console", message.console_url)] if message.console_url.startswith("http") else []
    runbooks = dict.fromkeys(dict(alert.annotations).get("runbook_url", "") for alert in alerts)
    return links + [Link("Runbook", url) for url in runbooks if url.startswith(("http://", "https://"))][:1]


def _common_labels(alerts: tuple[AlertInstance, ...]) -> dict[str, str]:
    shared = set(alerts[0].labels) if alerts else set()
    for alert in alerts[1:]:
        shared &= set(alert.labels)
    return dict(shared)


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
