"""Verbs about versions in quarantine: a version that was rolled back cannot be promoted until someone lifts it."""

from __future__ import annotations

from controlplane.cli.client import announce, connect, quoted
from controlplane.cli.render import age, columns, emit, say


def quarantine(url: str | None, context: str | None, output: str) -> None:
    """List the versions in quarantine."""
    with connect(url, context) as client:
        items = client.get("/cp/v1/quarantine")["items"]
    rows = [[q["model"], q["version"], age(q["since"]), q["rollout"], q["reason"]] for q in items]
    header = ["MODEL", "VERSION", "FOR", "ROLLOUT", ""]
    emit(items, output, lambda: columns(header, rows, "no version is in quarantine"))


def quarantine_lift(model: str, version: str, reason: str, url: str | None, context: str | None, output: str) -> None:
    """Lift the quarantine of a version, so that it can be promoted again."""
    with connect(url, context) as client:
        announce(client)
        path = f"/cp/v1/models/{quoted(model)}/versions/{quoted(version)}/quarantine/lift"
        view = client.post(path, {"reason": reason})
    emit(view, output, lambda: say(f"{version} of {model} can be promoted again"))
