"""Verbs that move traffic: promote, rollback, rollouts."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from controlplane.cli.client import Client, connect
from controlplane.cli.errors import Unreachable, VerdictNegative
from controlplane.cli.options import As, Limit, Url
from controlplane.cli.render import Output, age, columns, emit, say

POLL_S = 0.5
PATIENCE_S = 60.0
"""How long a watch outlasts an unreachable control plane: the rollout goes on without us, and so may its news."""

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name in fleet.yaml.")]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="The rollout's id.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen and do nothing.")]
NoWatch = Annotated[bool, typer.Option("--no-watch", help="Return as soon as the rollout is recorded.")]

rollouts = typer.Typer(help="List and steer rollouts.", no_args_is_help=True)


def promote(
    model: Model,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version to serve, such as v2.")],
    strategy: Annotated[str | None, typer.Option("--strategy", help="blue-green (the default), or canary.")] = None,
    dry_run: DryRun = False,
    no_watch: NoWatch = False,
    url: Url = None,
    output: As = Output.TABLE,
) -> None:
    """Switch MODEL to VERSION; returns once that version serves and nothing speaks against it."""
    body = {"model": model, "version": version, "strategy": strategy or "blue-green", "dry_run": dry_run}
    with connect(url) as client:
        _begin(client, "/cp/v1/rollouts", body, dry_run, no_watch, output)


def rollback(
    model: Model, dry_run: DryRun = False, no_watch: NoWatch = False, url: Url = None, output: As = Output.TABLE
) -> None:
    """Switch MODEL back to the version before; turns a running rollout around."""
    with connect(url) as client:
        path = f"/cp/v1/models/{quote(model, safe='')}/rollback"
        _begin(client, path, {"dry_run": dry_run}, dry_run, no_watch, output)


def _begin(client: Client, path: str, body: dict[str, Any], dry_run: bool, no_watch: bool, output: Output) -> None:
    view = client.post(path, body)
    if dry_run:
        emit(view, output, lambda: _print_plan(view))
        return
    if no_watch:
        emit(view, output, lambda: say(f"rollout {view['id']}: {view['sentence']}"))
        return
    # A rollback of a running rollout turns that one around: there is nothing to wait for but its end.
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
        say(f"  {number}. {step}")
    for note in plan["notes"]:
        say(f"  note: {note}")


def _follow(client: Client, view: dict[str, Any], *, until_switched: bool, output: Output, good: str = "") -> None:
    """Print a rollout's events as they come; raise VerdictNegative when it does not end well, or in phase `good`."""
    quiet = output is not Output.TABLE
    shown = 0
    if not quiet:
        say(f"rollout {view['id']}: {view['model']} {view['from']} -> {view['to']} ({view['strategy']})")
        for note in view["notes"]:
            say(f"  note: {note}")
    lost_at: float | None = None
    while True:
        for event in view["events"][shown:] if not quiet else []:
            say(f"  {event['at'][11:19]}  {event['phase']:<12}  {event['sentence']}")
        shown = len(view["events"])
        if view["finished"] or (until_switched and view["switched"] and view["phase"] == "draining"):
            break
        time.sleep(POLL_S)
        try:
            view, lost_at = client.get(f"/cp/v1/rollouts/{view['id']}"), None
        except Unreachable:
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > PATIENCE_S:
                raise
    if quiet:
        emit(view, output, lambda: None)
    elif not view["finished"]:
        say(f"  {view['from']} is draining; follow it with: cp rollouts watch {view['id']}")
    if view["finished"] and not view["ok"] and view["phase"] != good:
        # Whoever watched has just read the sentence; a script gets it with its exit status.
        said = f": {view['sentence']}" if quiet else ""
        raise VerdictNegative(f"rollout {view['id']} {view['phase']}{said}")


@rollouts.command("list")
def rollouts_list(
    model: Annotated[str | None, typer.Option("--model", help="Only this model's.")] = None,
    limit: Limit = 20,
    url: Url = None,
    output: As = Output.TABLE,
) -> None:
    """List rollouts, the newest first."""
    with connect(url) as client:
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


@rollouts.command("show")
def rollouts_show(identifier: Identifier, url: Url = None, output: As = Output.TABLE) -> None:
    """Show one rollout and everything that it did."""
    with connect(url) as client:
        view = client.get(f"/cp/v1/rollouts/{quote(identifier, safe='')}")
    emit(view, output, lambda: _print_rollout(view))


def _phase(view: dict[str, Any]) -> str:
    if view["wished"]:
        return f"{view['phase']} (as asked)"
    return f"{view['phase']} (not tried)" if view["ok"] and view["verified"] is False else str(view["phase"])


def _print_rollout(view: dict[str, Any]) -> None:
    say(f"rollout {view['id']}: {view['kind']} {view['model']} {view['from']} -> {view['to']} ({view['strategy']})")
    say(f"{_phase(view)}, by {view['created_by']} at {view['created_at']}")
    if view["verified"] is not None:
        say(f"{'verified' if view['verified'] else 'loaded, not tried'}: {view['evidence']}")
    for note in view["notes"]:
        say(f"note: {note}")
    print()
    rows = [[e["at"], e["phase"], e["sentence"]] for e in view["events"]]
    columns(["AT", "PHASE", ""], rows, "no events yet")


@rollouts.command("watch")
def rollouts_watch(identifier: Identifier, url: Url = None, output: As = Output.TABLE) -> None:
    """Follow a rollout to its end; exit 1 when it failed or went back."""
    with connect(url) as client:
        view = client.get(f"/cp/v1/rollouts/{quote(identifier, safe='')}")
        _follow(client, view, until_switched=False, output=output)


@rollouts.command("abort")
def rollouts_abort(identifier: Identifier, url: Url = None, output: As = Output.TABLE) -> None:
    """Turn a running rollout back to the version that was stable."""
    with connect(url) as client:
        view = client.post(f"/cp/v1/rollouts/{quote(identifier, safe='')}/abort")
    emit(view, output, lambda: say(f"rollout {view['id']}: {view['phase']}: {view['sentence']}"))
