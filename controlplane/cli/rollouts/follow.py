"""Following a rollout to its end: sentences as they come and, on a terminal, a live footer below them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from controlplane.cli.client import ApiClient
from controlplane.cli.errors import ServerUnreachable, VerdictNegative
from controlplane.cli.render import TABLE, clock, emit, say, tell
from controlplane.cli.rollouts.story import glance, notes, title
from controlplane.cli.screens.screen import Footer
from controlplane.telling import lasting

POLL_S = 0.5
PATIENCE_S = 600.0
"""Seconds for which an unreachable control plane is tried again: it may be restarted or upgraded. The rollout goes on
when it is back. Chosen."""


_ENDED = {"rolled-back": "was rolled back", "failed": "failed"}
"""Words for the phases in which a rollout ends badly."""


def follow(
    client: ApiClient, view: dict[str, Any], *, until_switched: bool, output: str, good: str = ""
) -> dict[str, Any]:
    """Print a rollout's sentences as they come, until it ends or, with `until_switched`, has switched.

    Returns its last view.

    Raises VerdictNegative when it fails, unless it ends in phase `good`. Raises ServerUnreachable after PATIENCE_S.
    """
    quiet = output != TABLE
    shown = 0
    if good:  # a rollback shows the last event and those after it
        view = client.get(_path(view))
        shown = max(len(view["events"]) - 1, 0)
    if not quiet:
        say(title(view))
        for note in notes(view):
            tell("  note: ", note)
    view = _to_the_end(client, view, shown, until_switched=until_switched, quiet=quiet)
    if quiet:
        emit(view, output, lambda: None)
    elif not view["finished"]:
        say(f"  {view['to']} serves; what is left goes on by itself: cp rollouts watch {view['id']}")
    if view["finished"] and not view["ok"] and view["phase"] != good:
        raise VerdictNegative(_ended(view, quiet), () if quiet else tuple(_what_next(view)))
    return view


def _ended(view: dict[str, Any], quiet: bool) -> str:
    """Return how a rollout ended. The table has just shown its sentence as an event; other formats get it here."""
    said = f": {view['sentence']}" if quiet else ""
    return f"rollout {view['id']} of {view['model']} {_ENDED.get(view['phase'], view['phase'])}{said}"


def _what_next(view: dict[str, Any]) -> Iterator[str]:
    """Yield what follows from a rollout that ended badly, and the verb that shows its numbers."""
    if after := view.get("aftermath"):
        yield after["consequence"]
        yield f"next step: {after['next']}"
    yield f"`cp rollouts show {view['id']}` shows the reasons and the numbers"


def _to_the_end(
    client: ApiClient, view: dict[str, Any], shown: int, *, until_switched: bool, quiet: bool
) -> dict[str, Any]:
    """Print events and redraw the footer until the rollout ends or has switched. Return its last view."""
    footer = Footer()
    lost_at: float | None = None
    try:
        while True:
            new = [] if quiet else view["events"][shown:]
            if new:
                footer.erase()
            for event in new:
                tell(f"  {clock(event['at'])}  {event['phase']:<12}  ", event["sentence"])
            shown = len(view["events"])
            if view["finished"] or (until_switched and view["switched"] and view["phase"] == "draining"):
                return view
            if not quiet:
                sys.stdout.flush()
                footer.draw([] if lost_at is not None else [f"  {line}" for line in glance(view, brief=True)])
            time.sleep(POLL_S)
            try:
                view, lost_at = client.get(_path(view)), None
            except ServerUnreachable as error:
                if lost_at is None:
                    lost_at = time.monotonic()
                    footer.erase()
                    say(f"  {error}; trying again for {lasting(PATIENCE_S)}. Traffic stays as it is", sys.stderr)
                if time.monotonic() - lost_at > PATIENCE_S:
                    raise
    finally:
        footer.erase()


def _path(view: dict[str, Any]) -> str:
    return f"/cp/v1/rollouts/{view['id']}"
