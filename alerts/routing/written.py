"""The settings of a route, as an `alertmanager.yml` has them."""

from __future__ import annotations

from typing import Any

from alerts.routing.tree import Node
from collectors.durations import format_duration


def settings_of(node: Node) -> dict[str, Any]:
    """Return the fields of a route with those that it takes over, without the routes below it."""
    return {
        "receiver": node.receiver,
        "group_by": list(node.group_by),
        "matchers": [str(matcher) for matcher in node.matchers],
        "group_wait": format_duration(node.group_wait_s),
        "group_interval": format_duration(node.group_interval_s),
        "repeat_interval": format_duration(node.repeat_interval_s),
        "continue": node.goes_on,
        "mute_time_intervals": list(node.mute_intervals),
        "active_time_intervals": list(node.active_intervals),
    }
