"""What verbs print: aligned columns for people, plain when piped; JSON and YAML for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from controlplane.plain_text import plain, plain_json

TABLE, JSON, YAML = "table", "json", "yaml"
"""The shapes of a listing."""
MAX_WIDTH = 10_000
"""YAML's lines are not folded: that would break long expressions and texts in the middle."""

Row = Sequence[str]
_GOOD = {"up", "ready", "succeeded", "ok", "sent", "normal"}
_BAD = {"down", "firing", "failed", "dead", "unavailable", "error"}
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
    "rolled-back",
    "warning",
}
_BOLD, _GREEN, _RED, _YELLOW = "1", "32", "1;31", "33"
_NARROWEST = 24
"""A last column with less room than this many characters is not wrapped: nobody could read it."""


def emit(data: Any, output: str, table: Callable[[], None]) -> None:
    """Print `data` as JSON or YAML, or call `table`."""
    if output == JSON:
        print(plain_json(data, indent=2))
    elif output == YAML:
        print(plain_yaml(data), end="")
    else:
        table()


def plain_yaml(data: Any) -> str:
    """Return YAML in which texts hold nothing but what is shown; the escapes are YAML's own, so no data is changed."""
    import io

    from ruamel.yaml import YAML as RuamelYaml  # noqa: N811 - the shape of a listing has that name here

    text = ""
    for allow_unicode in (True, False):
        yaml, out = RuamelYaml(), io.StringIO()
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
    """Print aligned columns. Piped, it is plain text, one line a row.

    On a terminal words of state are coloured, and the last column, which holds sentences, is wrapped below itself. No
    word is red in the rows that `calm` numbers.
    """
    stream = stream or sys.stdout
    if not rows:
        print(empty, file=stream)
        return
    terminal = is_terminal(stream)
    print("\n".join(table(header, rows, terminal_width() if terminal else None, calm=calm)), file=stream)


def table(header: Row, rows: Sequence[Row], width: int | None = None, *, calm: Collection[int] = ()) -> list[str]:
    """Return the lines of aligned columns: coloured and wrapped for a terminal of `width`, plain without one."""
    shown = [[plain(cell) for cell in row] for row in (header, *rows)]
    used = [i for i in range(len(header)) if any(row[i] for row in shown)]
    shown = [[row[i] for i in used] for row in shown]
    widths = [max(len(row[i]) for row in shown) for i in range(len(used))]
    start = sum(widths[:-1]) + 2 * (len(widths) - 1)
    lines = []
    for number, row in enumerate(shown, -1):
        # Nothing is padded after the last word of a row: blanks beyond the edge of a terminal are empty lines.
        last = max((i for i, cell in enumerate(row) if cell), default=0)
        cells = [*(cell.ljust(w) for cell, w in zip(row[:last], widths, strict=False)), row[last]]
        below: list[str] = []
        if width is not None:
            if last == len(widths) - 1 and width - start >= _NARROWEST:
                cells[-1], *below = _wrapped(row[last], width - start)
            cells = [_styled(cell, number < 0, number in calm) for cell in cells]
        lines.append("  ".join(cells).rstrip())
        lines += [" " * start + line for line in below]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    import textwrap

    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def is_terminal(stream: TextIO) -> bool:
    """Whether a person sees the stream, in colours."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")


def terminal_width() -> int:
    """Return the columns of the terminal, or 80."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _styled(cell: str, header: bool, calm: bool) -> str:
    word = cell.strip().lower()
    style = (
        _BOLD
        if header
        else _GREEN
        if word in _GOOD
        else _RED
        if word in _BAD and not calm
        else _YELLOW
        if word in _BUSY
        else ""
    )
    return f"\x1b[{style}m{cell}\x1b[0m" if style and cell.strip() else cell


def number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Return a number in `digits` significant digits, or `-`: unknown is never printed as zero."""
    if value is None:
        return "-"
    if value != value:
        return "NaN"
    text = f"{value:.{digits}g}"
    return (f"{value:.0f}" if "e" in text and 1 <= abs(value) < 1e15 else text) + unit


def took(seconds: float | None) -> str:
    """Return how long something took: milliseconds below one second."""
    if seconds is None:
        return "-"
    return number(seconds, " s") if seconds >= 1 else number(1000 * seconds, " ms", 2)


def percent(value: float | None) -> str:
    """Return a ratio as a percentage, or `-`."""
    return "-" if value is None else number(100 * value, "%")


def gibibytes(value: float | None) -> str:
    """Return bytes as GiB, or `-`."""
    return "-" if value is None else number(value / 2**30, " GiB")


def clock(then: str) -> str:
    """Return an RFC 3339 time in UTC to the second, as `2026-01-31 12:34:56Z`."""
    return f"{then[:10]} {then[11:19]}Z"


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
