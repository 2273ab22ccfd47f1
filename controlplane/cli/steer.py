"""Verbs that move traffic: promote, rollback, rollouts."""

from __future__ import annotations

import sys
import time
from typing import Any

from controlplane.cli.client import ApiClient, announce, connect, quoted
from controlplane.cli.errors import ServerUnreachable, VerdictNegative
from controlplane.cli.render import TABLE, age, clock, columns, emit, say, tell

POLL_S = 0.5
PATIENCE_S = 60.0
"""Seconds for which a watch tries an unreachable control plane again. The rollout goes on meanwhile. Chosen."""


def promote(
    model: str,
    version: str,
    strategy: str | None,
    dry_run: bool,
    no_watch: bool,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Switch MODEL to VERSION. Return once that version serves and is verified."""
    body = {"model": model, "version": version, "strategy": strategy or "blue-green", "dry_run": dry_run}
    with connect(url, context) as client:
        _begin(client, "/cp/v1/rollouts", body, dry_run, no_watch, output)


def rollback(model: str, dry_run: bool, no_watch: bool, url: str | None, context: str | None, output: str) -> None:
    """Switch MODEL back to its previous version. A running rollout is reversed."""
    with connect(url, context) as client:
        path = f"/cp/v1/models/{quoted(model)}/rollback"
        _begin(client, path, {"dry_run": dry_run}, dry_run, no_watch, output)


def _begin(client: ApiClient, path: str, body: dict[str, Any], dry_run: bool, no_watch: bool, output: str) -> None:
    announce(client)
    view = client.post(path, body)
    if dry_run:
        emit(view, output, lambda: _print_plan(view))
        return
    if no_watch:
        emit(view, output, lambda: say(f"rollout {view['id']}: {view['sentence']}"))
        return
    # A rollback during a rollout reverses that rollout, so this waits for its end and not for a switch.
    turned_back = path.endswith("/rollback") and view["kind"] == "promote"
    try:
        _follow(client, view, until_switched=not turned_back, good="rolled-back" if turned_back else "", output=output)
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
    for note in plan["notes"]:
        tell("  note: ", note)


def _follow(client: ApiClient, view: dict[str, Any], *, until_switched: bool, output: str, good: str = "") -> None:
    """Print a rollout's events as they come. Raises VerdictNegative when it fails, unless it ends in phase `good`."""
    quiet = output != TABLE
    shown = 0
    if good:  # a rollback shows the last event and those after it
        view = client.get(f"/cp/v1/rollouts/{view['id']}")
        shown = max(len(view["events"]) - 1, 0)
    if not quiet:
        say(f"rollout {view['id']}: {view['model']} {view['from']} -> {view['to']} ({view['strategy']})")
        for note in _notes(view):
            tell("  note: ", note)
    lost_at: float | None = None
    while True:
        for event in view["events"][shown:] if not quiet else []:
            tell(f"  {event['at'][11:19]}Z  {event['phase']:<12}  ", event["sentence"])
        shown = len(view["events"])
        if view["finished"] or (until_switched and view["switched"] and view["phase"] == "draining"):
            break
        time.sleep(POLL_S)
        try:
            view, lost_at = client.get(f"/cp/v1/rollouts/{view['id']}"), None
        except ServerUnreachable:
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > PATIENCE_S:
                raise
    if quiet:
        emit(view, output, lambda: None)
    elif not view["finished"]:
        say(f"  {view['from']} is draining; follow it with: cp rollouts watch {view['id']}")
    if view["finished"] and not view["ok"] and view["phase"] != good:
        # The table has just shown the sentence as an event. Other formats get it with the exit code.
        said = f": {view['sentence']}" if quiet else ""
        raise VerdictNegative(f"rollout {view['id']} {view['phase']}{said}")


def rollouts_list(model: str | None, limit: int, url: str | None, context: str | None, output: str) -> None:
    """List rollouts, the newest first."""
    with connect(url, context) as client:
        items = client.get("/cp/v1/rollouts", model=model, limit=limit)["items"]
    rows = [
        [
            r["id"],
            r["model"],
            f"{r['from']} -> {r['to']}",
            r["kind"],
            _phase(r),
            age(r["created_at"]),
            r["created_by"],
            r["sentence"],
        ]
        for r in items
    ]
    header = ["ID", "MODEL", "SWITCH", "KIND", "PHASE", "AGE", "BY", ""]
    emit(items, output, lambda: columns(header, rows, "no rollouts yet"))


def rollouts_show(identifier: str, url: str | None, context: str | None, output: str) -> None:
    """Show one rollout and all its events."""
    with connect(url, context) as client:
        view = client.get(f"/cp/v1/rollouts/{quoted(identifier)}")
    emit(view, output, lambda: _print_rollout(view))


def _phase(view: dict[str, Any]) -> str:
    if view["wished"]:
        return f"{view['phase']} (as asked)"
    return f"{view['phase']} (not tried)" if view["ok"] and view["verified"] is False else str(view["phase"])


def _notes(view: dict[str, Any]) -> list[str]:
    """Return the notes that no event repeats."""
    told = {event["sentence"] for event in view["events"]}
    return [note for note in view["notes"] if note not in told]


def _print_rollout(view: dict[str, Any]) -> None:
    say(f"rollout {view['id']}: {view['kind']} {view['model']} {view['from']} -> {view['to']} ({view['strategy']})")
    say(f"{_phase(view)}, asked for by {view['created_by']} at {clock(view['created_at'])}")
    if view["verified"] is not None:
        tell(f"{'verified' if view['verified'] else 'loaded, not tried'}: ", view["evidence"])
    for note in _notes(view):
        tell("note: ", note)
    print()
    rows = [[clock(e["at"]), e["phase"], e["sentence"]] for e in view["events"]]
    columns(["AT", "PHASE", ""], rows, "no events yet")


def rollouts_watch(identifier: str, url: str | None, context: str | None, output: str) -> None:
    """Follow a rollout to its end; exit 1 when it failed or was rolled back."""
    with connect(url, context) as client:
        view = client.get(f"/cp/v1/rollouts/{quoted(identifier)}")
        _follow(client, view, until_switched=False, output=output)


def rollouts_abort(identifier: str, url: str | None, context: str | None, output: str) -> None:
    """Roll a running rollout back to the stable version."""
    with connect(url, context) as client:
        announce(client)
        view = client.post(f"/cp/v1/rollouts/{quoted(identifier)}/abort")
    emit(view, output, lambda: say(f"rollout {view['id']}: {view['phase']}: {view['sentence']}"))


def rollouts_close(identifier: str, url: str | None, context: str | None, output: str) -> None:
    """Close a rollout whose record cannot be read. No engine is called."""
    with connect(url, context) as client:
        announce(client)
        view = client.post(f"/cp/v1/rollouts/{quoted(identifier)}/close")
    emit(view, output, lambda: say(f"rollout {view['id']}: {view['phase']}: {view['sentence']}"))
