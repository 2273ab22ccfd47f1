"""Fields of a prometheus.yml: their values, and notes of what is not taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

from alerts.errors import RuleError
from alerts.yaml_nodes import Place
from collectors.durations import parse_duration
from controlplane.config.wording import nearest

T = TypeVar("T")
_YES, _NO = ("true", "yes", "on", "y"), ("false", "no", "off", "n")


class Section:
    """One mapping of the file. Every method raises RuleError, with file and line, for what Prometheus refuses."""

    def __init__(self, place: Place | None, path: str, known: tuple[str, ...]) -> None:
        """`path` names the mapping in messages. None: it is not given, and has no field."""
        self.place, self.path = place.within(path) if place else None, path
        self._fields = self.place.fields() if self.place else {}
        for name, at in self._fields.items():
            if name not in known:
                raise at.within(path).error(f"unknown field {name}{nearest(name, known)}")

    def error(self, message: str, field: str = "") -> RuleError:
        """Return an error at a field, or at the whole mapping."""
        place = self._fields.get(field, self.place)
        assert place is not None
        return place.within(self.path).error(f"{field}: {message}" if field else message)

    def names(self) -> Iterator[str]:
        """Yield the names of the fields that have a value."""
        return (name for name, place in self._fields.items() if not place.is_null)

    def at(self, name: str) -> Place | None:
        """Return the place of a field's value; None without a value."""
        place = self._fields.get(name)
        return None if place is None or place.is_null else place.within(self._path_of(name))

    def _path_of(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def line(self, name: str) -> int:
        """Return the line of a field's value."""
        return self._fields[name].line

    def text(self, name: str, default: str = "") -> str:
        """Return a text."""
        place = self.at(name)
        return default if place is None else place.text()

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        place = self.at(name)
        return tuple(item.text() for item in place.items()) if place else ()

    def flag(self, name: str, default: bool = False) -> bool:
        """Return whether a field is true."""
        place = self.at(name)
        if place is None:
            return default
        text = "" if place.is_quoted else place.text().lower()
        if text not in (*_YES, *_NO):
            raise place.error("expected true or false")
        return text in _YES

    def number(self, name: str, default: int = 0) -> int:
        """Return a whole number from 0."""
        place = self.at(name)
        if place is None:
            return default
        text = "" if place.is_quoted else place.text()
        if not (text.isascii() and text.isdecimal() and len(text) <= 20):
            raise place.error("expected a whole number from 0")
        return int(text)

    def seconds(self, name: str, default: float) -> float:
        """Return the seconds of a duration. As in Prometheus, 0s stands for the default."""
        place = self.at(name)
        return default if place is None else valued(place, parse_duration) or default


def valued(place: Place, of: Callable[[str], T]) -> T:
    """Return what a function makes of a text. Raises RuleError where it raises ValueError."""
    try:
        return of(place.text())
    except ValueError as error:
        raise place.error(str(error)) from error


def check_url(section: Section, field: str) -> None:
    """Raise RuleError unless a field is an address of HTTP with a host."""
    try:
        parts = urlsplit(section.text(field))
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise section.error("expected an address that begins with http:// or https://, and has a host", field)
