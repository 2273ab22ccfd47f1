"""The CLI's contexts: which control plane to talk to, and with which token. One file, mode 0600."""

from __future__ import annotations

import fcntl
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from controlplane.errors import ConfigError

_PORTS = {"http": 80, "https": 443}


class Context(NamedTuple):
    """One control plane as the CLI knows it."""

    url: str
    token: str
    demo: str = ""
    """The state file of a running demo, where this context belongs to one."""

    def __repr__(self) -> str:
        return f"Context({self.url!r}, demo={self.demo!r})"


class Contexts(NamedTuple):
    """The file as a whole."""

    current: str = ""
    contexts: Mapping[str, Context] = {}

    @property
    def active(self) -> Context | None:
        """The context in force, if any."""
        return self.contexts.get(self.current)


def contexts_path(environment: Mapping[str, str]) -> Path:
    """Return where the contexts are kept, by the XDG base directory specification."""
    base = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "controlplane" / "config.toml"


def read_contexts(path: Path) -> Contexts:
    """Read the contexts; an absent file is an empty one. Raises ConfigError for a broken one."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Contexts()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=path) from error
    contexts = {}
    entries = data.get("contexts", {})
    if not isinstance(entries, dict):
        raise ConfigError('expected tables such as [contexts."prod"]', file=path, field="contexts")
    for name, entry in entries.items():
        texts = isinstance(entry, dict) and all(isinstance(entry.get(k, ""), str) for k in ("url", "token", "demo"))
        if not texts or "url" not in entry:
            raise ConfigError('expected url = "…" and token = "…"', file=path, field=f"contexts.{name}")
        contexts[name] = Context(entry["url"], entry.get("token", ""), entry.get("demo", ""))
    return Contexts(str(data.get("current", "")), contexts)


def update_contexts(path: Path, change: Callable[[Contexts], Contexts]) -> Contexts:
    """Replace the contexts by what `change` makes of them, and return that; two programs at once take turns.

    Where no context is left the file goes. Raises ConfigError for a broken file, and OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    turn = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        changed = change(read_contexts(path))
        if changed.contexts:
            write_contexts(path, changed)
        else:
            path.unlink(missing_ok=True)
        return changed
    finally:
        os.close(turn)


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Replace the file in one step, readable by its owner alone."""
    lines = [f"current = {_quoted(contexts.current)}"]
    for name, entry in contexts.contexts.items():
        lines += ["", f"[contexts.{_quoted(name)}]", f"url = {_quoted(entry.url)}", f"token = {_quoted(entry.token)}"]
        if entry.demo:
            lines.append(f"demo = {_quoted(entry.demo)}")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600, exist_ok=False)
    fresh.write_text("\n".join(lines) + "\n", "utf-8")
    fresh.replace(path)


def origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an address: where a token may go. None for one that has no host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.scheme not in _PORTS:
        return None
    return parts.scheme, host, port or _PORTS[parts.scheme]


def _quoted(text: str) -> str:
    """Return a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
