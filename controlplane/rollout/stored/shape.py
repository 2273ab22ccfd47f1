"""Documents as values of dataclasses. Times, numbers and enums are checked, at any depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from alerts.errors import NotReadable

T = TypeVar("T")


class Shape(Generic[T]):
    """The type of a stored document. Make it at import, and never in a function.

    msgspec learns a class the first time that it meets it, and publishes what it learns before it is complete. A second
    thread that converts to that class meanwhile crashes the process (msgspec 0.22.0, `convert`). Modules are imported
    by one thread, so a shape that is made at import knows its class before a second thread can ask.
    """

    def __init__(self, kind: Any, place: str) -> None:
        """`kind` is a dataclass, or a union of one and None. `place` names the document in messages."""
        self._kind, self._place = kind, place
        msgspec.json.Decoder(kind)

    def read(self, document: Any) -> T:
        """Return the document's value.

        Raises NotReadable for a value of another type, and for a key that the class does not know.
        """
        try:
            made: T = msgspec.convert(document, self._kind)
        except msgspec.ValidationError as fault:
            raise NotReadable(f"{self._place}: {fault}") from fault
        if unknown := _unknown(document, msgspec.to_builtins(made)):
            raise NotReadable(f"{self._place}: this release does not know {unknown}")
        return made


def _unknown(stored: Any, known: Any) -> str:
    """Return the first key of a document that its typed value did not keep, or ""."""
    if isinstance(stored, Mapping) and isinstance(known, Mapping):
        strange = (str(key) for key in stored if key not in known)
        return next(strange, "") or next(filter(None, (_unknown(stored[key], known[key]) for key in stored)), "")
    if isinstance(stored, list) and isinstance(known, list | tuple):
        return next(filter(None, map(_unknown, stored, known)), "")
    return ""
