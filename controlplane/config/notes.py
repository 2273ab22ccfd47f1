"""Notes of what is not taken over from a file of another program."""

from __future__ import annotations

from typing import NamedTuple


class Note(NamedTuple):
    """A field that is not taken over."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"
