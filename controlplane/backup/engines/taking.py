"""A restored folder that an engine has to take: when it does not, the old folder is put back and loaded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.backup.engines.models import RestoredModel
from controlplane.backup.engines.triton import Seen, Served, TritonLoader
from controlplane.backup.errors import BackupError, NotLoaded
from controlplane.backup.reading.swap import swap_back
from controlplane.errors import Unavailable


@dataclass(frozen=True)
class Placed:
    """A restored folder under its own name."""

    folder: Path
    old: Path | None
    """Where the old folder is. None: there was none."""
    name: str
    """Word in the names of folders beside it."""


async def take(
    engine: TritonLoader, placed: Placed, models: Sequence[RestoredModel], names: Sequence[str], before: Seen
) -> Served:
    """Let the engine load the models of a restored folder: those with these names, or as `TritonLoader.chosen` says.

    When it does not, the old folder gets its place back and is loaded again. Raises NotLoaded, which says all of that.
    """
    chosen: Sequence[RestoredModel] = ()
    try:
        chosen = await engine.chosen(models, names)
        return await engine.load(chosen, before)
    except (BackupError, Unavailable) as error:
        words = await _went_back(engine, placed, chosen, before, error)
        raise NotLoaded(f"{error}. {words}") from error


async def _went_back(
    engine: TritonLoader, placed: Placed, models: Sequence[RestoredModel], before: Seen, error: Exception
) -> str:
    """Put the old folder back. Return sentences about where everything is now."""
    if placed.old is None:
        return f"There was no folder {placed.folder} before, so the restored one stays there."
    refused = swap_back(placed.folder, placed.old, placed.name)
    words = f"{placed.folder} is the old folder again, and the restored one is {refused}."
    if not models:
        return words
    if isinstance(error, NotLoaded) and error.hangs:
        return f"{words} Triton may still carry out the load, and cannot cancel it: restart it, if it does not end."
    try:
        served = await engine.load(models, before)
    except (BackupError, Unavailable) as second:
        return f"{words} Triton does not load the old folder either: {second}"
    again = ", ".join(served.names)
    if not served.confirmed:
        return f"{words} Triton has {again} READY."
    return f"{words} Triton has loaded {again} from the old folder again."
