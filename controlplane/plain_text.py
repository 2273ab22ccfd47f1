"""The one place that says what a text may do where it is shown: nothing but be read.

Names, labels and reasons come from engines, exporters and clients, and may hold line breaks that forge a line, terminal
escapes, or marks that turn the direction of writing around. Every sink escapes once, where the text leaves: the log
(`app/logs.py`), the command line (`cli/render.py`), the demo (`demo/supervise.py`), the console (`web/render.py`).
"""

from __future__ import annotations

import json
import re
from typing import Any

_LINES = re.compile(r"\r\n|\n|\r")


def plain(text: str) -> str:
    r"""Return a text of one line in which everything that is not shown is an escape such as `\n`, `\x1b` or `\u202e`.

    That is what Unicode calls other or a separator, but for the space: controls, marks of direction, characters without
    width, halves of surrogate pairs, what is not assigned.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def plain_lines(text: str) -> list[str]:
    """Return a text of several lines, such as a traceback, with each of them escaped."""
    return [plain(line.replace("\t", "    ")) for line in _LINES.split(text)]


def plain_block(text: str) -> str:
    """Return a text that keeps its lines and tabs, for places that show those as they are."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in text)


def plain_json(data: Any, indent: int | None = None) -> str:
    """Return JSON whose texts hold nothing but what is shown; the escapes are JSON's own, so no data is changed."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return "\n".join(_escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
