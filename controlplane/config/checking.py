"""Checks of a section of fleet.yaml: faults that concern more than one field, also when some fields are unreadable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple, TypeVar

Loc = tuple[int | str, ...]
"""A place in a file: field names, indexes of lists, keys of maps."""
Check = Callable[[Any], Iterator["Fault"]]
_Decorated = TypeVar("_Decorated", bound=Check)
_MARK = "_checks_a_section"


class Fault(NamedTuple):
    """A fault: a place and a sentence."""

    loc: Loc
    """Place, relative to the section that was checked."""
    sentence: str


class Faults(ValueError):
    """Faults of a section whose fields are each valid."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(fault.sentence for fault in faults))
        self.faults = faults


class UnreadField(AttributeError):
    """A check used a field that could not be read. The check has no result then."""


def check(method: _Decorated) -> _Decorated:
    """Mark a method of a section that yields faults. One rule per method: an unread field ends the method."""
    setattr(method, _MARK, True)
    return method


def faults_of(section: Any) -> Iterator[Fault]:
    """Yield the faults of every check of a section. A check that uses an unread field ends without a fault."""
    for method in _checks(section.__class__):
        try:
            yield from method(section)
        except UnreadField:
            continue


@cache
def _checks(kind: type) -> tuple[Check, ...]:
    methods = {name: method for base in reversed(kind.__mro__) for name, method in vars(base).items()}
    return tuple(method for method in methods.values() if getattr(method, _MARK, False))
