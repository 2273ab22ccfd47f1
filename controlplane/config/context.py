"""The CLI's contexts: which control plane to talk to, and with which token. One file, mode 0600."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.errors import ConfigError


@dataclass(frozen=True)
class Context:
    """One control plane as the CLI knows it."""

    url: str
    token: str = field(repr=False)
    demo: str = ""
    """The state file of a running demo, where this context belongs to one."""


@dataclass(frozen=True)
class Contexts:
    """The file as a whole."""

    current: str = ""
    contexts: Mapping[str, Context] = field(default_factory=dict)

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
    for name, entry in data.get("contexts", {}).items():
        texts = isinstance(entry, dict) and all(isinstance(entry.get(k, ""), str) for k in ("url", "token", "demo"))
        if not texts or "url" not in entry:
            raise ConfigError('expected url = "…" and token = "…"', file=path, field=f"contexts.{name}")
        contexts[name] = Context(entry["url"], entry.get("token", ""), entry.get("demo", ""))
    return Contexts(str(data.get("current", "")), contexts)


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Replace the file in one step, readable by its owner alone."""
    lines = [f"current = {_quoted(contexts.current)}"]
    for name, entry in contexts.contexts.items():
        lines += ["", f"[contexts.{_quoted(name)}]", f"url = {_quoted(entry.url)}", f"token = {_quoted(entry.token)}"]
        if entry.demo:
            lines.append(f"demo = {_quoted(entry.demo)}")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_text("\n".join(lines) + "\n", "utf-8")
    fresh.replace(path)


def _quoted(text: str) -> str:
    """Return a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
