"""Reads JSON piece by piece, without the tree of a large answer. Other threads can run between two pieces.

`json.loads` of 30 MB blocks every other thread for a second, the event loop's thread too.
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
    """A position in a JSON text. All methods raise ValueError when the text is not JSON.

    Consume each member or element that an iterator yields (by `value`, `members` or `elements`) before the next one.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def value(self) -> Any:
        """Return the next value as Python objects. Raises ValueError when it is not JSON or is nested too deeply."""
        self._skip()
        try:
            found, self.at = _DECODER.raw_decode(self.text, self.at)
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        return found

    def peek(self) -> str:
        """Return the next character that is not a blank, without consuming it. "" at the end of the text."""
        self._skip()
        return self.text[self.at : self.at + 1]

    def members(self) -> Iterator[str]:
        """Yield the keys of the next value, an object. Raises ValueError when it is not an object."""
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
        """Yield the index of the first character of each element of the next value, an array."""
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
        """Check that the text ends here. Raises ValueError when more follows."""
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
