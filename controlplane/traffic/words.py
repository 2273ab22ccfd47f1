"""An engine's words made safe: one line that every output can show and every database can store."""

from __future__ import annotations

import re

from controlplane.plain_text import plain

_FRAMES = re.compile(r" <frozen [\w.]+>\(\d+\): \w+")
"""Frames of Python's import machinery in the call trace that Triton's Python backend appends."""
MAX_CHARS = 2000
"""Maximum length of a message. It goes into the history, the log and notifications. Chosen: a short traceback fits."""


def told(words: str) -> str:
    """Return an engine's words on one line, bounded, with unprintable characters escaped.

    Engines are not trusted: half of a surrogate pair or a NUL in an error would otherwise prevent storing a rollout,
    and with it the rollback. Frames of Python's import machinery are removed: they say nothing about the model's code.
    """
    line = plain(_FRAMES.sub("", " ".join(words.split())).rstrip(" ;"))
    return line if len(line) <= MAX_CHARS else line[: MAX_CHARS - 1] + "…"
