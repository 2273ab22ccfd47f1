"""What an engine says, as it may be told: one line that every sink shows and every database stores."""

from __future__ import annotations

from controlplane.plain_text import plain

MAX_CHARS = 2000
"""Of one message: a traceback of some calls. It goes into the history, the log and a notification."""


def told(words: str) -> str:
    """Return an engine's words on one line, bounded, with everything that is not shown escaped.

    Engines are not trusted with it: half of a surrogate pair or a NUL in an error would otherwise keep a rollout from
    being stored, and so from going back.
    """
    line = plain(" ".join(words.split()))
    return line if len(line) <= MAX_CHARS else line[: MAX_CHARS - 1] + "…"
