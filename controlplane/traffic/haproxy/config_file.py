"""The weights in HAProxy's configuration file, rewritten with every other byte as it was. Pure.

HAProxy reads weights from this file at every start and reload. Without the rewrite, a reload would undo a switch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_SECTIONS = frozenset(
    b"global defaults frontend backend listen peers mailers resolvers userlist program cache ring http-errors fcgi-app "
    b"log-forward crt-store traces log-profile acme".split()
)
_WORD = re.compile(rb"""(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'\\#])+|#.*""", re.DOTALL)
"""One word of a line, with HAProxy's quotes and escapes, or a comment."""


MAX_WEIGHT = 256
"""Largest weight of a server (HAProxy's configuration manual, `weight`)."""


class UnfitFile(ValueError):
    """The file's servers have no weight that could be rewritten. The message says which, and the cure."""


@dataclass(frozen=True)
class _Line:
    """A line `server NAME ADDRESS …` of the backend."""

    start: int
    """Index of the line's first byte in the file."""
    words: tuple[re.Match[bytes], ...]

    @property
    def weight(self) -> re.Match[bytes] | None:
        """The word after the last `weight`: of several, HAProxy takes the last."""
        found = [index for index, word in enumerate(self.words[2:-1], start=2) if word.group() == b"weight"]
        return self.words[found[-1] + 1] if found else None


def with_weights(data: bytes, backend: str, weights: Mapping[str, int]) -> bytes:
    """Return the file with these weights of servers, by name. No other byte changes.

    Raises UnfitFile when a server is not in the file, or a weight is no number.
    """
    edits: list[tuple[int, int, bytes]] = []
    missing = set(weights)
    for line in _lines(data, backend):
        name = _plain(line.words[1].group())
        if name not in weights:
            continue
        missing.discard(name)
        given, wanted = line.weight, str(weights[name]).encode()
        if given is not None:
            _check_number(name, given.group())
            edits.append((line.start + given.start(), line.start + given.end(), wanted))
        else:  # after the address: a comment or a list of parameters may follow
            end = line.start + line.words[2].end()
            edits.append((end, end, b" weight " + wanted))
    if missing:
        names = ", ".join(sorted(missing))
        raise UnfitFile(f"backend {backend} has no line `server` for {names}; add it, with `weight 0` for a candidate")
    for start, end, text in sorted(edits, reverse=True):
        data = data[:start] + text + data[end:]
    return data


def _check_number(name: str, weight: bytes) -> None:
    text = _plain(weight)
    if not text.isdecimal() or int(text) > MAX_WEIGHT:
        raise UnfitFile(f"the weight of server {name} is {text!r}; write a number from 0 to {MAX_WEIGHT}")


def _lines(data: bytes, backend: str) -> Iterator[_Line]:
    """Yield the lines `server` of a backend. Raises UnfitFile when the file has no such backend."""
    inside = known = False
    start = 0
    for raw in data.splitlines(keepends=True):
        words = tuple(word for word in _WORD.finditer(raw) if not word.group().startswith(b"#"))
        first = words[0].group() if words else b""
        if first in _SECTIONS:
            named = _plain(words[1].group()) if len(words) > 1 else ""
            inside = first in (b"backend", b"listen") and named == backend
            known = known or inside
        elif inside and first == b"server" and len(words) > 2:
            yield _Line(start, words)
        start += len(raw)
    if not known:
        raise UnfitFile(f"it has no section `backend {backend}` or `listen {backend}`")


def _plain(word: bytes) -> str:
    """Return a word without its quotes and escapes."""
    text = word.decode("utf-8", "surrogateescape")
    return re.sub(r"""\\(.)|["']""", lambda found: found[1] or "", text)
