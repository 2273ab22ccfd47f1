"""The way of an alert with given labels through the routes, as JSON content. Pure.

`cp alerts route` of a file and the API of a running control plane show the same content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alerts.routing.doubts import doubts
from alerts.routing.tree import InhibitRule, Node, Routing
from alerts.routing.written import settings_of
from collectors.durations import format_duration


def taken(
    routing: Routing,
    nodes: Sequence[Node],
    labels: Mapping[str, str],
    at: float,
    sends: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the routes that an alert takes at unix second `at`, and what can hold it back.

    `nodes`: those routes. `sends`: where each of them sends, by its path; a file alone does not say.
    """
    return {
        "labels": dict(labels),
        "routes": [_route(routing, node, labels, at, sends or {}) for node in nodes],
        "inhibited_by": list(_inhibitions(routing.inhibit_rules, labels)),
        "warnings": [],
    }


def whole(routing: Routing, at: float, sends: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return all routes, in the order of the file, and what is hardly meant in them."""
    return {
        "labels": {},
        "routes": [_route(routing, node, {}, at, sends or {}) for node in routing.root.walk()],
        "inhibited_by": [],
        "warnings": [{"line": doubt.line, "sentence": doubt.sentence} for doubt in doubts(routing)],
    }


def _route(
    routing: Routing, node: Node, labels: Mapping[str, str], at: float, sends: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "path": node.path,
        "line": node.line,
        **settings_of(node),
        "escalation": [{"after": format_duration(one.after_s), "receiver": one.receiver} for one in node.escalation],
        "group": {name: value for name, value in sorted(labels.items()) if node.each_alert or name in node.group_by},
        "held_back": routing.held_back(node, at),
        "sends_to": sends.get(node.path, []),
    }


def _inhibitions(rules: Sequence[InhibitRule], labels: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    for rule in rules:
        if rule.holds(labels):
            equal = {name: labels.get(name, "") for name in rule.equal}
            yield {"line": rule.line, "source": [str(one) for one in rule.source], "equal": equal}
