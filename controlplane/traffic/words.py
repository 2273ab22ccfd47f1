"""What an engine says, as it may be told: one line that every sink shows and every database stores."""

from __future__ import annotations

import re

from controlplane.plain_text import plain

_FRAMES = re.compile(r" <frozen [\w.]+>\(\d+\): \w+")
"""Of Python's import machinery, in the trace of calls that Triton's Python backend appends."""
MAX_CHARS = 2000
"""Of one message: a traceback of some calls. It goes into the history, the log and a notification."""


def told(words: str) -> str:
    """Return an engine's words on one line, bounded, with everything that is not shown escaped.

    Engines are not trusted with it: half of a surrogate pair or a NUL in an error would otherwise keep a rollout from
    being stored, and so from going back. Where Python was within itself when a model's code failed says nothing.
    """
    line = plain(_FRAMES.sub("", " ".join(words.split())).rstrip(" ;"))
    return line if len(line) <= MAX_CHARS else line[: MAX_CHARS - 1] + "…"
