"""The files of a running demo, read by `demo fault` and `demo load`: demo.json (0600) and a CLI context."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from controlplane.config.context import Context, Contexts, read_contexts, update_contexts
from controlplane.demo.process import process_exists
from controlplane.errors import Unavailable

STATE_FILE = "demo.json"
CONTEXT = "demo"


class DemoNotRunning(Unavailable):
    """No demo of this user is running."""


@dataclass(frozen=True)
class DemoState:
    """A running demo's ports and processes."""

    url: str
    """The control plane."""
    admin_url: str
    admin_secret: str = field(repr=False)
    load_url: str
    """The load generator's counts."""
    pid: int
    """The supervisor."""
    children: dict[str, int]
    """Process ids by part."""
    triton_url: str | None
    """None where Triton cannot run here."""


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600, exist_ok=False)
    fresh.write_text(text, "utf-8")
    fresh.replace(path)


def write_state(path: Path, state: DemoState) -> None:
    """Write demo.json."""
    write_private(path, json.dumps(asdict(state), indent=2) + "\n")


def read_state(path: Path) -> DemoState:
    """Read demo.json. Raises DemoNotRunning where it is gone, or its demo is."""
    try:
        state = DemoState(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DemoNotRunning(
            f"no demo is running: {path} cannot be read ({error}); start one with `make demo`"
        ) from error
    if not process_exists(state.pid):
        raise DemoNotRunning(f"the demo of {path} has ended; start one with `make demo`")
    return state


def find_state(contexts_file: Path, wanted: str = "") -> DemoState:
    """The running demo of the context `wanted`, else of the current one, else of any. Raises DemoNotRunning."""
    contexts = read_contexts(contexts_file)
    known = contexts.contexts
    entries = [c for c in (known.get(wanted), contexts.active, *known.values()) if c is not None and c.demo]
    for entry in entries:
        try:
            return read_state(Path(entry.demo))
        except DemoNotRunning:
            continue
    raise DemoNotRunning("no demo is running; start one with `make demo` (or `controlplane demo`)")


def write_context(contexts_file: Path, url: str, token: str, state_file: Path) -> tuple[str, str]:
    """Add the demo's context; return its name and the name of the context that is current now.

    It becomes current only where none was, or a demo's that has ended: what another shell does goes on going where it
    went. While another demo holds the name `demo`, this one is called `demo-PORT`.
    """
    name = CONTEXT

    def change(contexts: Contexts) -> Contexts:
        nonlocal name
        holder = contexts.contexts.get(name)
        if holder is not None and holder.demo != str(state_file) and not _stale(holder):
            name = f"{CONTEXT}-{url.rpartition(':')[2]}"
        active = contexts.active
        current = name if active is None or _stale(active) else contexts.current
        return Contexts(current, {**contexts.contexts, name: Context(url, token, str(state_file))})

    current = update_contexts(contexts_file, change).current
    return name, current


def remove_context(contexts_file: Path, name: str) -> None:
    """Take the demo's context away; where it was current, none is."""
    update_contexts(
        contexts_file,
        lambda contexts: Contexts(
            "" if contexts.current == name else contexts.current,
            {key: entry for key, entry in contexts.contexts.items() if key != name},
        ),
    )


def _stale(context: Context) -> bool:
    """Whether a context is what a demo left that could not clean up (kill -9)."""
    if not context.demo:
        return False
    try:
        read_state(Path(context.demo))
    except DemoNotRunning:
        return True
    return False
