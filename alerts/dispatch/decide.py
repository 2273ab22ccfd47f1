"""Compares each group of alerts with its last message, and decides whether to send the next one. Pure.

A group opens with its first firing alert. It sends its first message after `group_wait`, so that alerts that fire
together share a message. It sends changes (an alert fired or resolved) once `group_interval` has passed since the last
message. It repeats an unchanged message after `repeat_interval`. When all its alerts have resolved, it sends that and
closes. A muted alert is reported neither as firing nor as resolved; one that was in an earlier message and ends is
reported as resolved all the same. An acknowledged alert that was in an earlier message stays in the group's messages,
marked: its receivers must not take it for resolved. It causes no message. When its acknowledgement or its silence ends
while it fires, it is news again.

Routes change with the configuration. An alert of the last message that takes another route now is told there, and its
receiver is told of its end in any case: by the group that takes it over (handover.py), or, where no route leads to that
receiver any more, by the group that told of it.

That an alert began to flap is news, and so is that it has settled (flapping.py). In between the message is edited to
show how often it changed.

While a message of a group is underway, nothing is decided for the group. The next message then holds the newest state,
so an outage of the receiver ends in one message and not in a flood. A message that was given up (a wrong token) is
sent anew after 15 minutes. The alerts of the last message are stored with the group, so neither a crash nor a pause
loses a resolved notice.
"""

from __future__ import annotations

import math
from dataclasses import replace

from alerts.dispatch.flapping import began, recounted_at, settled, told_flaps
from alerts.dispatch.groups import Deliveries, GroupState, GroupStep, Picture, ToldFlap
from alerts.dispatch.handover import closed, hand_over, opened
from alerts.dispatch.messages import ends, message_of
from alerts.dispatch.muting import Stage, next_change
from alerts.dispatch.routing import Members, Outlet, Sorted, Stages
from alerts.dispatch.storms import sort_with_storms, storm_of
from alerts.dispatch.timing import due_at, patience
from alerts.dispatch.winding_up import outlet_of, stranded, wind_up, wound_up_at
from alerts.interfaces import Flap
from alerts.routing.tree import Node
from collectors.durations import format_duration
from collectors.samples import Labels

_BY_PEOPLE = (Stage.ACKNOWLEDGEMENT, Stage.SILENCE)


def decide(stages: Stages, picture: Picture, at: float) -> tuple[GroupStep, ...]:
    """Return the groups that change at unix second `at`, in the order of their keys."""
    return _decided(stages, picture, sort_with_storms(stages, picture, at), at)


def decide_and_rest(
    stages: Stages, picture: Picture, at: float, found: Sorted | None = None
) -> tuple[tuple[GroupStep, ...], float]:
    """Return what `decide` returns, and what `next_due` returns after it. `found`: the alerts, if they are sorted."""
    found = found or sort_with_storms(stages, picture, at)
    steps = _decided(stages, picture, found, at)
    return steps, at if steps else _rests_until(stages, picture, found, at)


def next_due(stages: Stages, picture: Picture, at: float, found: Sorted | None = None) -> float:
    """Return the unix second before which `decide` has nothing to do, provided that no alert changes.

    Return `at` (decide at every tick) while a message is underway or given up.
    """
    return _rests_until(stages, picture, found or sort_with_storms(stages, picture, at), at)


def _decided(stages: Stages, picture: Picture, found: Sorted, at: float) -> tuple[GroupStep, ...]:
    groups = picture.groups
    steps = []
    # A group whose alerts are all muted from the start is not opened: nobody was notified of it.
    opening = {key for key, members in found.groups.items() if members.opens}
    for key in sorted(opening | {key for key, group in groups.items() if group.is_open}):
        if key in picture.deliveries.underway:
            continue
        members = found.members(key)
        group = groups.get(key)
        if members.outlet is not None and (group is None or not group.is_open):
            group = opened(members.outlet, key, group, members, at)
            first = GroupStep(group, None, f"{key} opened with {len(members.firing)} alert(s)")
            advanced = _advance(members.outlet.node, group, members, found, at, stages)
            steps.append(advanced or first)
        elif group is not None and (step := _go_on(stages, group, members, found, picture.deliveries, at)):
            steps.append(step)
    steps = [_completed(stages, picture, found, step, at) for step in steps]
    return tuple(hand_over(stages, picture, found, steps, at))


