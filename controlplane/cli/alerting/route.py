"""The verb `alerts route`: where alerts go, by the running configuration or by an `alertmanager.yml`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controlplane.cli.client import connect
from controlplane.cli.errors import VerdictNegative, WrongUsage
from controlplane.cli.render import clock, emit, say_all


def alerts_route(
    labels: list[tuple[str, str]],
    alertmanager_config: Path | None,
    strict: bool,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Show the routes of an alert with these labels; without labels the whole tree, and what is hardly meant in it.

    A control plane is asked, unless a file is given. Raises WrongUsage for a file that cannot be read, and for a file
    beside a control plane. Raises VerdictNegative for doubts when `strict` is set.
    """
    names = [name for name, _ in labels]
    if twice := [name for name in names if names.count(name) > 1]:
        raise WrongUsage(f"label {twice[0]} is given twice; an alert has one value of each label, so leave one out")
    if alertmanager_config is None:
        with connect(url, context) as client:
            found = client.get("/cp/v1/alerts/route", label=[f"{name}={value}" for name, value in labels])
    elif url is not None or context is not None:
        raise WrongUsage("give either --alertmanager-config or a control plane: a file is read without one")
    else:
        found = _of_file(dict(labels), alertmanager_config)
    emit(found, output, lambda: say_all(_lines(found) if labels else _tree(found, alertmanager_config)))
    if found["warnings"] and strict:
        raise VerdictNegative(f"warnings found: {len(found['warnings'])}")


def _of_file(labels: dict[str, str], file: Path) -> dict[str, Any]:
    from alerts.errors import RuleError
    from alerts.routing.config import read_file
    from alerts.routing.taken import taken, whole

    try:
        routing = read_file(file)
    except RuleError as error:
        raise WrongUsage(str(error)) from error
    now = time.time()
    return taken(routing, routing.root.find(labels), labels, now) if labels else whole(routing, now)


def _lines(content: dict[str, Any]) -> Iterator[str]:
    if not content["routes"]:
        yield "nobody gets it: its severity is none, and no route with matchers takes it"
    for route in content["routes"]:
        yield f"receiver {route['receiver']}, by {route['path']}{_in_line(route)}"
        group = ", ".join(f'{name}="{value}"' for name, value in route["group"].items())
        yield f"  group {{{group}}}: waits {route['group_wait']}, changes each {route['group_interval']}, " + (
            f"repeats each {route['repeat_interval']}"
        )
        if route["held_back"]:
            yield f"  sends nothing now: {route['held_back']}"
        yield from _sends(route)
    for rule in content["inhibited_by"]:
        source = ",".join(rule["source"])
        same = ", ".join(f'{name}="{value}"' for name, value in rule["equal"].items())
        place = f" (inhibit_rules, line {rule['line']})" if rule["line"] else ""
        yield f"held back while an alert {{{source}}} fires" + (f" with {same}" if same else "") + place
    for one in content.get("silenced_by", ()):  # a file has no silences
        until = clock(one["ends_at"])
        yield f"held back by the silence {one['id']} of {one['created_by']} until {until}: {one['comment']}"


def _in_line(route: dict[str, Any]) -> str:
    return f" in line {route['line']}" if route["line"] else ""


def _sends(route: dict[str, Any]) -> Iterator[str]:
    """Yield where a route sends. A file alone says only to which receivers it escalates."""
    for one in route["sends_to"]:
        after = f", {one['after']} after the group opened" if one["after"] else ""
        people = f" ({', '.join(one['on_call'])})" if one["on_call"] else ""
        held = f": not now, because {one['held_back']}" if one["held_back"] else ""
        yield f"  sends to {one['notifier']}{people}{after}{held}"
    for step in () if route["sends_to"] else route["escalation"]:
        yield f"  sends to {step['receiver']}, {step['after']} after the group opened"


def _tree(content: dict[str, Any], file: Path | None) -> Iterator[str]:
    for route in content["routes"]:
        depth = route["path"].count("routes[")
        goes_on = ", continue" if route["continue"] else ""
        yield "  " * depth + f"{{{','.join(route['matchers'])}}} → {route['receiver']}{goes_on}"
    for doubt in content["warnings"]:
        place = f"{file}:{doubt['line']}: " if file else ""
        yield f"{place}warning: {doubt['sentence']}"
