"""Compares each group of alerts with its last message, and decides whether to send the next one. Pure.

A group opens with its first firing alert. It sends its first message after `group_wait`, so that alerts that fire
together share a message. It sends changes (an alert fired or resolved) once `group_interval` has passed since the last
message. It repeats an unchanged message after `repeat_interval`. When all its alerts have resolved, it sends that and
closes. A muted alert is reported neither as firing nor as resolved.

While a message of a group is underway, nothing is decided for the group. The next message then holds the newest state,
so an outage of the receiver ends in one message and not in a flood. A message that was given up (a wrong token) is
sent anew after 15 minutes. The alerts of the last message are stored with the group, so neither a crash nor a pause
loses a resolved notice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from alerts.dispatch.groups import Deliveries, GroupState, GroupStep
from alerts.dispatch.muting import Muting, NobodyMuted
from alerts.dispatch.routing import Members, Route, Sorted, group_key, group_labels, sort
from alerts.interfaces import AlertInstance, AlertState, Message
from collectors.durations import format_duration
from collectors.samples import Labels

DEAD_RETRY_S = 15 * 60.0
"""Seconds until a group whose message was given up sends again (chosen: time to replace a token or fix a channel)."""


@dataclass(frozen=True)
class Stages:
    """The stages between an alert and its notification: route, mute, group."""

    route: Route
    console_url: str
    """Address of the control plane for people. Messages link to it."""
    muting: Muting = field(default_factory=NobodyMuted)


def decide(
    stages: Stages,
    instances: Iterable[AlertInstance],
    groups: Mapping[str, GroupState],
    deliveries: Deliveries,
    at: float,
) -> tuple[GroupStep, ...]:
    """Return the groups that change at unix second `at`, in the order of their keys."""
    route = stages.route
    found = sort(route, stages.muting, instances, at)
    steps = []
    # A group whose alerts are all muted from the start is not opened: nobody was notified of it.
    opening = {key for key, members in found.groups.items() if members.firing}
    for key in sorted(opening | {key for key, group in groups.items() if group.is_open}):
        if key in deliveries.underway:
            continue
        members = found.members(key)
        group = groups.get(key)
        if group is None or not group.is_open:
            group = _opened(route, key, group, members, at)
            opened = GroupStep(group, None, f"{key} opened with {len(members.firing)} alert(s)")
            steps.append(_advance(route, group, members, found, at, stages.console_url) or opened)
        elif step := _go_on(stages, group, members, found, deliveries, at):
            steps.append(step)
    return tuple(steps)


def next_due(
    stages: Stages,
    instances: Iterable[AlertInstance],
    groups: Mapping[str, GroupState],
    deliveries: Deliveries,
    at: float,
    steps: Sequence[GroupStep],
) -> float:
    """Return the unix second before which `decide` has nothing to do, provided that no alert changes.

    Return `at` (decide at every tick) right after a step, and while a message is underway or given up.
    """
    if steps or deliveries.underway or deliveries.dead:
        return at
    found = sort(stages.route, stages.muting, instances, at)
    due = [stages.muting.changes_at(at)]
    for key, group in groups.items():
        if group.is_open and not group.recalled:
            return at
        if group.is_open:
            members = found.members(key)
            new, gone = _changes(group, members)
            if members.firing or gone:
                due.append(_due(stages.route, group, changed=bool(new or gone)))
    return min(due)


def _patience(route: Route, key: str, deliveries: Deliveries) -> Route:
    """Return the route with an earlier repeat for a group whose last message was given up."""
    if key not in deliveries.dead:
        return route
    return replace(route, repeat_interval_s=min(route.repeat_interval_s, max(route.group_interval_s, DEAD_RETRY_S)))


def _go_on(
    stages: Stages, group: GroupState, members: Members, found: Sorted, deliveries: Deliveries, at: float
) -> GroupStep | None:
    """Return how an open group changes, if it does."""
    route = stages.route
    if not group.recalled:
        group = _recall(route, group, members, found)
        if not members.firing and not group.notified:
            # Not "resolved": an alert that was read anew may still be pending.
            words = f"{group.key} closed: its last message cannot be read, and none of its alerts fires"
            return None if _recent(route, group, at) else GroupStep(_closed(group), None, words)
    if group.receiver != route.receiver or not _belongs(route, group):
        return GroupStep(_closed(group), None, f"{group.key} closed: the receiver or the grouping has changed")
    return _advance(_patience(route, group.key, deliveries), group, members, found, at, stages.console_url)


def _recent(route: Route, group: GroupState, at: float) -> bool:
    told_at = group.opened_at if group.notified_at is None else group.notified_at
    return at < told_at + route.repeat_interval_s


def _recall(route: Route, group: GroupState, members: Members, found: Sorted) -> GroupState:
    """Return a group with the alerts of its last message, reconstructed: those that fired when it was made."""
    told_at = -math.inf if group.notified_at is None else group.notified_at
    fires = (*members.firing.values(), *members.muted.values())
    alive = [i for i in fires if i.fired_at is not None and i.fired_at <= told_at]
    over = [
        i
        for i in found.ended.values()
        if group_key(route.receiver, group_labels(route, i.labels)) == group.key
        and i.fired_at is not None
        and i.resolved_at is not None
        and i.fired_at <= told_at < i.resolved_at
    ]
    labels = next((group_labels(route, i.labels) for i in (*fires, *over)), group.labels)
    return replace(group, labels=labels, notified=(*alive, *over), recalled=True)


def _belongs(route: Route, group: GroupState) -> bool:
    return all(group_labels(route, i.labels) == group.labels for i in group.notified)


def _opened(route: Route, key: str, old: GroupState | None, members: Members, at: float) -> GroupState:
    # Unix seconds keep generations growing even when the old row has been pruned: message ids never repeat.
    generation = max(int(at), 0 if old is None else old.generation + 1)
    labels = group_labels(route, next(iter(members.firing)))
    return GroupState(key, route.receiver, labels, generation, sequence=0, is_open=True, opened_at=at)


def _closed(group: GroupState) -> GroupState:
    return replace(group, is_open=False, notified=(), recalled=True)


def _changes(group: GroupState, members: Members) -> tuple[set[Labels], set[Labels]]:
    """Return (firing and not in the last message, in the last message and over). Muted alerts are in neither set."""
    told = {instance.labels for instance in group.notified}
    return members.firing.keys() - told, told - members.firing.keys() - members.muted.keys()


def _advance(
    route: Route, group: GroupState, members: Members, found: Sorted, at: float, console_url: str
) -> GroupStep | None:
    told = {instance.labels: instance for instance in group.notified}
    new, gone = _changes(group, members)
    if not members.firing and not members.muted and not told:
        return GroupStep(_closed(group), None, f"{group.key} closed: its alerts resolved before the first message")
    if not members.firing and not gone:
        return None  # all that is left is muted
    if at < _due(route, group, changed=bool(new or gone)):
        return None
    resolved = tuple(found.ended.get(labels) or _ended(told[labels], at) for labels in sorted(gone))
    firing = tuple(members.firing.values())
    message = Message(
        group_key=group.key,
        receiver=group.receiver,
        status="firing" if firing else "resolved",
        group_labels=group.labels,
        firing=firing,
        resolved=resolved,
        sequence=group.sequence + 1,
        generation=group.generation,
        console_url=console_url,
        sent_at=datetime.fromtimestamp(at, UTC),
    )
    # A group whose other alerts are muted stays open: an alert that is unmuted later updates the group's message.
    is_open = bool(firing or members.muted)
    state = replace(group, sequence=message.sequence, is_open=is_open, notified_at=at, notified=firing)
    return GroupStep(state, message, _sentence(route, group, len(new), len(gone), len(firing)))


def _due(route: Route, group: GroupState, *, changed: bool) -> float:
    if group.notified_at is None:
        return group.opened_at + route.group_wait_s
    return group.notified_at + (route.group_interval_s if changed else route.repeat_interval_s)


def _ended(instance: AlertInstance, at: float) -> AlertInstance:
    """Return an alert of the last message as resolved at `at`: its row is gone, so its exact end is not known."""
    return replace(instance, state=AlertState.INACTIVE, resolved_at=at, keep_firing_since=None)


def _sentence(route: Route, group: GroupState, new: int, gone: int, firing: int) -> str:
    if not firing:
        return f"{group.key} resolved"
    if not new and not gone:
        return f"{group.key} repeats {firing} firing alert(s) after {format_duration(route.repeat_interval_s)}"
    return f"{group.key} sends {new} new and {gone} resolved alert(s), {firing} firing"
