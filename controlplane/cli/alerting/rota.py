"""The verb `alerts rota`: who is on call now and next."""

from __future__ import annotations

from typing import Any

from controlplane.cli.client import connect
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import clock, emit, say, tell
from controlplane.telling import lasting


def alerts_rota(name: str | None, url: str | None, context: str | None, output: str) -> None:
    """Show rotas, or one of them. Raises WrongUsage for an unknown name."""
    with connect(url, context) as client:
        found = client.get("/cp/v1/rotas")["items"]
    if name is not None:
        known = ", ".join(one["name"] for one in found)
        found = [one for one in found if one["name"] == name]
        if not found:
            there = f"those of fleet.yaml are {known}" if known else "fleet.yaml declares none under `rotas:`"
            raise WrongUsage(f"no rota is called {name}; {there}")
    emit(found, output, lambda: _print(found))


def _print(found: list[dict[str, Any]]) -> None:
    if not found:
        say("fleet.yaml declares no rotas (`rotas:`)")
    for rota in found:
        people = ", ".join(rota["on_call"]) or f"nobody; {rota['fallback']} gets its messages"
        until = f", until {clock(rota['until'])}" if rota["until"] else ""
        tell(f"{rota['name']}: ", f"{people}{until}")
        if following := rota["next"]:
            tell("  next: ", f"{', '.join(following['people'])}, {_span(following)}")
        for gap in rota["gaps"]:
            tell("  nobody is on call: ", _span(gap))
        for event in rota["unknown"]:
            tell("  names nobody in people: ", f"{event['summary']!r} of {clock(event['starts_at'])}")
        tell("  calendar: ", _read(rota))
        if rota["fault"]:
            tell("  cannot be read: ", rota["fault"])


def _read(rota: dict[str, Any]) -> str:
    if rota["age_seconds"] is None:
        return "never read"
    read = f"last read {lasting(rota['age_seconds'])} ago, at {clock(rota['fetched_at'])}"
    return read + ("; shifts that changed since then are not known" if rota["too_old"] else "")


def _span(turn: dict[str, Any]) -> str:
    return f"from {clock(turn['starts_at'])}" + (f" to {clock(turn['ends_at'])}" if turn["ends_at"] else "")
