"""Verbs that start a rollout: promote, rollback."""

from __future__ import annotations

import sys
from typing import Any

from controlplane.cli.client import ApiClient, announce, connect, quoted
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import TABLE, emit, say, tell
from controlplane.cli.rollouts.follow import follow

Field = tuple[tuple[str, ...], Any]
"""A field of the `rollout:` section: its path and its value."""


def promote(
    model: str,
    version: str,
    strategy: str | None,
    steps: str | None,
    minimum_requests: int | None,
    failures: int | None,
    interval: str | None,
    report_only: list[str] | None,
    deadline: str | None,
    approvals: int | None,
    rollback_window: str | None,
    option: list[Field] | None,
    allow_downtime: bool,
    override_freeze: str | None,
    attest: list[tuple[str, str]] | None,
    full: bool,
    dry_run: bool,
    no_watch: bool,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Switch MODEL to VERSION. Return once that version serves and is verified."""
    analysis = {
        "minimum_requests": minimum_requests,
        "failures": failures,
        "interval": interval,
        "dry_run": report_only,
    }
    options: dict[str, Any] = {
        "steps": steps,
        "deadline": deadline,
        "approvals": [{"at": "full", "count": approvals}] if approvals else None if approvals is None else [],
        "rollback_window": rollback_window,
        "analysis": given(analysis) or None,
    }
    body = {
        "model": model,
        "version": version,
        "strategy": strategy,
        "rollout": with_fields(given(options), option or []) or None,
        "allow_downtime": allow_downtime,
        "override_freeze": override_freeze,
        "attest": dict(attest or []) or None,
        "full": full,
        "dry_run": dry_run,
    }
    with connect(url, context) as client:
        begin(client, "/cp/v1/rollouts", given(body), dry_run=dry_run, no_watch=no_watch, output=output)


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that were given: not None, and no flag that is off."""
    return {name: value for name, value in values.items() if value is not None and value is not False}


def with_fields(section: dict[str, Any], fields: list[Field]) -> dict[str, Any]:
    """Return the section with fields set by their paths. Raises WrongUsage where a path runs through a value."""
    for path, value in fields:
        inner = section
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise WrongUsage(f"--option {'.'.join(path)}: {name} is a value here and has no fields")
        inner[path[-1]] = value
    return section


def rollback(
    model: str,
    to: str | None,
    reason: str | None,
    no_quarantine: bool,
    dry_run: bool,
    no_watch: bool,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Switch MODEL back to its previous version, or to a named one. A running rollout is reversed."""
    body = given({"to": to, "reason": reason, "dry_run": dry_run})
    if no_quarantine:
        body["quarantine"] = False
    with connect(url, context) as client:
        path = f"/cp/v1/models/{quoted(model)}/rollback"
        view = begin(client, path, body, dry_run=dry_run, no_watch=no_watch, output=output)
    if output == TABLE and not dry_run and not no_quarantine and view["kind"] == "rollback":
        left = view["from"]
        lift = f"`cp quarantine lift {model} {left} --reason TEXT`"
        tell("  ", f"{left} goes into quarantine: it cannot be promoted until {lift} ends that")


def begin(
    client: ApiClient, path: str, body: dict[str, Any], *, dry_run: bool, no_watch: bool, output: str
) -> dict[str, Any]:
    """Post a request for a rollout, and follow the rollout unless it is a dry run or `no_watch` is set.

    Returns the last view of the rollout, or the plan of a dry run.
    """
    announce(client)
    view: dict[str, Any] = client.post(path, body)
    if dry_run:
        emit(view, output, lambda: _print_plan(view))
        return view
    if no_watch:
        emit(view, output, lambda: say(f"rollout {view['id']}: {view['sentence']}"))
        return view
    # A rollback during a rollout reverses that rollout, so this waits for its end and not for a switch.
    turned_back = path.endswith("/rollback") and view["kind"] == "promote"
    try:
        good = "rolled-back" if turned_back else ""
        return follow(client, view, until_switched=not turned_back, good=good, output=output)
    except KeyboardInterrupt:
        say(
            f"  rollout {view['id']} goes on: cp rollouts watch {view['id']}, or cp rollouts abort {view['id']}",
            sys.stderr,
        )
        raise


def _print_plan(plan: dict[str, Any]) -> None:
    say(f"{plan['model']}: {plan['from']} -> {plan['to']} ({plan['strategy']}). Nothing was done. It would:")
    for number, step in enumerate(plan["steps"], 1):
        tell(f"  {number}. ", step)
    if plan["left"]:
        tell("  time: ", plan["left"])
    if plan["rollback"]:
        tell("  a rollback afterwards: ", plan["rollback"])
    for note in plan["notes"]:
        tell("  note: ", note)
