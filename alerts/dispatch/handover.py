"""Opens groups, and hands alerts over from a group that drops them to one that goes on telling of them. Pure.

A group drops alerts of its last message that still fire when its storm is over, or when the routes have changed. Its
receiver takes them for firing. The group in which such an alert is from then on has it as one that was told and is held
back: it is news there, and should it end before its first message, that message says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from alerts.dispatch.groups import GroupState, GroupStep, Picture
from alerts.dispatch.routing import Members, Outlet, Sorted, Stages
from alerts.interfaces import AlertInstance

WORK_S = 2.0
"""A group opens with its first alert, if that began less than this many seconds ago. Chosen: writing ten thousand
alerts takes one. An alert that was held back until now began long ago, and its group waits for others from now on."""


def opened(outlet: Outlet, key: str, old: GroupState | None, members: Members, at: float) -> GroupState:
    """Return a group that opens. `old`: the closed group of that name, if it is kept."""
    # Unix seconds keep generations growing even when the old row has been pruned: message ids never repeat.
    generation = max(int(at), 0 if old is None else old.generation + 1)
    labels = outlet.group_labels(next(iter(members.firing or members.held)))
    # `group_wait` counts from the alert, and not from the end of the work that thousands of alerts make.
    first = min((one.fired_at for one in members.firing.values() if one.fired_at is not None), default=at)
    opened_at = first if at - WORK_S < first < at else at
    return GroupState(key, outlet.notifier, labels, generation, sequence=0, is_open=True, opened_at=opened_at)


def closed(group: GroupState) -> GroupState:
    """Return a group that closes."""
    return replace(group, is_open=False, notified=(), held=(), flaps=(), recalled=True)


def hand_over(
    stages: Stages, picture: Picture, found: Sorted, steps: Sequence[GroupStep], at: float
) -> Sequence[GroupStep]:
    """Return the steps of a decision with those that take alerts over, in the order of their keys."""
    taken: dict[str, list[AlertInstance]] = {}
    after = {step.state.key: step for step in steps}
    for step in steps:
        before = picture.groups.get(step.state.key)
        if before is None or not before.is_open or step.state.notified == before.notified:
            continue
        left = {one.labels: one for one in before.notified if one.labels in found.firing}
        for labels in left.keys() - {one.labels for one in step.state.notified}:
            if target := _target(stages, picture, found, after, before, left[labels]):
                taken.setdefault(target, []).append(left[labels])
    for key, alerts in taken.items():
        after[key] = _taking(picture, found, after, key, alerts, at)
    return [after[key] for key in sorted(after)]


def _state(picture: Picture, after: Mapping[str, GroupStep], key: str) -> GroupState | None:
    return after[key].state if key in after else picture.groups.get(key)


def _target(
    stages: Stages,
    picture: Picture,
    found: Sorted,
    after: Mapping[str, GroupStep],
    source: GroupState,
    alert: AlertInstance,
) -> str:
    """Return the key of the group that takes an alert over; "": one has told of it already, or none has it."""
    home = found.members(source.key).outlet
    after_s = home.after_s if home else 0.0
    keys = []
    for outlet, own in stages.places(alert.labels):
        if outlet.notifier != source.receiver:
            continue
        key = found.members(own).folded.get(alert.labels, own)
        state = _state(picture, after, key)
        if state is not None and state.is_open and any(one.labels == alert.labels for one in state.notified):
            return ""
        members = found.members(key)
        if alert.labels in members.firing or alert.labels in members.held:
            keys.append((outlet.after_s != after_s, key))
    return min(keys, default=(False, ""))[1]


def _taking(
    picture: Picture,
    found: Sorted,
    after: Mapping[str, GroupStep],
    key: str,
    alerts: Sequence[AlertInstance],
    at: float,
) -> GroupStep:
    members, state = found.members(key), _state(picture, after, key)
    if state is None or not state.is_open:
        assert members.outlet is not None  # a group with members has one
        state = opened(members.outlet, key, state, members, at)
    fingerprints = tuple(one.fingerprint for one in alerts)
    state = replace(state, notified=(*state.notified, *alerts), held=(*state.held, *fingerprints))
    if key in after:
        return after[key]._replace(state=state)
    return GroupStep(state, None, f"{key} takes over {len(alerts)} alert(s) that its receiver knows")
