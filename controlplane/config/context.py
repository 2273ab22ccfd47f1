"""The CLI's contexts: addresses and tokens of control planes. They are in one file of mode 0600."""

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
    """One control plane: its address and the token for it."""

    url: str
    token: str
    demo: str = ""
    """State file of the running demo to which this context belongs; "" for other contexts."""

    def __repr__(self) -> str:
        return f"Context({self.url!r}, demo={self.demo!r})"


class Contexts(NamedTuple):
    """Content of the file."""

    current: str = ""
    contexts: Mapping[str, Context] = {}

    @property
    def active(self) -> Context | None:
        """The current context, or None."""
        return self.contexts.get(self.current)


def contexts_path(environment: Mapping[str, str]) -> Path:
    """Return the path of the contexts' file, by the XDG base directory specification."""
    base = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "controlplane" / "config.toml"


def read_contexts(path: Path) -> Contexts:
    """Read the contexts. An absent file counts as empty. Raises ConfigError for a broken file."""
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
    """Replace the contexts by the result of `change`, and return it. A lock makes programs take turns.

    The file is removed when no context is left. Raises ConfigError for a broken file, and OSError when it cannot be
    written.
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
    """Replace the file in one step. Only its owner can read it."""
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
    """Return scheme, host and port of an address, to which a token is bound. None for an address without a host."""
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
