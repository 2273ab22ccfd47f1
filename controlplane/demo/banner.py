"""The texts that the demo prints: its addresses, and commands to try next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Shell(NamedTuple):
    """Settings with which `cp` in a second terminal finds this demo."""

    config_home: Path | None = None
    """Folder of the CLI's contexts, if it is not the user's own."""
    context: str = ""
    """The demo's context, if it is not the current one."""
    current: str = ""
    """The context that stays current."""


def banner(url: str, token: str, logs: Path, triton: bool, shell: Shell | None = None, *, kept: bool = False) -> str:
    """The demo's greeting, for a terminal of 80 columns. `kept`: whether the demo's folder outlives it."""
    shell = shell or Shell()
    activate = Path(sys.prefix) / "bin" / "activate"
    real = "Real: the Triton server with `model`." if triton else "It runs without Triton and `model`: see above."
    lines = [
        "",
        "The demo is ready. " + real,
        "Simulated: the vLLM pair `chat` and its four GPUs.",
        "",
        f"  console   {url}/",
        f"  token     {token}",
        f"  logs      {logs}",
        "",
        "Try in a second terminal:",
        "",
    ]
    if activate.exists():
        lines.append(f"  . {shlex.quote(str(activate))}")
    if shell.config_home is not None:
        lines.append(f"  export XDG_CONFIG_HOME={shlex.quote(str(shell.config_home))}")
    if shell.context:
        lines.append(f"  export CP_CONTEXT={shlex.quote(shell.context)}")
        lines.append(f"  # without it, cp uses the current context: {shell.current}")
    for command, meaning in _commands(triton):
        lines.append(f"  {command:<40} # {meaning}")
    end = "Ctrl-C stops everything; metrics, alerts and rollouts are kept."
    if not kept:
        end = "Ctrl-C stops everything and deletes its data; --data-dir DIR keeps it."
    return "\n".join([*lines, "", end, ""])


def _commands(triton: bool) -> list[tuple[str, str]]:
    commands = [
        ("cp status", "models, versions and their traffic"),
        ("cp targets", "what is scraped"),
        ("cp query 'llm_requests_running'", "PromQL over every engine"),
    ]
    commands += [
        ("cp promote chat v2", "through the gateway, under load"),
        ("cp demo load", "... and see that no request failed"),
        ("cp gateways", "what the gateway applies"),
    ]
    if triton:
        commands += [
            ("cp promote model v2", "the same on Triton's own API"),
            ("cp rollback model", "go back"),
        ]
    return [
        *commands,
        ("cp demo fault gpu-hot", "or slow-v2: pending, then firing"),
        ("cp alerts list", "see it"),
        ("cp demo fault clear", "and it resolves"),
        ("cp dashboards generate --out grafana", "Grafana"),
    ]


def status_line(stats: dict[str, Any], width: int) -> str:
    """The load's counts in one line of a terminal: shorter than `width`, so that it can be rewritten in place."""
    parts = [
        f"{name} {counts['requests']} ({counts['failed']} failed, {counts['cut']} cut)"
        for name, counts in stats["destinations"].items()
    ]
    line = "  requests  " + "  ·  ".join(parts)
    return line if len(line) < width else line[: max(width - 2, 0)] + "…"
