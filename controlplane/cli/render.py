"""The output of verbs: aligned columns for people, plain when piped; JSON and YAML for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from controlplane.cli.table import NARROWEST, UNKNOWN, Row, cells_of, table, wrapped
from controlplane.plain_text import plain, plain_block, plain_json

TABLE, JSON, YAML = "table", "json", "yaml"
"""The formats of a listing."""
MAX_WIDTH = 10_000
"""Line width for YAML, in characters. Chosen: wide enough that no expression or sentence is folded."""


def emit(data: Any, output: str, table: Callable[[], None]) -> None:
    """Print `data` as JSON or YAML, or call `table`."""
    if output == JSON:
        print(plain_json(data, indent=2))
    elif output == YAML:
        print(plain_yaml(data), end="")
    else:
        table()


def plain_yaml(data: Any) -> str:
    """Return YAML with unprintable characters escaped. The escapes are YAML's own, so the data stays the same."""
    import io

    from ruamel.yaml import YAML as RuamelYaml  # noqa: N811 - here YAML names a format of a listing

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
    """Print one line with its control characters escaped: names and reasons come from engines and are not trusted."""
    print(plain(text), file=stream or sys.stdout)


def say_block(text: str) -> None:
    """Print a text of several lines, such as a diff, as `say` prints one."""
    print(plain_block(text))


def say_all(lines: Iterable[str]) -> None:
    """Print each line as `say` does."""
    for line in lines:
        say(line)


def tell(lead: str, text: str, stream: TextIO | None = None) -> None:
    """Print a sentence after a lead such as a time. On a terminal a long sentence is wrapped below its own start."""
    stream, lead = stream or sys.stdout, plain(lead)
    print(lead + hanging(text, cells_of(lead), stream), file=stream)


def hanging(text: str, start: int, stream: TextIO | None = None) -> str:
    """Return a text for column `start`. On a terminal it is wrapped, and its further lines begin in that column too."""
    room = terminal_width() - start if (stream or sys.stdout).isatty() else 0
    if room < NARROWEST:
        return plain(text)
    return ("\n" + " " * start).join(wrapped(plain(text), room))


def columns(
    header: Row, rows: Sequence[Row], empty: str, stream: TextIO | None = None, *, calm: Collection[int] = ()
) -> None:
    """Print aligned columns: coloured and fitted on a terminal, one line a row when piped. No rows: print `empty`."""
    stream = stream or sys.stdout
    if not rows:
        print(empty, file=stream)
        return
    width = terminal_width() if stream.isatty() else None
    print("\n".join(table(header, rows, width, colours=is_terminal(stream), calm=calm)), file=stream)


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal that shows colours: TERM is not dumb, and NO_COLOR is not set."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")


def terminal_width() -> int:
    """Return the columns of the terminal, or 80."""
    try:
        # Not sys.stdout: screen.py may have replaced it by a buffer.
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


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def took(seconds: float | None) -> str:
    """Return a duration such as `1.2 s`, below one second such as `35 ms`, or `-`."""
    if seconds is None:
        return UNKNOWN
    return number(seconds, " s") if seconds >= 1 else number(1000 * seconds, " ms", 2)


def percent(value: float | None) -> str:
    """Return a ratio as a percentage, or `-`."""
    return UNKNOWN if value is None else number(100 * value, "%")


def gibibytes(value: float | None) -> str:
    """Return bytes as GiB, or `-`."""
    return UNKNOWN if value is None else number(value / 2**30, " GiB")


def size(value: float | None) -> str:
    """Return bytes in the largest binary unit that leaves one or more, such as `7 B` or `1.2 MiB`, or `-`."""
    if value is None:
        return UNKNOWN
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return number(value, f" {units[0]}")


def clock(then: str | float) -> str:
    """Return a time as every verb shows it: in UTC, without fractions, such as `2026-01-31 12:34:56Z`.

    `then` is an RFC 3339 time in UTC, as the API gives it, or unix seconds. Options that take a time accept the result.
    """
    text = then if isinstance(then, str) else datetime.fromtimestamp(then, UTC).isoformat()
    return f"{text[:10]} {text[11:19]}Z"


def age(then: str | None, now: datetime | None = None) -> str:
    """Return the time since an RFC 3339 time, such as `3m12s`, or `-`."""
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
    """Return the time since an RFC 3339 time, such as `3m12s ago`, or `-`."""
    return f"{age(then)} ago" if then else UNKNOWN
