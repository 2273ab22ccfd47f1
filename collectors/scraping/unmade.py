"""A target whose source cannot be made: it is down, and every other target goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from collectors.errors import SourceUnmade
from collectors.target import SourceRecipe, Target

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unmade:
    """Recipe and source in one: each read fails for the reason for which no source could be made."""

    reason: str
    target: Target
    bug: Exception = field(compare=False)

    def made(self) -> Unmade:
        """Log the bug, and return itself."""
        words = "target %s/%s: no source can be made: internal error (%s)"
        _log.error(words, self.target.job, self.target.instance, self.reason, exc_info=self.bug)
        return self

    async def read(self, timeout_s: float) -> bytes:
        """Raise SourceUnmade."""
        raise SourceUnmade(f"internal error ({self.reason}), see the log of the control plane")

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""


def recipe_or_fault(recipe_of: Callable[[Target], SourceRecipe], target: Target) -> SourceRecipe:
    """Return a target's recipe. If making one fails, return one whose reads fail with the reason."""
    try:
        return recipe_of(target)
    except Exception as bug:  # noqa: BLE001 - the task boundary: one target's bug must not end all scraping
        return Unmade(f"{type(bug).__name__}: {bug}"[:200], target, bug)
