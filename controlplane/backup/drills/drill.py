"""One drill: the snapshot is restored into the scratch folder, tried, and deleted again, whatever the end is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from controlplane.backup.drills.plane import Counted, try_plane
from controlplane.backup.drills.scratch import drill_folder, drop_links, links, stale_links, tidy
from controlplane.backup.engines.models import RestoredModel, models_in
from controlplane.backup.engines.triton import TritonLoader
from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import Snapshot, read_tree
from controlplane.backup.plane.bring_back import Kept
from controlplane.backup.plane.manifest import FACT
from controlplane.backup.reading.restore import write_tree
from controlplane.backup.repository import Repository
from controlplane.backup.tally import Tally, usual_lanes
from controlplane.config.backup.buckets import folder_of

TREE: Final = "restored"
"""Folder of the restored tree, in the drill's own folder."""
OpenEngine = Callable[[], AbstractAsyncContextManager[TritonLoader]]
"""Opens an engine on the running event loop."""


@dataclass(frozen=True)
class Drilled:
    """A drill that succeeded."""

    files: int
    bytes: int
    seconds: float
    """Of the restore alone, without the trial."""
    served: tuple[str, ...] = ()
    """Versions that the engine loaded, such as `chat 2`."""
    counted: Counted | None = None
    """Content of a control plane's database."""
    notes: tuple[str, ...] = ()


def drill(
    repository: Repository,
    snapshot: Snapshot,
    base: Path,
    *,
    tally: Tally,
    engine: OpenEngine | None = None,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> Drilled:
    """Restore a snapshot into the scratch folder `base`, try it, and delete it.

    A control plane's database is opened and counted. Models are loaded by `engine` if there is one: its repository of
    models is `base`. Raises BackupError with what did not work.
    """
    tidy(base)
    began = clock()
    with drill_folder(base, shared=engine is not None) as folder:
        if FACT in snapshot.facts:
            counted = try_plane(repository, Kept(repository, snapshot), folder / TREE, tally, now())
            return Drilled(tally.files, tally.bytes, clock() - began, counted=counted)
        entries = tuple(read_tree(f"snapshot {snapshot.id}", repository.tree(snapshot)))
        target = folder / TREE / _place(snapshot)
        models = models_in([entry.path for entry in entries], target) if engine is not None else []
        write_tree(repository, entries, target, lanes=usual_lanes(), tally=tally)
        done = Drilled(tally.files, tally.bytes, clock() - began)
        if engine is None:
            return done
        served, notes = asyncio.run(_tried(engine, base, models, tally))
    return Drilled(done.files, done.bytes, done.seconds, served, notes=notes)


def _place(snapshot: Snapshot) -> PurePosixPath:
    """Return the last two names of the source: a single model, or a version of one, is found by them."""
    source = PurePosixPath(folder_of(snapshot.source) or snapshot.source)
    names = [part for part in source.parts if part not in ("/", "..", ".")]
    return PurePosixPath(*(names[-2:] or ["models"]))


async def _tried(
    engine: OpenEngine, base: Path, models: Sequence[RestoredModel], tally: Tally
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Load the models, check that they are served, and unload them. Return what was served, and notes.

    Raises BackupError when the engine serves one of them already: it is not the drills' own.
    """

    def loaded() -> None:
        """Show progress: whoever watches this process stops it after an hour without any."""
        tally.bytes += 1
        tally.add(1)

    async with engine() as loader:
        before = await loader.look()
        if not before.takes_orders:
            raise BackupError("a drill needs a Triton that takes orders: start it with --model-control-mode=explicit")
        freed = await _freed(loader, base)
        busy = [
            model.name
            for model in models
            if model.name not in freed
            and any(row.state in ("READY", "LOADING") for row in before.index.get(model.name, ()))
        ]
        if busy:
            raise BackupError(
                f"the drill's engine serves {', '.join(busy)} already: a drill needs a Triton of its own, whose"
                " repository of models is the scratch folder"
            )
        with links(base, models) as linked:
            try:
                served = await loader.load(linked, before, loaded)
            finally:
                faults = await loader.unload(linked)
        return served.names, tuple(faults)


async def _freed(loader: TritonLoader, base: Path) -> list[str]:
    """Unload what drills that were killed left loaded, also drills of other jobs, and return the names.

    Each link stays until its model is unloaded: without it no later drill would know the name. Raises BackupError.
    """
    stale = stale_links(base)
    if faults := await loader.unload([RestoredModel(name, base / name) for name in stale]):
        raise BackupError(f"an earlier drill was killed, and left models loaded: {'; '.join(faults)}")
    drop_links(base, stale)
    return stale
