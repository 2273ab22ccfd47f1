"""The content of Alertmanager's webhooks, version 4, and the alerts of its API. Pure.

A notice is one alert that ends by itself: it has no later message that would resolve it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.interfaces import AlertInstance, AlertState, Message, Notice
from alerts.notify.card import common_pairs, escalation_words, flap_words, on_call_words
from alerts.wire import annotations_of
from collectors.samples import Labels, labels_of

VERSION = "4"
NOTICE_ALERT = "ControlPlaneNotice"
"""Name of the alert that stands for a notice."""
NOTICE_LASTS_S = 300.0
"""Seconds after which the alert of a notice ends: Alertmanager's resolve_timeout."""
UNDELIVERED = "undelivered"
"""Annotation that says why another receiver gets a message: its own one refused it."""
FLAPPING = "flapping"
"""Annotation that says how an alert flaps, or that it has settled."""
ESCALATION, ON_CALL = "escalation", "on_call"
"""Annotations that say which step of an escalation sends a message, and who is on call."""
ZERO_TIME = "0001-01-01T00:00:00Z"
"""Go's time without a value, which Alertmanager sends as the end of a firing alert."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SEPARATOR = b"\xff"


def webhook_payload(message: Message, receiver: str, external_url: str, max_alerts: int = 0) -> dict[str, Any]:
    """Return the body of a webhook, with the names of Alertmanager's. `max_alerts` 0: all alerts of the group."""
    alerts = members(message)
    shown = [alert_of(alert) for alert in (alerts[:max_alerts] if max_alerts else alerts)]
    common = common_pairs([_annotations(alert) for alert in alerts])
    flaps = {flap.fingerprint: flap_words(flap) for flap in message.flaps}
    for alert, each in zip(alerts, shown, strict=False) if flaps else ():
        if words := flaps.get(alert.fingerprint):
            each["annotations"][FLAPPING] = words
    for each in (common, *(alert["annotations"] for alert in shown)):
        each.update(added_annotations(message))
    return {
        "receiver": receiver,
        "status": "resolved" if message.status == "resolved" else "firing",
        "alerts": shown,
        "groupLabels": dict(message.group_labels),
        "commonLabels": common_pairs([alert.labels for alert in alerts]),
        "commonAnnotations": common,
        "externalURL": external_url,
        "version": VERSION,
        "groupKey": message.group_key,
        "truncatedAlerts": len(alerts) - len(shown),
    }


def added_annotations(message: Message) -> dict[str, str]:
    """Return the annotations that say why this receiver gets a message: an escalation, a rota, a refusal."""
    found = {ESCALATION: escalation_words(message.escalated)} if message.escalated else {}
    found |= {ON_CALL: on_call_words(message.on_call)} if message.on_call else {}
    return found | ({UNDELIVERED: message.undelivered} if message.undelivered else {})


def members(message: Message) -> tuple[AlertInstance, ...]:
    """Return a message's alerts: firing ones first. A notice has one."""
    if message.notice is None:
        return (*message.firing, *message.resolved)
    return (_alert_of_notice(message, message.notice),)


def alert_of(alert: AlertInstance) -> dict[str, Any]:
    """Return an alert of a webhook."""
    is_over = alert.state is AlertState.INACTIVE
    return {
        "status": "resolved" if is_over else "firing",
        "labels": dict(alert.labels),
        "annotations": dict(_annotations(alert)),
        "startsAt": go_time(alert.fired_at if alert.fired_at is not None else alert.active_at),
        "endsAt": go_time(alert.resolved_at) if is_over and alert.resolved_at is not None else ZERO_TIME,
        "generatorURL": "",
        "fingerprint": label_fingerprint(alert.labels),
    }


def go_time(at: float) -> str:
    """Return a unix second as Go writes a time in UTC: without trailing zeros of the fraction."""
    # Exact microseconds: a float of today's seconds has no more.
    when = _EPOCH + timedelta(microseconds=round(at * 1e6))
    fraction = f".{when.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{when:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def label_fingerprint(labels: Labels) -> str:
    """Return Prometheus's fingerprint of a label set: FNV-1a of 64 bits, in 16 hex digits."""
    digest = 0xCBF29CE484222325
    for name, value in sorted(labels):
        for byte in name.encode() + _SEPARATOR + value.encode() + _SEPARATOR:
            digest = (digest ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"


def _annotations(alert: AlertInstance) -> Labels:
    """Return an alert's annotations, and one that says since when its data is missing."""
    if alert.unknown_since is None:
        return alert.annotations
    told = {**dict(alert.annotations), "unknown_since": go_time(alert.unknown_since)}
    return annotations_of(told | {"unknown_targets": ", ".join(alert.away)})


def _alert_of_notice(message: Message, notice: Notice) -> AlertInstance:
    at = message.sent_at.timestamp() if message.sent_at else 0.0
    labels = {**dict(message.group_labels), "alertname": NOTICE_ALERT, "severity": notice.severity}
    labels |= {"subject": notice.subject} if notice.subject else {}
    annotations: Sequence[tuple[str, str]] = (("description", notice.text), ("summary", notice.title))
    return AlertInstance(
        "notice", labels_of(labels), tuple(annotations), AlertState.FIRING, 1.0, active_at=at, fired_at=at
    )
