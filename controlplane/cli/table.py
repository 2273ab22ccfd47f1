"""Columns of text that fit a terminal: wide characters, long names and sentences included."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from controlplane.plain_text import plain

Row = Sequence[str]
_GOOD = {"up", "ready", "succeeded", "ok", "sent", "normal"}
_BAD = {"down", "firing", "failed", "dead", "unavailable", "error", "critical"}
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
NARROWEST = 24
"""Fewest columns for a sentence beside its row. With less room it is printed below the row. Chosen."""
_BELOW = "    "
"""Indent of text that is printed below a row."""
_EAST_ASIAN = r"\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
_WORDS = re.compile(rf"[{_EAST_ASIAN}]\s*|[^\s{_EAST_ASIAN}]+\s*|\s+")
"""Pieces of a line: words with the blanks after them. Each East Asian character is a word of its own."""
UNKNOWN = "-"


def table(
    header: Row,
    rows: Sequence[Row],
    width: int | None = None,
    *,
    colours: bool = False,
    calm: Collection[int] = (),
) -> list[str]:
    """Return the lines of aligned columns, fitted to a terminal of `width` columns. `width` None: one line a row.

    The last column is wrapped below itself. Columns that do not fit are printed below their row: a sentence as it is,
    other cells with the column's name, unknown cells not at all. `calm` holds the indices of rows in which no state is
    coloured.
    """
    shown = [[plain(cell) for cell in row] for row in (header, *rows)]
    used = [i for i in range(len(header)) if any(row[i] for row in shown)]
    shown = [[row[i] for i in used] for row in shown]
    widths = [max(cells_of(row[i]) for row in shown) for i in range(len(used))]
    beside = len(widths) if width is None else _fitting(widths, width)
    lines = []
    for number, row in enumerate(shown, -1):
        paint = _header if number < 0 else _cell if number not in calm else str
        lines += _row(row, widths, beside, width, paint if colours else str)
        told = _told(shown[0], row, beside) if number >= 0 else ""
        if told and width is not None:
            lines += [_BELOW + line for line in wrapped(told, width - len(_BELOW))]
    return lines


def _fitting(widths: Sequence[int], width: int) -> int:
    """Return the number of columns that fit beside each other."""
    needed = [*widths[:-1], min(widths[-1], NARROWEST)]
    count = len(needed)
    while count > 1 and sum(needed[:count]) + 2 * (count - 1) > width:
        count -= 1
    return count


def _row(
    row: Sequence[str], widths: Sequence[int], beside: int, width: int | None, paint: Callable[[str], str]
) -> list[str]:
    """Return the lines of a row's first columns."""
    # The last cell of a row is not padded: blanks beyond the edge of a terminal show as empty lines.
    last = max((i for i, cell in enumerate(row[:beside]) if cell), default=0)
    cells = [*(padded(cell, w) for cell, w in zip(row[:last], widths, strict=False)), row[last]]
    start, below = sum(widths[:last]) + 2 * last, list[str]()
    if width is not None and last == len(widths) - 1:
        cells[-1], *below = wrapped(row[last], width - start)
    return ["  ".join(map(paint, cells)).rstrip(), *(" " * start + line for line in below)]


def _told(header: Sequence[str], row: Sequence[str], beside: int) -> str:
    """Return the cells of a row that have no room beside the others."""
    pairs = zip(header[beside:], row[beside:], strict=True)
    return ", ".join(f"{name.lower()} {cell}".strip() for name, cell in pairs if cell and cell != UNKNOWN)


def cells_of(text: str) -> int:
    """Return the columns of a terminal that a text fills: two for a wide character, none for a combining mark."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def padded(text: str, width: int) -> str:
    """Return a text with blanks after it up to `width` columns of a terminal."""
    return text + " " * (width - cells_of(text))


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of `width` columns. Lines break only between words and after wide characters."""
    if cells_of(text) <= width:
        return [text]
    lines, line, room = [], "", width
    for word in _WORDS.findall(text):
        size = cells_of(word.rstrip())
        if line and size > room:
            lines.append(line.rstrip())
            line, room = "", width
        line += word
        room -= cells_of(word)
    return [*lines, line.rstrip()]


def _header(cell: str) -> str:
    return _styled(cell, _BOLD)


def _cell(cell: str) -> str:
    word = cell.strip().lower().removesuffix(", unknown")
    return _styled(cell, _GREEN if word in _GOOD else _RED if word in _BAD else _YELLOW if word in _BUSY else "")


def _styled(cell: str, style: str) -> str:
    return f"\x1b[{style}m{cell}\x1b[0m" if style and cell.strip() else cell
