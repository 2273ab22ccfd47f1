"""What the demo prints: where it is, and what to try next."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def banner(url: str, token: str, logs: Path, context: str, triton: bool) -> str:
    """The demo's greeting. `context` is the CLI context's name, empty where none could be written."""
    activate = Path(sys.prefix) / "bin" / "activate"
    lines = [
        "",
        "The demo is ready. Simulated here: the vLLM pair `chat` and its four GPUs. "
        + ("Real: the Triton server with `model`." if triton else "There is no Triton on this machine."),
        "",
        f"  console   {url}/",
        f"  token     {token}",
        f"  logs      {logs}",
        "",
        "Try in a second terminal:",
        "",
    ]
    if activate.exists():
        lines.append(f"  . {activate}")
    if not context:
        lines.append(f"  export CP_URL={url} CP_TOKEN={token}")
    for command, meaning in _commands(triton):
        lines.append(f"  {command:<40} # {meaning}")
    return "\n".join([*lines, "", "Ctrl-C stops everything.", ""])


def _commands(triton: bool) -> list[tuple[str, str]]:
    commands = [
        ("cp status", "models, versions and their traffic"),
        ("cp targets", "what is scraped"),
        ("cp query 'llm_requests_running'", "PromQL over every engine"),
    ]
    if triton:
        commands += [
            ("cp promote model v2", "switch versions under load"),
            ("cp demo load", "... and see that no request failed"),
            ("cp rollback model", "go back"),
        ]
    return [
        *commands,
        ("cp demo fault gpu-hot", "or slow-v2: an alert goes pending, then fires"),
        ("cp alerts list", "see it"),
        ("cp demo fault clear", "and it resolves"),
        ("cp dashboards generate --out dashboards", "Grafana"),
    ]


def status_line(stats: dict[str, Any]) -> str:
    """The load's counts in one line of a terminal."""
    parts = [
        f"{name}: {counts['requests']} requests, {counts['failed']} failed, {counts['cut']} cut"
        for name, counts in stats["destinations"].items()
    ]
    return "  load  " + "  ·  ".join(parts)
