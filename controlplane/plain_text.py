"""Escapes for texts that are shown to people: a text from outside cannot act on a terminal, a log or a page.

Names, labels and reasons come from engines, exporters and clients. They may hold line breaks that forge a line,
terminal escapes, or marks that reverse the direction of writing. Every sink escapes once, where the text leaves: the
log (`app/logs.py`), the command line (`cli/render.py`), the demo (`demo/supervise.py`), the console (`web/render.py`).
Every table that is written as CSV passes its cells through `csv_cell`.
"""

from __future__ import annotations

import json
import re
from typing import Any

_LINES = re.compile(r"\r\n|\n|\r")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of a cell that a spreadsheet evaluates: also the full-width signs of `= + - @`."""


def plain(text: str) -> str:
    r"""Return a text as one line. Each character that is not printable becomes an escape: `\n`, `\x1b`, `\u202e`.

    Not printable are Unicode's categories "other" and "separator", except the space: controls, marks of direction,
    characters without width, surrogates, unassigned characters.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def plain_lines(text: str) -> list[str]:
    """Return the lines of a text, such as a traceback, each escaped by `plain`. A tab becomes four spaces."""
    return [plain(line.replace("\t", "    ")) for line in _LINES.split(text)]


def plain_block(text: str) -> str:
    """Return an escaped text that keeps its line breaks and tabs, for places that show them as they are."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in text)


def plain_json(data: Any, indent: int | None = None) -> str:
    """Return JSON with only printable characters. The escapes are JSON's own, so the data is the same."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return "\n".join(_escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def csv_cell(value: Any) -> Any:
    """Return a value as a cell of a CSV file that no spreadsheet takes for a formula. None is an empty cell.

    A text that begins like a formula gets an apostrophe before it. Numbers stay as they are.
    """
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
