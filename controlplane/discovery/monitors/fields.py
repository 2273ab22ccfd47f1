"""Fields of an object of the API, each read with its type and its path. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from collectors.durations import parse_duration
from controlplane.config.wording import shown
from controlplane.traffic.kubernetes.resource import Json

MAX_TEXT = 4096
"""Longest text of a field, in characters (chosen): texts go into addresses, labels and messages."""
MIN_SECONDS = 1.0
"""Shortest interval and timeout (chosen): anybody who may write a monitor chooses them."""
_MAX_NAME = 100
"""Characters of a field's name that a message has."""

T = TypeVar("T")


class FieldError(Exception):
    """A field that cannot be used. The message begins with its path."""


class Fields:
    """A mapping of an object. Methods raise FieldError for a value of another type. Null counts as not given."""

    def __init__(self, content: Any, path: str = "") -> None:
        """`path` names the mapping in messages. None: it is not given, and has no field."""
        self.path = path
        self._content: Json = {} if content is None else content
        if not isinstance(self._content, dict):
            # A text may be a secret in the wrong place.
            raise self.error("", f"expected a mapping, got {'a text' if isinstance(content, str) else shown(content)}")

    def __bool__(self) -> bool:
        """Return whether any field is given."""
        return any(value is not None for value in self._content.values())

    def error(self, name: str, sentence: str) -> FieldError:
        """Return an error at a field; "" is the mapping itself."""
        return FieldError(f"{self.at(name)}: {sentence}" if self.at(name) else sentence)

    def at(self, name: str) -> str:
        """Return the path of a field."""
        return ".".join(part for part in (self.path, name[:_MAX_NAME]) if part)

    def names(self) -> Iterator[str]:
        """Yield the names of the given fields."""
        return (self._usable(str(name), str(name)) for name, value in self._content.items() if value is not None)

    def get(self, name: str) -> Any:
        """Return a value of any type; None where it is not given."""
        return self._content.get(name)

    def text(self, name: str, default: str = "") -> str:
        """Return a text."""
        return self._usable(name, self._typed(name, str, "a text", default))

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth value."""
        return self._typed(name, bool, "true or false", default)

    def number(self, name: str) -> int:
        """Return a whole number from 0; 0 where it is not given."""
        value = self.get(name)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.error(name, f"expected a whole number from 0, got {shown(value)}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        values = self._typed(name, list, "a list", [])
        for number, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"{name}[{number}]", f"expected a text, got {shown(value)}")
        return tuple(self._usable(f"{name}[{number}]", value) for number, value in enumerate(values))

    def fields(self, name: str) -> Fields:
        """Return a mapping."""
        return Fields(self.get(name), self.at(name))

    def items(self, name: str) -> list[Fields]:
        """Return a list of mappings."""
        values = self._typed(name, list, "a list", [])
        return [Fields(value, f"{self.at(name)}[{number}]") for number, value in enumerate(values)]

    def seconds(self, name: str, default: float) -> float:
        """Return the seconds of a duration."""
        text = self.text(name)
        if not text:
            return default
        try:
            seconds = parse_duration(text) or default
        except ValueError as error:
            raise self.error(name, str(error)) from error
        if seconds < MIN_SECONDS:
            raise self.error(name, f"{text} is shorter than {MIN_SECONDS:g}s, the shortest that is taken")
        return seconds

    def _usable(self, name: str, text: str) -> str:
        """Return a text that is not too long, and that can be sent and stored."""
        if len(text) > MAX_TEXT:
            raise self.error(name, f"has {len(text)} characters; at most {MAX_TEXT} are taken")
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise self.error(name, "holds half of a character, which cannot be sent")
        return text

    def _typed(self, name: str, kind: type[T], words: str, default: T) -> T:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise self.error(name, f"expected {words}, got {shown(value)}")
        return value
