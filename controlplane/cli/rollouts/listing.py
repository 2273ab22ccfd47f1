"""Verbs that show rollouts: list, show, watch."""

from __future__ import annotations

from controlplane.cli.client import connect
from controlplane.cli.render import age, columns, emit
from controlplane.cli.rollouts.follow import follow
from controlplane.cli.rollouts.named import path_of
from controlplane.cli.rollouts.story import phase, print_story


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
            phase(r),
            age(r["created_at"]),
            r["created_by"],
            r["sentence"],
        ]
        for r in items
    ]
    header = ["ID", "MODEL", "SWITCH", "KIND", "PHASE", "AGE", "BY", ""]
    emit(items, output, lambda: columns(header, rows, "no rollouts yet"))


def rollouts_show(identifier: str, url: str | None, context: str | None, output: str) -> None:
    """Show one rollout: its steps, verdicts and history, and what it waits for."""
    with connect(url, context) as client:
        view = client.get(path_of(client, identifier))
    emit(view, output, lambda: print_story(view))


def rollouts_watch(identifier: str, url: str | None, context: str | None, output: str) -> None:
    """Follow a rollout to its end; exit 1 when it failed or was rolled back."""
    with connect(url, context) as client:
        view = client.get(path_of(client, identifier))
        follow(client, view, until_switched=False, output=output)
