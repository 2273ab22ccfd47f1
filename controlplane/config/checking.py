"""What a section of fleet.yaml says about itself: faults that concern more than one field, and what cannot be known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

Loc = tuple[int | str, ...]
"""A place in a file: field names, positions in lists, keys of maps."""
Check = Callable[[Any], Iterator["Fault"]]
_Decorated = TypeVar("_Decorated", bound=Check)
_MARK = "_checks_a_section"


class Fault(NamedTuple):
    """Something that is wrong."""

    loc: Loc
    """Seen from the section that says so."""
    sentence: str


class Faults(ValueError):
    """The faults of a section whose fields are each good by themselves."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(fault.sentence for fault in faults))
        self.faults = faults


class UnreadField(AttributeError):
    """A check asked for a field that could not be read: nothing can be said of what depends on it."""


def check(method: _Decorated) -> _Decorated:
    """Mark a section's method that yields faults. One rule a method: it ends early where it meets an unread field."""
    setattr(method, _MARK, True)
    return method


def faults_of(section: Any) -> Iterator[Fault]:
    """Run every check of a section; those that need what could not be read say nothing."""
    methods = {name: method for base in reversed(type(section).__mro__) for name, method in vars(base).items()}
    for method in methods.values():
        if getattr(method, _MARK, False):
            try:
                yield from method(section)
            except UnreadField:
                continue
