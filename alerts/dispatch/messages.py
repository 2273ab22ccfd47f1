"""Makes the messages of groups. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from alerts.dispatch.buttons import buttons_of
from alerts.dispatch.groups import GroupState
from alerts.dispatch.muting import Stage
from alerts.dispatch.routing import Members, Sorted, Stages
from alerts.interfaces import AlertInstance, AlertState, Flap, Mark, Message
from collectors.samples import Labels


def message_of(
    group: GroupState,
    members: Members,
    told: Mapping[Labels, AlertInstance],
    at: float,
    stages: Stages,
    firing: Mapping[Labels, AlertInstance],
    resolved: tuple[AlertInstance, ...] = (),
    steady: tuple[Flap, ...] = (),
) -> Message:
    """Return the next message of a group. Acknowledged alerts that were told are in it beside those in `firing`.

    `steady` are alerts in `firing` that have settled.
    """
    known = [held for labels, held in members.held.items() if labels in told]
    taken = [(held.instance, mute) for held in known if (mute := held.by(Stage.ACKNOWLEDGEMENT))]
    fires = sorted((*firing.values(), *(one for one, _ in taken)), key=lambda i: (i.active_at, i.labels))
    message = Message(
        group_key=group.key,
        receiver=group.receiver,
        status="firing" if fires else "resolved",
        group_labels=group.labels,
        firing=tuple(fires),
        resolved=resolved,
        sequence=group.sequence + 1,
        generation=group.generation,
        console_url=stages.console_url,
        sent_at=datetime.fromtimestamp(at, UTC),
        marks=tuple(Mark(one.fingerprint, mute.sentence) for one, mute in taken),
        flaps=(*(flap for one in fires if (flap := members.flaps.get(one.labels))), *steady),
    )
    return replace(message, buttons=buttons_of(message)) if group.receiver in stages.interactive else message


def ends(
    found: Sorted, told: Mapping[Labels, AlertInstance], gone: Collection[Labels], at: float
) -> tuple[AlertInstance, ...]:
    """Return the alerts of the last message that are `gone` as they resolved, in the order of their labels."""
    return tuple(found.ended.get(labels) or _ended_at(told[labels], at) for labels in sorted(gone))


def _ended_at(instance: AlertInstance, at: float) -> AlertInstance:
    """Return an alert of the last message as resolved at `at`: its row is gone, so its exact end is not known."""
    return replace(instance, state=AlertState.INACTIVE, resolved_at=at, keep_firing_since=None)