def _completed(stages: Stages, picture: Picture, found: Sorted, step: GroupStep, at: float) -> GroupStep:
    """Return a step whose message names the cause of a storm, the step of an escalation, and who is on call."""
    message, key = step.message, step.state.key
    if message is None:
        return step
    members = found.members(key)
    message = storm_of(stages, picture, members, message, step.state.opened_at)
    outlet = members.outlet or stages.outlet_of(key)
    if outlet is None or not (outlet.step or outlet.duty):
        return step._replace(message=message)
    if message.firing:
        escalated = stages.escalated(outlet, message.group_labels, picture.groups)
        return step._replace(message=replace(message, escalated=escalated, on_call=stages.on_call(outlet, at)))
    # The end goes to those who were on call when the alert was sent, too.
    before = picture.groups.get(key) or step.state
    told = (before.opened_at, before.opened_at if before.notified_at is None else before.notified_at)
    return step._replace(message=replace(message, on_call=stages.on_call(outlet, at, *told)))


def _rests_until(stages: Stages, picture: Picture, found: Sorted, at: float) -> float:
    if picture.deliveries.underway or picture.deliveries.dead:
        return at
    due = [next_change(stages.routing, picture.holds, at), stages.next_turn(at), found.settles_at]
    for key, group in picture.groups.items():
        if not group.is_open:
            continue
        members = found.members(key)
        if not group.recalled:
            return at
        outlet = outlet_of(stages, group, members)
        new, gone = _changes(group, members, found)
        if outlet is None:
            due.append(wound_up_at(stages, group, found, any_gone=bool(gone)))
            continue
        if members.firing or gone or members.rest:
            changed = bool(new or gone or members.rest) or flaps_changed(group, members)
            due.append(due_at(outlet.node, group, changed=changed))
        if members.flaps:
            due.append(recounted_at(group, _shown_flaps(members), outlet.node.group_interval_s))
    return min(due)


def flaps_changed(group: GroupState, members: Members) -> bool:
    """Return whether one of a group's firing alerts began to flap, or has settled, since its last message."""
    if not members.flaps and not group.flaps:
        return False
    return bool(began(group, members.flaps, members.firing) or settled(group, members.flaps, members.firing))


def _go_on(
    stages: Stages, group: GroupState, members: Members, found: Sorted, deliveries: Deliveries, at: float
) -> GroupStep | None:
    """Return how an open group changes, if it does."""
    outlet = outlet_of(stages, group, members)
    if outlet is None:
        return wind_up(stages, group, found, at, is_dead=group.key in deliveries.dead)
    if not group.recalled:
        group = _recall(stages, outlet, group, members, found)
        if not members.firing and not group.notified:
            # Not "resolved": an alert that was read anew may still be pending.
            words = f"{group.key} closed: its last message cannot be read, and none of its alerts fires"
            return None if _recent(outlet.node, group, at) else GroupStep(closed(group), None, words)
        if not all(outlet.group_labels(i.labels) == group.labels for i in group.notified):
            return wind_up(stages, group, found, at)
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
    over = bool(told and members.rest)
    if not members.firing and not members.held and not gone and not over:
        if told:
            return wind_up(stages, group, found, at)
        why = "its alerts resolved before the first message"
        if members.folded:
            why = f"its alerts are in the message of {next(iter(members.folded.values()))}"
        return GroupStep(closed(group), None, f"{group.key} closed: {why}")
    changed = bool(new or gone or over) or flaps_changed(group, members)
    if (members.firing or gone or over) and at >= due_at(node, group, changed=changed):
        return _sent(node, group, members, found, at, stages)
    return _newly_held(group, members, at, stages) or _recounted(node, group, members, at, stages)


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
    message = replace(message_of(group, members, told, at, stages, known), edit=True)
    return GroupStep(replace(group, sequence=message.sequence, held=fingerprints), message, sentence)


