"""The verbs `silences …`: hold alerts back for a time, and look what is held back."""

from __future__ import annotations

from typing import Any

from controlplane.cli.client import ApiClient, announce, connect, quoted
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import clock, columns, counted, emit, say, say_all, tell
from controlplane.cli.screens.watch import short

LEAST_ID = 4
"""Fewest characters that stand for an id."""
SHOWN = 20
"""Most alerts that a preview prints."""


def silences_list(state: str, url: str | None, context: str | None, output: str) -> None:
    """List silences, with the number of alerts that each mutes now."""
    with connect(url, context) as client:
        items = client.get("/cp/v1/silences", state=state)["items"]
    named = short([one["id"] for one in items]) if items else {}
    rows = [
        [
            named[one["id"]],
            one["state"],
            str(one["mutes"]) if one["state"] != "expired" else "-",
            clock(one["starts_at"]),
            clock(one["ends_at"]),
            _owner(one),
            f"{','.join(one['matchers'])}: {one['comment']}",
        ]
        for one in items
    ]
    header = ["ID", "STATE", "MUTES", "FROM", "UNTIL", "BY", ""]
    calm = [n for n, one in enumerate(items) if one["state"] == "expired"]
    emit(items, output, lambda: columns(header, rows, "no silences", calm=calm))


def silences_show(identifier: str, url: str | None, context: str | None, output: str) -> None:
    """Show one silence, and the alerts that it matches now."""
    with connect(url, context) as client:
        found = client.get(f"/cp/v1/silences/{_id(client, identifier)}")
        preview = client.post("/cp/v1/silence-preview", {"matchers": found["matchers"]})
    emit({**found, "alerts": preview["alerts"]}, output, lambda: _print_silence(found, preview))


def silences_add(
    matchers: list[str],
    for_: str | None,
    until: str | None,
    from_: str | None,
    comment: str,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Make a silence. Raises WrongUsage unless one of `for_` and `until` is given."""
    if for_ is None and until is None:
        raise WrongUsage("the silence needs an end: give --for, such as 2h, or --until, such as 2026-12-05T06:00:00Z")
    if for_ is not None and until is not None:
        raise WrongUsage("--for and --until both name the end of the silence; leave one out")
    body: dict[str, Any] = {"matchers": matchers, "comment": comment}
    body |= {"for": for_} if for_ is not None else {"ends_at": until}
    if from_ is not None:
        body["starts_in" if _is_duration(from_) else "starts_at"] = from_
    with connect(url, context) as client:
        announce(client)
        made = client.post("/cp/v1/silences", body)
    emit(made, output, lambda: _print_accepted(made))


def silences_extend(identifier: str, for_: str, url: str | None, context: str | None, output: str) -> None:
    """Let a silence end this long from now."""
    with connect(url, context) as client:
        announce(client)
        view = client.post(f"/cp/v1/silences/{_id(client, identifier)}/extend", {"for": for_})
    emit(view, output, lambda: _print_accepted(view))


def silences_expire(
    identifiers: list[str], comment: str | None, url: str | None, context: str | None, output: str
) -> None:
    """End silences now."""
    with connect(url, context) as client:
        announce(client)
        named = [_id(client, identifier) for identifier in identifiers]  # all of them, before one is ended
        views = [client.post(f"/cp/v1/silences/{one}/expire", {"comment": comment or ""}) for one in named]
    emit(views, output, lambda: say_all(f"silence {one['id']} has ended" for one in views))


def silences_preview(matchers: list[str], url: str | None, context: str | None, output: str) -> None:
    """Show what a silence with these matchers would hold back now."""
    with connect(url, context) as client:
        preview = client.post("/cp/v1/silence-preview", {"matchers": matchers})
    emit(preview, output, lambda: _print_preview(preview))


def _id(client: ApiClient, text: str) -> str:
    """Return the id of the one silence that begins with a text. Raises WrongUsage for none or several."""
    if len(text) == 36:
        return quoted(text)
    if len(text) < LEAST_ID:
        raise WrongUsage(f"{text} is too short for the id of a silence; give its first {LEAST_ID} characters or more")
    items = client.get("/cp/v1/silences", state="all")["items"]
    begun = [one["id"] for one in items if one["id"].startswith(text)]
    if len(begun) > 1:
        raise WrongUsage(f"{len(begun)} silences have an id that begins with {text}; name one by its id", tuple(begun))
    if not begun:
        raise WrongUsage(
            f"no silence has an id that begins with {text}", ("`cp silences list --state all` lists them",)
        )
    return str(begun[0])


def _is_duration(text: str) -> bool:
    return text[-1:].isalpha() and text[-1:] not in "Zz"


def _owner(one: dict[str, Any]) -> str:
    by, owner = one["created_by"], one["owner"]
    return str(by) if by == owner else f"{by} (by {owner})"


def _print_accepted(one: dict[str, Any]) -> None:
    begins = f"from {clock(one['starts_at'])} " if one["state"] == "pending" else ""
    verb = "will mute" if one["state"] == "pending" else "mutes"
    say(f"silence {one['id']}: {','.join(one['matchers'])} {begins}until {clock(one['ends_at'])}")
    say(f"  it {verb} {counted(one['mutes'], 'alert')} that {'fires' if one['mutes'] == 1 else 'fire'} now")


def _print_silence(one: dict[str, Any], preview: dict[str, Any]) -> None:
    say(f"silence {one['id']}: {one['state']}")
    tell("matchers: ", ", ".join(one["matchers"]))
    tell("comment: ", one["comment"] or "-")
    say(f"from {clock(one['starts_at'])} until {clock(one['ends_at'])}, by {_owner(one)}")
    if one["reminded_at"]:
        say(f"reminded of its end at {clock(one['reminded_at'])}")
    print()
    _print_alerts(preview)


def _print_preview(preview: dict[str, Any]) -> None:
    say(f"{','.join(preview['matchers'])} would silence {counted(preview['total'], 'alert')} now. Nothing was done.")
    if preview["needs_admin"]:
        say("it needs an admin: no matcher names a value with =")
    _print_alerts(preview)
    for group in preview["groups"]:
        tell("  group ", f"{group['key']}: {group['muted']} of {counted(group['alerts'], 'firing alert')}")


def _print_alerts(preview: dict[str, Any]) -> None:
    shown = preview["alerts"][:SHOWN]
    rows = [
        [one["fingerprint"][:8], one["name"], one["state"], one["severity"] or "-", one["summary"]] for one in shown
    ]
    columns(["ID", "ALERT", "STATE", "SEVERITY", ""], rows, "it matches no firing or pending alert")
    if preview["total"] > len(shown):
        say(f"… and {preview['total'] - len(shown)} more")
