"""The verbs `events`, `audit` and `logs`: events, the audit trail, and the control plane's own log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from controlplane.cli.client import ApiClient, connect
from controlplane.cli.errors import ServerUnreachable, WrongUsage
from controlplane.cli.query import instant_of
from controlplane.cli.render import JSON, YAML, clock, columns, emit, hanging, is_terminal, say
from controlplane.plain_text import plain, plain_json, plain_lines
from controlplane.telling import happened

POLL_S = 1.0
_TIME, _WHAT, _LEVEL = 20, 14, 8
"""Widths in characters: a time, the longest phase or action (rolling-back, token.create), the longest level."""
_NAME = 80
"""Most characters of a name in a table: one long name must not widen every row. The API accepts no longer name."""
_COLOURS = {"warning": "33", "error": "1;31", "critical": "1;31", "firing": "1;31", "failed": "1;31"}


def events(
    follow: bool,
    kind: list[str] | None,
    limit: int,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Print events: alerts, rollouts, and entries of the audit trail. Raises WrongUsage for --follow with YAML."""
    _check_follow(follow, output)
    with connect(url, context) as client:
        page = client.get("/cp/v1/history", limit=limit, kind=kind)
        if not follow:
            emit(page["items"], output, lambda: _print_events(page["items"]))
            return

        def more(after: str) -> tuple[list[dict[str, Any]], str]:
            found = client.get("/cp/v1/history", after=after, kind=kind)
            return found["items"], found["next"]

        _follow(page["items"], page["next"], more, _event_line, output)


def audit(
    actor: str | None,
    action: list[str] | None,
    model: str | None,
    subject: str | None,
    since: str | None,
    until: str | None,
    before: int | None,
    no_refusals: bool,
    limit: int,
    url: str | None,
    context: str | None,
    output: str,
) -> None:
    """Print the audit trail, newest first. Raises WrongUsage for --model with --subject, and for a wrong time."""
    if model is not None and subject is not None:
        raise WrongUsage(f"--model {model} means --subject model/{model}: give one of the two")
    wanted = {
        "limit": limit,
        "before": before,
        "actor": actor,
        "action": action,
        "subject": subject if model is None else f"model/{model}",
        "since": None if since is None else instant_of(since, "--since"),
        "until": None if until is None else instant_of(until, "--until"),
        "refusals": "false" if no_refusals else None,
    }
    with connect(url, context) as client:
        page = client.get("/cp/v1/audit", **wanted)
    emit(page["items"], output, lambda: _print_acts(page["items"], page["next"]))


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _print_acts(items: list[dict[str, Any]], older: int | None) -> None:
    rows = [
        [str(i["id"]), clock(i["at"]), *(_short(i[name]) for name in ("actor", "action", "subject")), i["sentence"]]
        for i in items
    ]
    columns(["ID", "AT", "ACTOR", "ACTION", "SUBJECT", ""], rows, "no entry matches")
    if older is not None:
        say(f"there are older entries: add --before {older}", sys.stderr)


def logs(follow: bool, level: str, limit: int, url: str | None, context: str | None, output: str) -> None:
    """Print the control plane's own log."""
    _check_follow(follow, output)
    with connect(url, context) as client:
        items = client.get("/cp/v1/logs", limit=limit, level=level)["items"]
        if not follow:
            emit(items, output, lambda: _print_logs(items))
            return
        _follow(items, _last(items, "0"), lambda after: _more_logs(client, after, level), _log_line, output)


def _more_logs(client: ApiClient, after: str, level: str) -> tuple[list[dict[str, Any]], str]:
    items = client.get("/cp/v1/logs", after=after, level=level)["items"]
    return items, _last(items, after)


def _last(items: list[dict[str, Any]], otherwise: str) -> str:
    return str(items[-1]["id"]) if items else otherwise


def _check_follow(follow: bool, output: str) -> None:
    if follow and output == YAML:
        raise WrongUsage("--follow cannot print YAML: leave out -o yaml, or use -o json for one object a line")


def _follow(
    items: list[dict[str, Any]],
    after: str,
    more: Callable[[str], tuple[list[dict[str, Any]], str]],
    line: Callable[[dict[str, Any]], str],
    output: str,
) -> None:
    """Print lines as they come, until Ctrl-C. An unreachable control plane is reported once and tried again."""
    away = False
    try:
        while True:
            for item in items:
                print(plain_json(item) if output == JSON else line(item))
            sys.stdout.flush()
            time.sleep(POLL_S)
            try:
                items, after = more(after)
                away = False
            except ServerUnreachable as error:
                items = []
                if not away:
                    say(f"{error}; trying again", sys.stderr)
                away = True
    except KeyboardInterrupt:
        return


def _print_events(items: list[dict[str, Any]]) -> None:
    if not items:
        say("no events yet")
    for item in items:
        print(_event_line(item))


def _event_line(item: dict[str, Any]) -> str:
    subject, sentence = item["subject"], item["sentence"]
    match item["kind"]:
        case "alert":
            sentence = happened(sentence).removeprefix(f"{subject} ")  # the sentence of an alert begins with its name
        case "rollout":
            subject = f"{subject} ({item['ref']})"
        case "audit":
            sentence = f"{sentence}, by {item['ref']}"
    what = _word(item["what"], _WHAT)
    return f"{clock(item['at'])}  {what}  {hanging(f'{subject}: {sentence}', _TIME + 2 + _WHAT + 2)}"


def _print_logs(items: list[dict[str, Any]]) -> None:
    if not items:
        say("no lines of this level or above since the start")
    for item in items:
        print(_log_line(item))


def _log_line(item: dict[str, Any]) -> str:
    first, *below = plain_lines(item["message"])
    start = _TIME + 2 + _LEVEL + 2
    lead = f"{clock(item['at'])}  {_word(item['level'], _LEVEL)}  "
    return "\n    ".join([lead + hanging(f"{item['logger']}: {first}", start), *below])


def _word(word: str, width: int) -> str:
    shown = plain(word).ljust(width)
    colour = _COLOURS.get(word) if is_terminal(sys.stdout) else None
    return f"\x1b[{colour}m{shown}\x1b[0m" if colour else shown
