"""Reads JSON piece by piece: the interpreter is given up between pieces, and no tree of a large answer is ever built.

`json.loads` of 30 MB holds every other thread up for a second, the event loop's among them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_constant=_refuse)


class JsonWalk:
    """A position in a JSON text. Everything raises ValueError where the text is not JSON.

    The iterators need each member or element to be consumed (`value`, `members`, `elements`) before the next is asked.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def value(self) -> Any:
        """Return the next value, whole."""
        self._skip()
        try:
            found, self.at = _DECODER.raw_decode(self.text, self.at)
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        return found

    def peek(self) -> str:
        """Return the next character that is no space; empty at the end."""
        self._skip()
        return self.text[self.at : self.at + 1]

    def members(self) -> Iterator[str]:
        """Yield the keys of the next value, an object."""
        self._expect("{")
        if self.peek() == "}":
            self.at += 1
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise ValueError(f"a key is no string at character {self.at}")
            self._expect(":")
            yield key
            if self._ends("}"):
                return

    def elements(self) -> Iterator[int]:
        """Yield where each element of the next value, an array, begins."""
        self._expect("[")
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            self._skip()
            yield self.at
            if self._ends("]"):
                return

    def end(self) -> None:
        """Check that nothing follows."""
        if self.peek():
            raise ValueError(f"more follows at character {self.at}")

    def _ends(self, bracket: str) -> bool:
        if self.peek() == bracket:
            self.at += 1
            return True
        self._expect(",")
        return False

    def _expect(self, character: str) -> None:
        if self.peek() != character:
            raise ValueError(f"expected {character!r} at character {self.at}")
        self.at += 1

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self.at)
        if space:
            self.at = space.end()
