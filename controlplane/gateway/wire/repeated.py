"""Heads that come again: the messages of a connection have the same head, but for their length and a few values.

A read that is a known head and its whole body needs no parser. Only values differ that decide nothing, such as those of
Content-Length and traceparent, so whatever the parser and the guards said of the first head holds for it.
"""

from __future__ import annotations

from controlplane.gateway.request import Fields

MOST_BYTES = 64 * 2**10
"""Bytes of the longest read that is looked at. With a longer body, a refused request ends its connection."""
MOST_VALUE = 512
"""Bytes of the longest value that may differ."""
LENGTH = b"content-length"
_END = b"\r\n\r\n"
_VISIBLE = bytes(range(0x21, 0x7F))
"""Characters that every parser takes for a part of a value. Values with others are the parser's."""


class Outline:
    """A head without the values that may differ."""

    __slots__ = ("_end", "_length", "_literals", "places")

    def __init__(self, literals: tuple[bytes, ...], end: bytes, places: tuple[int, ...], length: int) -> None:
        """`literals` are the texts before each value, and `end` the one behind the last, with the empty line.

        `places` are the numbers of the values' fields. `length`: which of the values is that of Content-Length.
        """
        self._literals = literals
        self._end = end
        self._length = length
        self.places = places

    def match(self, data: bytes) -> tuple[list[bytes], bytes] | None:
        """Return the values and the body of a read that is this head and a whole body, or None for any other read."""
        values = []
        at = 0
        for literal in self._literals:
            if not data.startswith(literal, at):
                return None
            at += len(literal)
            stop = data.find(b"\r", at, at + MOST_VALUE)
            value = data[at:stop]
            if stop < 0 or not value or value.translate(None, _VISIBLE):
                return None
            values.append(value)
            at = stop
        if not data.startswith(self._end, at):
            return None
        body = data[at + len(self._end) :]
        # A length with a sign or a leading zero is the parser's, too.
        return (values, body) if values[self._length] == b"%d" % len(body) and len(data) <= MOST_BYTES else None


def outline_of(data: bytes, fields: Fields, varying: frozenset[bytes]) -> Outline | None:
    """Return the outline of a read that was parsed as one head with these fields and its whole body.

    `varying`: lower-case names of the fields whose values may differ, Content-Length among them. None: it is no such
    read, its head has no length or such a field twice, or lines that another reader would count in another way.
    """
    head = data[: data.find(_END) + len(_END)]
    lines = head.count(b"\r\n")
    if lines != len(fields) + 2 or head.count(b"\n") != lines or head.count(b"\r") != lines:
        return None
    literals, places = [], []
    begun, at = 0, head.find(b"\r\n") + 2
    for place, (name, value) in enumerate(fields):
        end = head.find(b"\r\n", at)
        if name in varying:
            start = at + len(name) + 2
            if head[at:start].lower() != name + b": " or head[start:end] != value:
                return None
            literals.append(head[begun:start])
            places.append(place)
            begun = end
        at = end + 2
    names = [fields[place][0] for place in places]
    if names.count(LENGTH) != 1 or len(set(names)) != len(names):
        return None
    outline = Outline(tuple(literals), head[begun:], tuple(places), names.index(LENGTH))
    return outline if outline.match(data) is not None else None


def with_values(fields: Fields, outline: Outline, values: list[bytes]) -> Fields:
    """Return fields with the values of a read that matched."""
    found = fields.copy()
    for place, value in zip(outline.places, values, strict=True):
        found[place] = (found[place][0], value)
    return found
