"""How a thing is made, as a value: what did not change in a configuration need not be made anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

Made = TypeVar("Made")


class Recipe(NamedTuple, Generic[Made]):
    """A thing that is not made yet. Equal recipes make equal things: everything that it is told is in here."""

    make: Callable[..., Made]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def made(self) -> Made:
        """Return a fresh one; whoever asked closes it."""
        return self.make(*self.arguments, **self.options)
