"""Verbs that steer a running rollout: pause, resume, approve, abort, close; and `retry` of one that has ended."""

from __future__ import annotations

from typing import Any

from controlplane.cli.client import announce, connect
from controlplane.cli.render import emit, say, tell
from controlplane.cli.rollouts.named import path_of
from controlplane.cli.rollouts.start import begin


def rollouts_pause(identifier: str, reason: str | None, url: str | None, context: str | None, output: str) -> None:
    """Stop a running rollout before its next step. Its looks at the candidate go on."""
    _act(identifier, "pause", {"reason": reason or ""}, url, context, output)


def rollouts_resume(identifier: str, reason: str | None, url: str | None, context: str | None, output: str) -> None:
    """End a pause."""
    _act(identifier, "resume", {"reason": reason or ""}, url, context, output)


def rollouts_approve(
    identifier: str, full: bool, reason: str | None, url: str | None, context: str | None, output: str
) -> None:
    """Approve the step that a rollout waits for; with `full` skip what is left before the candidate serves alone."""
    _act(identifier, "full" if full else "approve", {"reason": reason or ""}, url, context, output)


def rollouts_abort(identifier: str, reason: str | None, url: str | None, context: str | None, output: str) -> None:
    """Roll a running rollout back to the stable version."""
    _act(identifier, "abort", {"reason": reason or ""}, url, context, output)


def rollouts_close(identifier: str, url: str | None, context: str | None, output: str) -> None:
    """Close a rollout whose record cannot be read. No engine is called."""
    _act(identifier, "close", {}, url, context, output)


def rollouts_retry(identifier: str, no_watch: bool, url: str | None, context: str | None, output: str) -> None:
    """Start the same rollout again, as a new one, with the same version and options."""
    with connect(url, context) as client:
        path = path_of(client, identifier, "retry")
        begin(client, path, {}, dry_run=False, no_watch=no_watch, output=output)


def _act(identifier: str, action: str, body: dict[str, Any], url: str | None, context: str | None, output: str) -> None:
    with connect(url, context) as client:
        announce(client)
        view = client.post(path_of(client, identifier, action), body)
    emit(view, output, lambda: _print_accepted(view, action))


def _print_accepted(view: dict[str, Any], action: str) -> None:
    """Print that a wish is accepted. The rollout acts at its next turn: its sentence is the one from before."""
    if action == "close":
        tell(f"rollout {view['id']} of {view['model']}: ", f"{view['phase']}: {view['sentence']}")
        return
    verb = "approve --full" if action == "full" else action
    say(f"rollout {view['id']} of {view['model']}: {verb} is accepted; `cp rollouts watch {view['id']}` follows it")
    tell("  until now: ", f"{view['phase']}: {view['sentence']}")
