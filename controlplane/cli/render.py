"""What verbs print: aligned columns for people, plain when piped; JSON and YAML for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from controlplane.cli.table import NARROWEST, UNKNOWN, Row, cells_of, table, wrapped
from controlplane.plain_text import plain, plain_json

TABLE, JSON, YAML = "table", "json", "yaml"
"""The shapes of a listing."""
MAX_WIDTH = 10_000
"""YAML's lines are not folded: that would break long expressions and texts in the middle."""


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


def tell(lead: str, text: str, stream: TextIO | None = None) -> None:
    """Print a sentence after a lead such as a time; on a terminal it goes on below itself, broken between words."""
    stream, lead = stream or sys.stdout, plain(lead)
    print(lead + hanging(text, cells_of(lead), stream), file=stream)


def hanging(text: str, start: int, stream: TextIO | None = None) -> str:
    """Return a text that begins in column `start`: on a terminal its further lines begin there too."""
    room = terminal_width() - start if (stream or sys.stdout).isatty() else 0
    if room < NARROWEST:
        return plain(text)
    return ("\n" + " " * start).join(wrapped(plain(text), room))


def columns(
    header: Row, rows: Sequence[Row], empty: str, stream: TextIO | None = None, *, calm: Collection[int] = ()
) -> None:
    """Print aligned columns: on a terminal coloured and as wide as it is, piped a line a row."""
    stream = stream or sys.stdout
    if not rows:
        print(empty, file=stream)
        return
    width = terminal_width() if stream.isatty() else None
    print("\n".join(table(header, rows, width, colours=is_terminal(stream), calm=calm)), file=stream)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person sees the stream, in colours."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")


def terminal_width() -> int:
    """Return the columns of the terminal, or 80."""
    try:
        # Not sys.stdout: that may be a frame which is drawn before it is shown.
        return os.get_terminal_size((sys.__stdout__ or sys.stdout).fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Return a number in `digits` significant digits, or `-`: unknown is never printed as zero."""
    if value is None:
        return UNKNOWN
    if value != value:
        return "NaN"
    text = f"{value:.{digits}g}"
    return (f"{value:.0f}" if "e" in text and 1 <= abs(value) < 1e15 else text) + unit


def took(seconds: float | None) -> str:
    """Return how long something took: milliseconds below one second."""
    if seconds is None:
        return UNKNOWN
    return number(seconds, " s") if seconds >= 1 else number(1000 * seconds, " ms", 2)


def percent(value: float | None) -> str:
    """Return a ratio as a percentage, or `-`."""
    return UNKNOWN if value is None else number(100 * value, "%")


def gibibytes(value: float | None) -> str:
    """Return bytes as GiB, or `-`."""
    return UNKNOWN if value is None else number(value / 2**30, " GiB")


def clock(then: str) -> str:
    """Return an RFC 3339 time in UTC to the second, as `2026-01-31 12:34:56Z`."""
    return f"{then[:10]} {then[11:19]}Z"


def age(then: str | None, now: datetime | None = None) -> str:
    """Return how long ago an RFC 3339 time was, such as `3m12s`, or `-`."""
    if not then:
        return UNKNOWN
    seconds = int(((now or datetime.now(UTC)) - datetime.fromisoformat(then)).total_seconds())
    if seconds < 0:
        return "0s"
    for size, big, small, step in ((86400, "d", "h", 3600), (3600, "h", "m", 60), (60, "m", "s", 1)):
        if seconds >= size:
            rest = seconds % size // step
            return f"{seconds // size}{big}" + (f"{rest}{small}" if rest else "")
    return f"{seconds}s"


def ago(then: str | None) -> str:
    """Return how long ago a time was, such as `3m12s ago`, or `-`."""
    return f"{age(then)} ago" if then else UNKNOWN
