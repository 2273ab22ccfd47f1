"""Recipes: the construction of an object as a value. An object whose recipe did not change at a reload is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

Made = TypeVar("Made")


class Recipe(NamedTuple, Generic[Made]):
    """The construction of an object: a function and all its arguments. Equal recipes make equal objects."""

    make: Callable[..., Made]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def made(self) -> Made:
        """Return a new object. The caller closes it."""
        return self.make(*self.arguments, **self.options)
