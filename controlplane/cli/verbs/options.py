"""Options and operands that several verbs share."""

from __future__ import annotations

import json
import re
from pathlib import Path

from controlplane.cli.verbs.grammar import Operand, Option, whole

URL = Option("url", "Address of the control plane; by default CP_URL, else the current context's.", "URL")
CONTEXT = Option("context", "Context to use instead of the current one.", "NAME", offers="contexts")
AS = Option("output", "table, json or yaml.", "FORMAT", "-o", "table", choices=("table", "json", "yaml"))
CLOSE = (URL, CONTEXT)
"""The options that choose a control plane."""
LISTING = (URL, CONTEXT, AS)
WATCH = Option("watch", "Refresh every two seconds until Ctrl-C.", short="-w")
LISTEN = "Address to listen on, as host:port."
DATA_DIR = Option("data_dir", "Folder for the stored state.", "DIR", read=Path, offers="folders")
DRY_RUN = Option("dry_run", "Print what would happen and do nothing.")
LOG = (
    Option("log_format", "text, or json with one object a line.", "FORMAT", default="text", choices=("text", "json")),
    Option(
        "log_level",
        "Lowest level to log: debug, info, warning or error.",
        "LEVEL",
        default="info",
        choices=("debug", "info", "warning", "error"),
    ),
)
MODEL = Operand("model", "MODEL", "The model's name in fleet.yaml.", offers="models")
RULE_FILES = Operand(
    "files",
    "FILE…",
    "Prometheus rule files, or builtin:llm, builtin:gpu and builtin:backups.",
    Path,
    False,
    True,
    offers="files",
)
ROLES = ("viewer", "operator", "admin", "gateway", "alert-sender")


def limit(default: int) -> Option:
    """Return the option that bounds a listing."""
    return Option("limit", "Maximum number of rows.", "N", default=default, read=whole(1, 1000))


_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)=(?:("(?:[^"\\\x00-\x1f]|\\["\\nrt])*")|([^"~,][^",]*)?)')


def labelled(text: str) -> tuple[str, str]:
    """Return name and value of a label, `NAME=VALUE` or `NAME="VALUE"`. Raises ValueError for anything else."""
    if (found := _LABEL.fullmatch(text)) is None:
        raise ValueError('expected NAME=VALUE, or NAME="VALUE" for a value with commas')
    name, quoted, plain = found.groups()
    return name, str(json.loads(quoted)) if quoted is not None else plain or ""