def _recounted(node: Node, group: GroupState, members: Members, at: float, stages: Stages) -> GroupStep | None:
    """Return the step that edits a group's message to show how often its flapping alerts have changed by now."""
    if not group.flaps or at < recounted_at(group, _shown_flaps(members), node.group_interval_s):
        return None
    told = {instance.labels: instance for instance in group.notified}
    known = {labels: one for labels, one in members.firing.items() if labels in told}
    message = replace(message_of(group, members, told, at, stages, known), edit=True)
    told_before = {flap.fingerprint for flap in group.flaps}
    flaps = told_flaps((flap for flap in message.flaps if flap.fingerprint in told_before), at)
    state = replace(group, sequence=message.sequence, flaps=(*flaps, *_hidden_flaps(group, members)))
    return GroupStep(state, message, f"{group.key} shows how often {len(flaps)} alert(s) flapped")


def _shown_flaps(members: Members) -> dict[Labels, Flap]:
    """Return the flapping alerts that a group's message shows: of those that are held back, the acknowledged ones."""
    held = {labels for labels, one in members.held.items() if not one.by(Stage.ACKNOWLEDGEMENT)}
    return {labels: flap for labels, flap in members.flaps.items() if labels not in held}


def _hidden_flaps(group: GroupState, members: Members) -> tuple[ToldFlap, ...]:
    """Return what was told of the flapping alerts that messages leave out now: they flap until they have settled."""
    flapping = {flap.fingerprint for flap in members.flaps.values()}
    shown = {flap.fingerprint for flap in _shown_flaps(members).values()}
    return tuple(flap for flap in group.flaps if flap.fingerprint in flapping - shown)


def _sent(node: Node, group: GroupState, members: Members, found: Sorted, at: float, stages: Stages) -> GroupStep:
    told = {instance.labels: instance for instance in group.notified}
    new, gone = _changes(group, members, found)
    resolved = ends(found, told, gone, at)
    steady = _steady(stages, group, members)
    left = stranded(stages, group, found)
    message = message_of(group, members, told, at, stages, {**members.firing, **left}, resolved, steady)
    firing = (*members.firing.values(), *left.values())
    held = tuple(one.instance for labels, one in members.held.items() if labels in told)
    # A group whose other alerts are muted stays open: an alert that is unmuted later updates the group's message.
    state = replace(
        group,
        sequence=message.sequence,
        is_open=bool(firing or members.held),
        notified_at=at,
        notified=(*firing, *held),
        held=tuple(one.fingerprint for one in held),
        flaps=(*told_flaps(message.flaps, at), *_hidden_flaps(group, members)),
    )
    if members.rest:
        return GroupStep(state, message, f"{group.key} is over; {members.rest} alert(s) go back to their groups")
    if not new and not gone and flaps_changed(group, members):
        told_of = began(group, members.flaps, members.firing)
        return GroupStep(
            state, message, f"{group.key} tells of {len(told_of)} flapping and {len(steady)} settled alert(s)"
        )
    return GroupStep(state, message, _sentence(node, group, len(new), len(gone), len(message.firing)))


def _steady(stages: Stages, group: GroupState, members: Members) -> tuple[Flap, ...]:
    """Return the firing alerts that the group's last message called flapping and that have settled."""
    flapping = stages.routing.flapping
    quiet_s = 0.0 if flapping is None else flapping.settled_after_s
    found = settled(group, members.flaps, members.firing)
    return tuple(Flap(one.fingerprint, 0, quiet_s, one.fired_at or one.active_at) for one in found)


def _sentence(node: Node, group: GroupState, new: int, gone: int, firing: int) -> str:
    if not firing:
        return f"{group.key} resolved"
    if not new and not gone:
        return f"{group.key} repeats {firing} firing alert(s) after {format_duration(node.repeat_interval_s)}"
    return f"{group.key} sends {new} new and {gone} resolved alert(s), {firing} firing"
