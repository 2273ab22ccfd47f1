"""Verbs about contexts: the control planes that this user has, and the current one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controlplane.cli.client import ApiClient, Place, locate
from controlplane.cli.errors import VerdictNegative, WrongUsage
from controlplane.cli.render import columns, emit, say
from controlplane.cli.verbs.grammar import hint
from controlplane.config.context import (
    Context,
    Contexts,
    contexts_path,
    origin,
    read_contexts,
    update_contexts,
)
from controlplane.errors import ConfigError

MAX_TOKEN = 512
"""Most characters of a token. A longer text is another file, given by mistake."""


def get_contexts(output: str) -> None:
    """List the contexts; the current one is marked."""
    known = _read()
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "url": entry.url,
            "current": name == known.current,
            "has_token": bool(entry.token),
            "demo": entry.demo or None,
        }
        for name, entry in known.contexts.items()
    ]
    rows = [[_mark(c), c["name"], c["url"], "yes" if c["has_token"] else "none", _about(c)] for c in found]
    empty = "no contexts: `controlplane login --url URL` makes one"
    emit(found, output, lambda: columns(["", "NAME", "URL", "TOKEN", ""], rows, empty))


def _mark(context: dict[str, Any]) -> str:
    return "*" if context["current"] else ""


def _about(context: dict[str, Any]) -> str:
    if not context["demo"]:
        return ""
    return "demo" if Path(context["demo"]).exists() else "the demo has ended: remove this with delete-context"


def current_context() -> None:
    """Print the name of the current context. Raises VerdictNegative when there is none."""
    name = os.environ.get("CP_CONTEXT", "") or _read().current
    if not name:
        raise VerdictNegative("no context is current", ("`controlplane config use-context NAME` chooses one",))
    say(name)


def use_context(name: str) -> None:
    """Make a context the current one, in all your shells."""

    def change(contexts: Contexts) -> Contexts:
        _entry(contexts, name)
        return contexts._replace(current=name)

    changed = _update(change)
    say(f"context {name} is current: {changed.contexts[name].url}")
    if os.environ.get("CP_CONTEXT", name) != name:
        say(f"in this shell CP_CONTEXT overrides it: {os.environ['CP_CONTEXT']}", sys.stderr)


def _check_address(url: str) -> None:
    """Raise WrongUsage where the text is no address of a control plane."""
    ApiClient(Place(url, "")).__exit__()


def set_context(name: str, url: str, token_file: str | None) -> None:
    """Add a context or change its address. Its token is kept where the address stays the same."""
    _check_name(name)
    _check_address(url)
    token = _token_of(token_file) if token_file else ""
    told = []

    def change(contexts: Contexts) -> Contexts:
        before = contexts.contexts.get(name)
        same = before is not None and origin(before.url) == origin(url)
        kept = before.token if before is not None and same else ""
        if before is not None and before.token and not same and not token:
            told.append(f"the token of {before.url} is removed: it belongs to another address")
        entry = Context(url, token or kept, before.demo if before is not None and same else "")
        current = contexts.current if contexts.active is not None else name
        return Contexts(current, {**contexts.contexts, name: entry})

    changed = _update(change)
    for line in told:
        say(line, sys.stderr)
    _warn_of_plain(url)
    state = "current" if changed.current == name else f"not current: `controlplane config use-context {name}`"
    say(f"context {name}: {url}, {'with a token' if changed.contexts[name].token else 'no token'}; {state}")


def delete_context(name: str) -> None:
    """Delete a context and its token."""
    was_current = False

    def change(contexts: Contexts) -> Contexts:
        nonlocal was_current
        _entry(contexts, name)
        was_current = contexts.current == name
        left = {key: entry for key, entry in contexts.contexts.items() if key != name}
        return Contexts("" if was_current else contexts.current, left)

    _update(change)
    say(f"context {name} is deleted" + ("; no context is current now" if was_current else ""))


def login(url: str | None, name: str | None) -> None:
    """Ask for a token, check it, and store it in a context that becomes the current one."""
    if name is not None:
        _check_name(name)
    address = url or locate(None, None).url
    _check_address(address)
    _warn_of_plain(address)
    token = _ask_token(address)
    with ApiClient(Place(address, token)) as client:
        who, fleet = client.get("/cp/v1/whoami"), client.get("/cp/v1/version")["fleet"]
    chosen = name or ""

    def change(contexts: Contexts) -> Contexts:
        nonlocal chosen
        chosen = chosen or _name_for(contexts, address, fleet)
        before = contexts.contexts.get(chosen)
        if name is None and before is not None and origin(before.url) != origin(address):
            raise WrongUsage(f"context {chosen} has another address, {before.url}: choose another name with --name")
        demo = before.demo if before is not None and origin(before.url) == origin(address) else ""
        return Contexts(chosen, {**contexts.contexts, chosen: Context(address, token, demo)})

    _update(change)
    say(f"context {chosen} is current: fleet {fleet} at {address}, as {who['name']} with role {who['role']}")


def _name_for(contexts: Contexts, address: str, fleet: str) -> str:
    wanted = origin(address)
    return next((name for name, entry in contexts.contexts.items() if origin(entry.url) == wanted), fleet)


def _ask_token(address: str) -> str:
    if sys.stdin.isatty():
        import getpass

        try:
            text = getpass.getpass(f"Token for {address}: ")
        except EOFError:
            text = ""
    else:
        text = sys.stdin.readline(MAX_TOKEN + 2)
    return _checked(text, "no token was given")


def _token_of(file: str) -> str:
    if file == "-":
        return _checked(sys.stdin.readline(MAX_TOKEN + 2), "standard input held no token")
    try:
        with Path(file).open(encoding="utf-8") as opened:
            text = opened.read(MAX_TOKEN + 2)
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"--token-file {file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return _checked(text, f"--token-file {file}: holds no token")


def _checked(text: str, complaint: str) -> str:
    token = text.strip()
    if not token:
        raise WrongUsage(complaint)
    if len(token) > MAX_TOKEN:
        raise WrongUsage(f"no token is longer than {MAX_TOKEN} characters")
    ApiClient(Place("http://localhost", token)).__exit__()  # refuses a bad character, unquoted
    return token


def _warn_of_plain(url: str) -> None:
    found = origin(url)
    here = found is not None and (found[1] in ("localhost", "::1") or found[1].startswith("127."))
    if found is not None and found[0] == "http" and not here:
        say(f"{url} is not https: the token is sent unencrypted", sys.stderr)


def _check_name(name: str) -> None:
    if not name or not name.isprintable() or len(name) > 100 or name.startswith("-"):
        raise WrongUsage(f"{name!r} is not a name for a context: expected up to 100 printable characters")


def _entry(contexts: Contexts, name: str) -> Context:
    entry = contexts.contexts.get(name)
    if entry is None:
        there = ", ".join(contexts.contexts) or "none"
        raise WrongUsage(f"there is no context {name!r}{hint(name, contexts.contexts)}", (f"known contexts: {there}",))
    return entry


def _read() -> Contexts:
    try:
        return read_contexts(contexts_path(os.environ))
    except ConfigError as error:
        raise WrongUsage(str(error)) from error


def _update(change: Callable[[Contexts], Contexts]) -> Contexts:
    path = contexts_path(os.environ)
    try:
        return update_contexts(path, change)
    except ConfigError as error:
        raise WrongUsage(str(error)) from error
    except OSError as error:
        raise VerdictNegative(f"{path}: cannot be written: {error.strerror}") from error
