"""The verb `alerts route`: it shows where an `alertmanager.yml` sends alerts, without a running control plane."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlplane.cli.errors import VerdictNegative, WrongUsage
from controlplane.cli.render import emit, say, say_all

if TYPE_CHECKING:
    from alerts.routing.doubts import Doubt
    from alerts.routing.tree import Node, Routing


def alerts_route(labels: list[tuple[str, str]], alertmanager_config: Path, strict: bool, output: str) -> None:
    """Show the routes of an alert with these labels; without labels the whole tree, and what is hardly meant in it.

    Raises WrongUsage for a file that cannot be read. Raises VerdictNegative for doubts when `strict` is set.
    """
    from alerts.errors import RuleError
    from alerts.routing.config import read_file
    from alerts.routing.doubts import doubts

    try:
        routing = read_file(alertmanager_config)
    except RuleError as error:
        raise WrongUsage(str(error)) from error
    if labels:
        content = _taken(routing, dict(labels), time.time())
        emit(content, output, lambda: say_all(_taken_lines(content)))
        return
    found = doubts(routing)
    emit(_whole(routing, found), output, lambda: _say_tree(routing, found, alertmanager_config))
    if found and strict:
        raise VerdictNegative(f"warnings found: {len(found)}")


def _taken(routing: Routing, labels: dict[str, str], at: float) -> dict[str, Any]:
    return {
        "labels": labels,
        "routes": [
            {**_content(node), "group": _group(node, labels), "held_back": routing.held_back(node, at)}
            for node in routing.root.find(labels)
        ],
        "inhibited_by": [
            {"line": rule.line, "source": [str(one) for one in rule.source], "equal": _equal(rule.equal, labels)}
            for rule in routing.inhibit_rules
            if rule.holds(labels)
        ],
    }


def _equal(names: tuple[str, ...], labels: dict[str, str]) -> dict[str, str]:
    return {name: labels.get(name, "") for name in names}


def _group(node: Node, labels: dict[str, str]) -> dict[str, str]:
    """Return the labels of the alert's group."""
    return {name: value for name, value in sorted(labels.items()) if node.each_alert or name in node.group_by}


def _content(node: Node) -> dict[str, Any]:
    from alerts.routing.written import settings_of

    return {"path": node.path, "line": node.line, **settings_of(node)}


def _whole(routing: Routing, found: list[Doubt]) -> dict[str, Any]:
    return {
        "routes": [_content(node) for node in routing.root.walk()],
        "warnings": [{"line": doubt.line, "sentence": doubt.sentence} for doubt in found],
    }


def _taken_lines(content: dict[str, Any]) -> Iterator[str]:
    for route in content["routes"]:
        yield f"receiver {route['receiver']}, by {route['path']} in line {route['line']}"
        group = ", ".join(f'{name}="{value}"' for name, value in route["group"].items())
        yield f"  group {{{group}}}: waits {route['group_wait']}, changes each {route['group_interval']}, " + (
            f"repeats each {route['repeat_interval']}"
        )
        if route["held_back"]:
            yield f"  sends nothing now: {route['held_back']}"
    for rule in content["inhibited_by"]:
        source = ",".join(rule["source"])
        same = ", ".join(f'{name}="{value}"' for name, value in rule["equal"].items())
        yield (
            f"held back while an alert {{{source}}} fires"
            + (f" with {same}" if same else "")
            + (f" (inhibit_rules, line {rule['line']})")
        )


def _say_tree(routing: Routing, found: list[Doubt], file: Path) -> None:
    for node in routing.root.walk():
        depth = node.path.count("routes[")
        matchers = ",".join(str(matcher) for matcher in node.matchers)
        goes_on = ", continue" if node.goes_on else ""
        say("  " * depth + f"{{{matchers}}} → {node.receiver}{goes_on}")
    for doubt in found:
        say(f"{file}:{doubt.line}: warning: {doubt.sentence}")
