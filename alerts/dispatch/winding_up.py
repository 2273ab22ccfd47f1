"""Ends groups whose alerts take other routes since the configuration has changed. Pure.

Such a group tells nothing new. It ends the alerts of its last message that are over. Of those that fire, the ones that
still have a route to its receiver are handed over to their new groups (handover.py), and its last message says so: it
ends the incident that nobody else would end. The others stay until they end, and so do those that are held back in
their new group: an incident must not end while an acknowledged alert of it fires. Who was told that an alert fires is
told that it has ended, as long as the receiver is configured.
"""

from __future__ import annotations

import math
from dataclasses import replace

from alerts.dispatch.groups import GroupState, GroupStep
from alerts.dispatch.handover import closed
from alerts.dispatch.messages import ends, message_of
from alerts.dispatch.routing import Members, Outlet, Sorted, Stages
from alerts.dispatch.timing import due_at
from alerts.interfaces import AlertInstance
from collectors.samples import Labels


def outlet_of(stages: Stages, group: GroupState, members: Members) -> Outlet | None:
    """Return the outlet of a group; None: its route or its notifier is gone, or alerts are grouped by other labels."""
    outlet = members.outlet or stages.outlet_of(group.key)
    if outlet is None or all(outlet.group_labels(i.labels) == group.labels for i in group.notified):
        return outlet
    return None


def stranded(stages: Stages, group: GroupState, found: Sorted) -> dict[Labels, AlertInstance]:
    """Return the alerts of a group's last message that fire and that no other group tells its receiver of."""
    return {
        one.labels: one for one in group.notified if one.labels in found.firing and _stays(stages, group, found, one)
    }


def _stays(stages: Stages, group: GroupState, found: Sorted, alert: AlertInstance) -> bool:
    keys = [key for outlet, key in stages.places(alert.labels) if outlet.notifier == group.receiver]
    return all(key != group.key and alert.labels in found.members(key).held for key in keys)


def wound_up_at(stages: Stages, group: GroupState, found: Sorted, *, any_gone: bool) -> float:
    """Return the unix second from which `wind_up` has something to do."""
    if any_gone:
        outlet = stages.outlet_of(group.key)
        return due_at(stages.routing.root if outlet is None else outlet.node, group, changed=True)
    return math.inf if 0 < len(group.notified) == len(stranded(stages, group, found)) else -math.inf


def wind_up(stages: Stages, group: GroupState, found: Sorted, at: float, *, is_dead: bool = False) -> GroupStep | None:
    """Return how a group changes whose alerts take other routes now, if it does.

    It ends the alerts that are over. Those that fire are handed over, or stay until they end. `is_dead`: its last
    message was given up, so that every other receiver has it. They are told of the end, also when the group's own
    receiver is gone: the message of the end is given up, too, and passed on as the one before.
    """
    words = f"{group.key} closed: the receiver or the grouping has changed"
    if not is_dead and all(group.receiver not in names for names in stages.notifiers.values()):
        return GroupStep(closed(group), None, words)
    told = {instance.labels: instance for instance in group.notified}
    gone, kept = told.keys() - found.firing, stranded(stages, group, found)
    if at < wound_up_at(stages, group, found, any_gone=bool(gone)):
        return None
    left = tuple(one.fingerprint for one in kept.values() if one.fingerprint in group.held)
    state = replace(group, notified=tuple(kept.values()), held=left, flaps=()) if kept else closed(group)
    moved = len(told) - len(gone) - len(kept)
    if not gone and (kept or not moved):
        return GroupStep(state, None, f"{group.key} keeps {len(kept)} alert(s) without a route" if kept else words)
    message = message_of(group, Members(), told, at, stages, kept, ends(found, told, gone, at))
    message = replace(message, moved=0 if kept else moved)
    if gone:
        words = f"{group.key} sends {len(gone)} resolved alert(s) whose route has changed, {len(kept)} firing"
    return GroupStep(replace(state, sequence=message.sequence, notified_at=at), message, words)
