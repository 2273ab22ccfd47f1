"""When a group may send its next message. Pure."""

from __future__ import annotations

from dataclasses import replace

from alerts.dispatch.groups import Deliveries, GroupState
from alerts.routing.tree import Node

DEAD_RETRY_S = 15 * 60.0
"""Seconds until a group whose message was given up sends again (chosen: time to replace a token or fix a channel)."""


def patience(node: Node, key: str, deliveries: Deliveries) -> Node:
    """Return the route with an earlier repeat for a group whose last message was given up."""
    if key not in deliveries.dead:
        return node
    return replace(node, repeat_interval_s=min(node.repeat_interval_s, max(node.group_interval_s, DEAD_RETRY_S)))


def due_at(node: Node, group: GroupState, *, changed: bool) -> float:
    """Return the unix second from which an open group may send, if alerts `changed` or if they did not."""
    if group.notified_at is None:
        return group.opened_at + node.group_wait_s
    return group.notified_at + (node.group_interval_s if changed else node.repeat_interval_s)
