"""Alerts and messages as JSON: how the log, the outbox and the groups keep them. JSON lacks NaN: it becomes null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from alerts.interfaces import AlertInstance, AlertState, Message, Notice
from collectors.samples import Labels, labels_of


def instance_to_json(instance: AlertInstance) -> dict[str, Any]:
    """Return an instance as JSON content."""
    return {
        "rule": instance.rule,
        "labels": dict(instance.labels),
        "annotations": dict(instance.annotations),
        "state": instance.state.value,
        "value": value_to_json(instance.value),
        "active_at": instance.active_at,
        "fired_at": instance.fired_at,
        "keep_firing_since": instance.keep_firing_since,
        "resolved_at": instance.resolved_at,
        "unknown_since": instance.unknown_since,
        "away": list(instance.away),
    }


def instance_from_json(content: Mapping[str, Any]) -> AlertInstance:
    """Return the instance that instance_to_json wrote."""
    # What an earlier version wrote knows neither `unknown_since` nor `away`.
    fields = {"unknown_since": None, "away": [], **content}
    return AlertInstance(
        **fields
        | {
            "labels": labels_of(fields["labels"]),
            "annotations": annotations_of(fields["annotations"]),
            "state": AlertState(fields["state"]),
            "away": tuple(fields["away"]),
            "value": math.nan if fields["value"] is None else float(fields["value"]),
        }
    )


def value_to_json(value: float) -> float | str | None:
    """Return a finite number itself, NaN as null, an infinity as the text that float() reads."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def annotations_of(pairs: Mapping[str, str]) -> Labels:
    """Return annotations in their canonical order; unlike labels, empty ones stay."""
    return tuple(sorted(pairs.items()))


def message_to_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON content, with a `summary` line for listings."""
    return {
        "summary": summary(message),
        "group_key": message.group_key,
        "receiver": message.receiver,
        "status": message.status,
        "group_labels": dict(message.group_labels),
        "firing": [instance_to_json(i) for i in message.firing],
        "resolved": [instance_to_json(i) for i in message.resolved],
        "sequence": message.sequence,
        "generation": message.generation,
        "console_url": message.console_url,
        "sent_at": None if message.sent_at is None else message.sent_at.timestamp(),
        "notice": None if message.notice is None else asdict(message.notice),
    }


def message_from_json(content: Mapping[str, Any]) -> Message:
    """Return the message that message_to_json wrote."""
    return Message(
        group_key=content["group_key"],
        receiver=content["receiver"],
        status=content["status"],
        group_labels=labels_of(content["group_labels"]),
        firing=tuple(instance_from_json(i) for i in content["firing"]),
        resolved=tuple(instance_from_json(i) for i in content["resolved"]),
        sequence=content["sequence"],
        generation=content["generation"],
        console_url=content["console_url"],
        sent_at=None if content["sent_at"] is None else datetime.fromtimestamp(content["sent_at"], UTC),
        notice=Notice(**content["notice"]) if content.get("notice") else None,
    )


def summary(message: Message) -> str:
    """Return a message in one line: `FIRING: LLMErrorRateHigh chat (2 firing, 1 resolved)`."""
    if message.notice is not None:
        return message.notice.title
    labels = dict(message.group_labels)
    subject = " ".join([labels.pop("alertname", "alerts"), *labels.values()])
    counts = [f"{len(message.firing)} firing"] if message.firing else []
    counts += [f"{len(message.resolved)} resolved"] if message.resolved else []
    if is_simulated(message):
        counts.append("simulated")
    return f"{message.status.upper()}: {subject} ({', '.join(counts)})"


def is_simulated(message: Message) -> bool:
    """Tell whether every alert in a message comes from a simulated target: nobody must get up at night for it."""
    alerts = (*message.firing, *message.resolved)
    return bool(alerts) and all(("simulated", "true") in alert.labels for alert in alerts)
