"""Compares each group of alerts with its last message, and decides whether to send the next one. Pure.

A group opens with its first firing alert. It sends its first message after `group_wait`, so that alerts that fire
together share a message. It sends changes (an alert fired or resolved) once `group_interval` has passed since the last
message. It repeats an unchanged message after `repeat_interval`. When all its alerts have resolved, it sends that and
closes. A muted alert is reported neither as firing nor as resolved; one that was in an earlier message and ends is
reported as resolved all the same. An acknowledged alert that was in an earlier message stays in the group's messages,
marked: its receivers must not take it for resolved. It causes no message. When its acknowledgement or its silence ends
while it fires, it is news again.

While a message of a group is underway, nothing is decided for the group. The next message then holds the newest state,
so an outage of the receiver ends in one message and not in a flood. A message that was given up (a wrong token) is
sent anew after 15 minutes. The alerts of the last message are stored with the group, so neither a crash nor a pause
loses a resolved notice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from alerts.dispatch.buttons import buttons_of
from alerts.dispatch.groups import Deliveries, GroupState, GroupStep, Picture
from alerts.dispatch.muting import Stage, next_change
from alerts.dispatch.routing import Members, Outlet, Sorted, Stages, sort
from alerts.interfaces import AlertInstance, AlertState, Mark, Message
from alerts.routing.tree import Node
from collectors.durations import format_duration
from collectors.samples import Labels

_BY_PEOPLE = (Stage.ACKNOWLEDGEMENT, Stage.SILENCE)
DEAD_RETRY_S = 15 * 60.0
"""Seconds until a group whose message was given up sends again (chosen: time to replace a token or fix a channel)."""


def decide(stages: Stages, picture: Picture, at: float) -> tuple[GroupStep, ...]:
    """Return the groups that change at unix second `at`, in the order of their keys."""
    return _decided(stages, picture, sort(stages, picture, at), at)


def decide_and_rest(stages: Stages, picture: Picture, at: float) -> tuple[tuple[GroupStep, ...], float]:
    """Return what `decide` returns, and what `next_due` returns after it. Sorts the alerts once."""
    found = sort(stages, picture, at)
    steps = _decided(stages, picture, found, at)
    return steps, at if steps else _rests_until(stages, picture, found, at)


def next_due(stages: Stages, picture: Picture, at: float) -> float:
    """Return the unix second before which `decide` has nothing to do, provided that no alert changes.

    Return `at` (decide at every tick) while a message is underway or given up.
    """
    return _rests_until(stages, picture, sort(stages, picture, at), at)


def _decided(stages: Stages, picture: Picture, found: Sorted, at: float) -> tuple[GroupStep, ...]:
    groups = picture.groups
    steps = []
    # A group whose alerts are all muted from the start is not opened: nobody was notified of it.
    opening = {key for key, members in found.groups.items() if members.firing}
    for key in sorted(opening | {key for key, group in groups.items() if group.is_open}):
        if key in picture.deliveries.underway:
            continue
        members = found.members(key)
        group = groups.get(key)
        if members.outlet is not None and (group is None or not group.is_open):
            group = _opened(members.outlet, key, group, members, at)
            opened = GroupStep(group, None, f"{key} opened with {len(members.firing)} alert(s)")
            advanced = _advance(members.outlet.node, group, members, found, at, stages)
            steps.append(advanced or opened)
        elif group is not None and (step := _go_on(stages, group, members, found, picture.deliveries, at)):
            steps.append(step)
    return tuple(steps)


def _rests_until(stages: Stages, picture: Picture, found: Sorted, at: float) -> float:
    if picture.deliveries.underway or picture.deliveries.dead:
        return at
    due = [next_change(stages.routing, picture.holds, at)]
    for key, group in picture.groups.items():
        if not group.is_open:
            continue
        members = found.members(key)
        outlet = members.outlet or stages.outlet_of(key)
        if outlet is None or not group.recalled:
            return at
        new, gone = _changes(group, members, found)
        if members.firing or gone:
            due.append(due_at(outlet.node, group, changed=bool(new or gone)))
    return min(due)


def patience(node: Node, key: str, deliveries: Deliveries) -> Node:
    """Return the route with an earlier repeat for a group whose last message was given up."""
    if key not in deliveries.dead:
        return node
    return replace(node, repeat_interval_s=min(node.repeat_interval_s, max(node.group_interval_s, DEAD_RETRY_S)))


def _go_on(
    stages: Stages, group: GroupState, members: Members, found: Sorted, deliveries: Deliveries, at: float
) -> GroupStep | None:
    """Return how an open group changes, if it does."""
    outlet = members.outlet or stages.outlet_of(group.key)
    if outlet is None:
        return GroupStep(_closed(group), None, f"{group.key} closed: the receiver or the grouping has changed")
    if not group.recalled:
        group = _recall(stages, outlet, group, members, found)
        if not members.firing and not group.notified:
            # Not "resolved": an alert that was read anew may still be pending.
            words = f"{group.key} closed: its last message cannot be read, and none of its alerts fires"
            return None if _recent(outlet.node, group, at) else GroupStep(_closed(group), None, words)
    if not all(outlet.group_labels(i.labels) == group.labels for i in group.notified):
        return GroupStep(_closed(group), None, f"{group.key} closed: the receiver or the grouping has changed")
    return _advance(patience(outlet.node, group.key, deliveries), group, members, found, at, stages)


def _recent(node: Node, group: GroupState, at: float) -> bool:
    told_at = group.opened_at if group.notified_at is None else group.notified_at
    return at < told_at + node.repeat_interval_s


def _recall(stages: Stages, outlet: Outlet, group: GroupState, members: Members, found: Sorted) -> GroupState:
    """Return a group with the alerts of its last message, reconstructed: those that fired when it was made."""
    told_at = -math.inf if group.notified_at is None else group.notified_at
    fires = (*members.firing.values(), *(held.instance for held in members.held.values()))
    alive = [i for i in fires if i.fired_at is not None and i.fired_at <= told_at]
    over = [
        i
        for i in found.ended.values()
        if outlet in stages.outlets(i.labels)
        and outlet.key(i.labels) == group.key
        and i.fired_at is not None
        and i.resolved_at is not None
        and i.fired_at <= told_at < i.resolved_at
    ]
    labels = next((outlet.group_labels(i.labels) for i in (*fires, *over)), group.labels)
    return replace(group, labels=labels, notified=(*alive, *over), recalled=True)


def _opened(outlet: Outlet, key: str, old: GroupState | None, members: Members, at: float) -> GroupState:
    # Unix seconds keep generations growing even when the old row has been pruned: message ids never repeat.
    generation = max(int(at), 0 if old is None else old.generation + 1)
    labels = outlet.group_labels(next(iter(members.firing)))
    return GroupState(key, outlet.notifier, labels, generation, sequence=0, is_open=True, opened_at=at)


def _closed(group: GroupState) -> GroupState:
    return replace(group, is_open=False, notified=(), held=(), recalled=True)


def _changes(group: GroupState, members: Members, found: Sorted) -> tuple[set[Labels], set[Labels]]:
    """Return (firing and not in the last message, in the last message and over).

    Alerts that are held back, and those that fire but take another route since the routes changed, are in neither set.
    An alert that was held back and is not any more is in the first one.
    """
    told = {instance.labels: instance for instance in group.notified}
    known = {labels for labels, instance in told.items() if instance.fingerprint not in group.held}
    return members.firing.keys() - known, told.keys() - found.firing


def _advance(
    node: Node, group: GroupState, members: Members, found: Sorted, at: float, stages: Stages
) -> GroupStep | None:
    told = {instance.labels: instance for instance in group.notified}
    new, gone = _changes(group, members, found)
    if not members.firing and not members.held and not gone:
        why = "its alerts take other routes now" if told else "its alerts resolved before the first message"
        return GroupStep(_closed(group), None, f"{group.key} closed: {why}")
    if (members.firing or gone) and at >= due_at(node, group, changed=bool(new or gone)):
        return _sent(node, group, members, found, at, stages)
    return _newly_held(group, members, at, stages)


def _newly_held(group: GroupState, members: Members, at: float, stages: Stages) -> GroupStep | None:
    """Return the step of a group whose alerts a person has just acknowledged or silenced, if there are such.

    The group's message is edited to show the acknowledgement. Nobody is notified, and no wait begins anew.
    """
    news = [one.labels for one in group.notified if one.fingerprint not in group.held]
    held = [one for labels in news if (one := members.held.get(labels)) and any(map(one.by, _BY_PEOPLE))]
    if not held:
        return None
    fingerprints = (*group.held, *(one.instance.fingerprint for one in held))
    sentence = f"{group.key} leaves out {len(held)} alert(s) that are acknowledged or silenced"
    if not any(one.by(Stage.ACKNOWLEDGEMENT) for one in held):
        return GroupStep(replace(group, held=fingerprints), None, sentence)
    told = {instance.labels: instance for instance in group.notified}
    known = {labels: one for labels, one in members.firing.items() if labels in told}
    message = replace(_message(group, members, told, at, stages, known), edit=True)
    return GroupStep(replace(group, sequence=message.sequence, held=fingerprints), message, sentence)


def _message(
    group: GroupState,
    members: Members,
    told: Mapping[Labels, AlertInstance],
    at: float,
    stages: Stages,
    firing: Mapping[Labels, AlertInstance],
    resolved: tuple[AlertInstance, ...] = (),
) -> Message:
    """Return the next message of a group. Acknowledged alerts that were told are in it beside those in `firing`."""
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
    )
    return replace(message, buttons=buttons_of(message)) if group.receiver in stages.interactive else message


def _sent(node: Node, group: GroupState, members: Members, found: Sorted, at: float, stages: Stages) -> GroupStep:
    told = {instance.labels: instance for instance in group.notified}
    new, gone = _changes(group, members, found)
    resolved = tuple(found.ended.get(labels) or _ended(told[labels], at) for labels in sorted(gone))
    message = _message(group, members, told, at, stages, members.firing, resolved)
    firing = tuple(members.firing.values())
    held = tuple(one.instance for labels, one in members.held.items() if labels in told)
    # A group whose other alerts are muted stays open: an alert that is unmuted later updates the group's message.
    state = replace(
        group,
        sequence=message.sequence,
        is_open=bool(firing or members.held),
        notified_at=at,
        notified=(*firing, *held),
        held=tuple(one.fingerprint for one in held),
    )
    return GroupStep(state, message, _sentence(node, group, len(new), len(gone), len(message.firing)))


def due_at(node: Node, group: GroupState, *, changed: bool) -> float:
    """Return the unix second from which an open group may send, if alerts `changed` or if they did not."""
    if group.notified_at is None:
        return group.opened_at + node.group_wait_s
    return group.notified_at + (node.group_interval_s if changed else node.repeat_interval_s)


def _ended(instance: AlertInstance, at: float) -> AlertInstance:
    """Return an alert of the last message as resolved at `at`: its row is gone, so its exact end is not known."""
    return replace(instance, state=AlertState.INACTIVE, resolved_at=at, keep_firing_since=None)


def _sentence(node: Node, group: GroupState, new: int, gone: int, firing: int) -> str:
    if not firing:
        return f"{group.key} resolved"
    if not new and not gone:
        return f"{group.key} repeats {firing} firing alert(s) after {format_duration(node.repeat_interval_s)}"
    return f"{group.key} sends {new} new and {gone} resolved alert(s), {firing} firing"
