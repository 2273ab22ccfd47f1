"""What verbs print: aligned columns for people, plain when piped; JSON and YAML for programs."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from ruamel.yaml import YAML

from controlplane.plain_text import plain, plain_json

MAX_WIDTH = 10_000
"""YAML's lines are not folded: that would break long expressions and texts in the middle."""


class Output(StrEnum):
    """The shapes of a listing."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Row = Sequence[str]
_GOOD = {"up", "ready", "succeeded", "ok", "sent", "normal"}
_BAD = {"down", "firing", "failed", "dead", "unavailable", "rolled-back"}
_BUSY = {
    "pending",
    "loading",
    "unloading",
    "retrying",
    "preparing",
    "switching",
    "verifying",
    "draining",
    "rolling-back",
}


def emit(data: Any, output: Output, table: Callable[[], None]) -> None:
    """Print `data` as JSON or YAML, or call `table`."""
    if output is Output.JSON:
        print(plain_json(data, indent=2))
    elif output is Output.YAML:
        print(plain_yaml(data), end="")
    else:
        table()


def plain_yaml(data: Any) -> str:
    """Return YAML in which texts hold nothing but what is shown; the escapes are YAML's own, so no data is changed."""
    text = ""
    for allow_unicode in (True, False):
        yaml, out = YAML(), io.StringIO()
        yaml.default_flow_style, yaml.allow_unicode, yaml.width = False, allow_unicode, MAX_WIDTH
        yaml.dump(data, out)
        text = out.getvalue()
        if all(line.isprintable() for line in text.split("\n")):
            break
    return text


def say(text: str, stream: TextIO | None = None) -> None:
    """Print one line with its control characters escaped: names and reasons come from engines, and may lie."""
    print(plain(text), file=stream or sys.stdout)


def say_all(lines: Iterable[str]) -> None:
    """Print one line each."""
    for line in lines:
        say(line)


def columns(
    header: Row, rows: Sequence[Row], empty: str, stream: TextIO | None = None, *, calm: Collection[int] = ()
) -> None:
    """Print aligned columns: on a terminal words of state are coloured and nothing wraps; piped, it is plain text.

    No word is red in the rows that `calm` numbers.
    """
    stream = stream or sys.stdout
    rows = [[plain(cell) for cell in row] for row in rows]
    if not rows:
        print(empty, file=stream)
        return
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    console = Console(file=stream, highlight=False, soft_wrap=True)
    for number, row in enumerate([header, *rows], -1):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        line = "  ".join(cells)
        if console.is_terminal:
            line = "  ".join(_styled(c, number < 0, number in calm) for c in cells)
            console.print(line.rstrip())
        else:
            print(line.rstrip(), file=stream)


def _styled(cell: str, header: bool, calm: bool) -> str:
    word = cell.strip().lower()
    style = (
        "bold"
        if header
        else "green"
        if word in _GOOD
        else "bold red"
        if word in _BAD and not calm
        else "yellow"
        if word in _BUSY
        else ""
    )
    return f"[{style}]{escape(cell)}[/{style}]" if style else escape(cell)


def number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Return a number in `digits` significant digits, or `-`: unknown is never printed as zero."""
    if value is None:
        return "-"
    if value != value:
        return "NaN"
    text = f"{value:.{digits}g}"
    return (f"{value:.0f}" if "e" in text and abs(value) < 1e15 else text) + unit


def percent(value: float | None) -> str:
    """Return a ratio as a percentage, or `-`."""
    return "-" if value is None else number(100 * value, "%")


def gibibytes(value: float | None) -> str:
    """Return bytes as GiB, or `-`."""
    return "-" if value is None else number(value / 2**30, " GiB")


def age(then: str | None, now: datetime | None = None) -> str:
    """Return how long ago an RFC 3339 time was, such as `3m12s`, or `-`."""
    if not then:
        return "-"
    seconds = int(((now or datetime.now(UTC)) - datetime.fromisoformat(then)).total_seconds())
    if seconds < 0:
        return "0s"
    for size, big, small, step in ((86400, "d", "h", 3600), (3600, "h", "m", 60), (60, "m", "s", 1)):
        if seconds >= size:
            rest = seconds % size // step
            return f"{seconds // size}{big}" + (f"{rest}{small}" if rest else "")
    return f"{seconds}s"
