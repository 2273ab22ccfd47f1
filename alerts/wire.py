"""Converts alerts and messages to JSON and back, for the log, the outbox and the groups. NaN becomes null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from alerts.errors import NotReadable
from alerts.interfaces import (
    Above,
    AlertInstance,
    AlertState,
    Button,
    Escalated,
    Flap,
    Mark,
    Message,
    Notice,
    OnCall,
    Storm,
    StormCount,
)
from alerts.stored import Document, Upgrade, checked, items, only, reading, upgraded
from collectors.samples import Labels, labels_of


def _instance_to_1(content: Document) -> Document:
    """Add the fields of unknown alerts, which format 0 did not have."""
    return {"unknown_since": None, "away": [], **content}


def _instance_to_2(content: Document) -> Document:
    """Add the earlier changes of alerts, which format 1 did not have."""
    return {"changes": [], **content}


def _unchanged(content: Document) -> Document:
    return content


def _message_to_2(content: Document) -> Document:
    """Add the fields of messages with buttons, which format 1 did not have."""
    return {"buttons": [], "edit": False, **content}


def _message_to_3(content: Document) -> Document:
    """Add the marks of acknowledged alerts, which format 2 did not have."""
    return {"marks": [], **content}


def _message_to_4(content: Document) -> Document:
    """Add what format 3 did not have: flapping alerts, storms, steps of escalations and people on call."""
    return {"flaps": [], "storm": None, "escalated": None, "on_call": None, **content}


def _message_to_5(content: Document) -> Document:
    """Add the number of alerts that other groups tell of, which format 4 did not have."""
    return {"moved": 0, **content}


def _message_to_6(content: Document) -> Document:
    """Add why another receiver gets a message, which format 5 did not have."""
    return {"undelivered": "", **content}


_INSTANCE_UPGRADES: tuple[Upgrade, ...] = (_instance_to_1, _instance_to_2)
_MESSAGE_UPGRADES: tuple[Upgrade, ...] = (
    _unchanged,
    _message_to_2,
    _message_to_3,
    _message_to_4,
    _message_to_5,
    _message_to_6,
)
INSTANCE_FORMAT, MESSAGE_FORMAT = len(_INSTANCE_UPGRADES), len(_MESSAGE_UPGRADES)
"""Current formats. When you add or rename a key, add an upgrade to the list above."""
_INSTANCE_KEYS = frozenset(field.name for field in fields(AlertInstance))


def instance_to_json(instance: AlertInstance) -> dict[str, Any]:
    """Return an instance as JSON content."""
    return {
        "format": INSTANCE_FORMAT,
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
        "changes": list(instance.changes),
    }


def instance_from_json(content: Document) -> AlertInstance:
    """Return the instance that instance_to_json wrote, in this release or an earlier one.

    Raises NotReadable for a document of a newer release, and for a damaged one.
    """
    found = upgraded(content, _INSTANCE_UPGRADES)
    only(found, _INSTANCE_KEYS)
    with reading():
        return checked(
            AlertInstance(
                **found
                | {
                    "labels": labels_of(found["labels"]),
                    "annotations": annotations_of(found["annotations"]),
                    "state": AlertState(found["state"]),
                    "away": items(found["away"]),
                    # A row has NULL instead of an empty list: nearly every alert has none.
                    "changes": _changes(found["changes"] or ()),
                    "value": math.nan if found["value"] is None else float(found["value"]),
                }
            )
        )


def _changes(times: Any) -> tuple[float, ...]:
    found = items(times)
    if len(found) % 2 or not all(map(math.isfinite, found)):
        raise NotReadable("its changes are not pairs of times")
    return found


def value_to_json(value: float) -> float | str | None:
    """Return a value for JSON: a finite number unchanged, NaN as None, infinities as `"inf"` and `"-inf"`."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def annotations_of(pairs: Mapping[str, str]) -> Labels:
    """Return annotations in their canonical order. Unlike labels, empty annotations stay."""
    return tuple(sorted(pairs.items()))


def message_to_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON content, with a `summary` line for lists."""
    return {
        "format": MESSAGE_FORMAT,
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
        "buttons": [asdict(button) for button in message.buttons],
        "edit": message.edit,
        "marks": [asdict(mark) for mark in message.marks],
        "flaps": [asdict(flap) for flap in message.flaps],
        "storm": None if message.storm is None else asdict(message.storm),
        "moved": message.moved,
        "escalated": None if message.escalated is None else asdict(message.escalated),
        "on_call": None if message.on_call is None else asdict(message.on_call),
        "undelivered": message.undelivered,
    }


def message_from_json(content: Document) -> Message:
    """Return the message that message_to_json wrote, in this release or an earlier one.

    Raises NotReadable for a document of a newer release, and for a damaged one.
    """
    found = upgraded(content, _MESSAGE_UPGRADES)
    with reading():
        return checked(
            Message(
                group_key=found["group_key"],
                receiver=found["receiver"],
                status=found["status"],
                group_labels=labels_of(found["group_labels"]),
                firing=tuple(instance_from_json(i) for i in items(found["firing"])),
                resolved=tuple(instance_from_json(i) for i in items(found["resolved"])),
                sequence=found["sequence"],
                generation=found["generation"],
                console_url=found["console_url"],
                sent_at=None if found["sent_at"] is None else datetime.fromtimestamp(found["sent_at"], UTC),
                notice=Notice(**found["notice"]) if found.get("notice") else None,
                buttons=tuple(Button(**button) for button in items(found["buttons"])),
                edit=found["edit"],
                marks=tuple(Mark(**mark) for mark in items(found["marks"])),
                flaps=tuple(Flap(**flap) for flap in items(found["flaps"])),
                storm=None if found["storm"] is None else _storm_from_json(found["storm"]),
                moved=found["moved"],
                escalated=None if found["escalated"] is None else _escalated_from_json(found["escalated"]),
                on_call=None if found["on_call"] is None else _on_call_from_json(found["on_call"]),
                undelivered=found["undelivered"],
            )
        )


def _storm_from_json(content: Document) -> Storm:
    counts = tuple(StormCount(**count) for count in items(content["counts"]))
    return Storm(**{**content, "counts": counts, "acts": items(content["acts"])})


def _escalated_from_json(content: Document) -> Escalated:
    above = tuple(Above(**one) for one in items(content["above"]))
    return Escalated(**{**content, "above": above})


def _on_call_from_json(content: Document) -> OnCall:
    return OnCall(**{**content, "people": items(content["people"])})


def summary(message: Message) -> str:
    """Return a message in one line: `FIRING: LLMErrorRateHigh chat (2 firing, 1 resolved)`."""
    if message.notice is not None:
        return message.notice.title
    labels = dict(message.group_labels)
    subject = " ".join([labels.pop("alertname", "alerts"), *labels.values()])
    if message.storm is not None:
        subject = f"storm: {message.storm.label} {message.storm.value}"
    counts = [f"{len(message.firing)} firing"] if message.firing else []
    counts += [f"{len(message.resolved)} resolved"] if message.resolved else []
    counts += [f"{message.moved} moved"] if message.moved else []
    if is_simulated(message):
        counts.append("simulated")
    return f"{message.status.upper()}: {subject} ({', '.join(counts)})"


def is_simulated(message: Message) -> bool:
    """Return whether every alert in a message is from a simulated target. Such a message must not page anybody."""
    alerts = (*message.firing, *message.resolved)
    return bool(alerts) and all(("simulated", "true") in alert.labels for alert in alerts)
