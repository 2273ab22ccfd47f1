"""Recipes of scripted sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from collectors.target import Source, Target


class MadeBy(NamedTuple):
    """A source that a test's own function makes when the target is first read."""

    factory: Callable[[Target], Source]
    target: Target

    def source(self) -> Source:
        return self.factory(self.target)
