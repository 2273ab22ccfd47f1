"""The verb `backup restore`."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from controlplane.backup.engines.models import RestoredModel, models_in
from controlplane.backup.engines.taking import Placed, take
from controlplane.backup.engines.triton import Seen, Served, TritonLoader
from controlplane.backup.errors import NotLoaded
from controlplane.backup.format.snapshot import Entry, EntryType, Snapshot, read_tree
from controlplane.backup.plane.manifest import FACT
from controlplane.backup.reading.changes import changes
from controlplane.backup.reading.restore import check_space, write_tree
from controlplane.backup.reading.salvage import Salvage, salvage
from controlplane.backup.reading.selection import select
from controlplane.backup.reading.swap import beside, remove, swap_in
from controlplane.backup.repository import Repository
from controlplane.backup.sources.walk import ROOT
from controlplane.backup.tally import Tally, usual_lanes
from controlplane.cli.backups.opening import check_apart, one, opened, reading
from controlplane.cli.backups.progress import shown, told_when_interrupted
from controlplane.cli.errors import VerdictNegative, WrongUsage
from controlplane.cli.render import columns, counted, say, size
from controlplane.errors import Unavailable
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.triton.api import TritonApi

CHANGES_SHOWN = 100


@dataclass(frozen=True)
class Engine:
    """The Triton that has to load what is restored, as the options name it."""

    url: str
    models: tuple[str, ...]
    timeout_s: int


def restore(
    snapshot: str,
    to: Path,
    repository: str | None,
    key_file: Path | None,
    version: str | None,
    file: list[str] | None,
    replace: bool,
    partial: bool,
    to_triton: str | None,
    model: list[str] | None,
    load_timeout: int,
    delete_old: bool,
    dry_run: bool,
) -> None:
    """Write a snapshot, or some of its files, into a new folder, and let a Triton load it.

    Raises WrongUsage when the folder exists without `replace`, or when options do not fit together; VerdictNegative
    when `partial` left something out, or Triton did not load it; and the errors of `write_tree`.
    """
    _check_target(to, file, replace=replace, partial=partial)
    engine = _engine(to_triton, model, load_timeout, delete_old=delete_old, part=bool(file) or partial)
    tally = Tally()
    found = opened(repository, key_file)
    with reading(found, "restore"):
        chosen = one(found, _name(snapshot, version))
        left = salvage(found, chosen) if partial else Salvage(_whole_tree(found, chosen), ())
        if FACT in chosen.facts and not file:
            raise WrongUsage(
                f"{chosen.id} is of a control plane: `backup restore-control-plane` restores it and holds it"
            )
        entries = select(left.entries, file or ())
        if replace:
            check_apart(found, key_file, to)
            _check_kept(to, entries)
        files = [entry for entry in entries if entry.type is EntryType.FILE]
        total = size(sum(entry.size for entry in files))
        check_space(found, to.absolute(), entries)
        models = _models(entries, to.absolute(), engine) if engine else []
        before = _look(engine) if engine else None
        if dry_run:
            if replace:
                _tell_changes(to.absolute(), entries)
            say(f"{chosen.id} would write {counted(len(files), 'file')}, {total}, to {to}")
            if engine:
                _tell_engine(engine, models)
            return
        name = uuid.uuid4().hex[:8]
        ended = told_when_interrupted(f"ended: {to} is as it was before")
        with ended, beside(to.absolute(), name) as fresh, shown(tally):
            lost = write_tree(found, entries, fresh, lanes=usual_lanes(), tally=tally, partial=partial)
        placed = Placed(to.absolute(), swap_in(fresh, to.absolute(), name), name)
    _tell_lost(chosen, to, (*left.faults, *lost))
    say(f"restored {counted(len(files), 'file')}, {total}, of {chosen.id} to {to}")
    if engine and before is not None:
        _taken(engine, placed, models, before, delete_old=delete_old)
    elif placed.old is not None:
        say(f"The old folder is {placed.old}. Delete it once the engine has loaded the restored one.")


def _name(snapshot: str, version: str | None) -> str:
    """Return SUBJECT@VERSION. Raises WrongUsage when the name has a version already."""
    if version is None:
        return snapshot
    if "@" in snapshot:
        raise WrongUsage(f"{snapshot} names a version already: leave --version out")
    return f"{snapshot}@{version}"


def _engine(
    url: str | None, models: list[str] | None, timeout_s: int, *, delete_old: bool, part: bool
) -> Engine | None:
    """Return the engine that the options name. Raises WrongUsage when they do not fit together."""
    if url is None:
        if models or delete_old:
            raise WrongUsage(f"{'--delete-old' if delete_old else '--model'} needs --to-triton URL")
        return None
    url = triton_url(url)
    if part:
        raise WrongUsage("--to-triton loads a whole snapshot: leave --file and --partial out")
    return Engine(url, tuple(models or ()), timeout_s)


def triton_url(url: str) -> str:
    """Return the address unchanged. Raises WrongUsage when it is none."""
    if not url.startswith(("http://", "https://")):
        raise WrongUsage(f"--to-triton {url}: expected the address of Triton's HTTP API, such as http://127.0.0.1:8000")
    return url


def _check_target(to: Path, file: list[str] | None, *, replace: bool, partial: bool) -> None:
    """Raise WrongUsage when the target is in the way, or when `replace` would put a part in the place of a whole."""
    if os.path.lexists(to) and not replace:
        raise WrongUsage(f"{to} exists; --replace puts the restored folder in its place and keeps the old one")
    if replace and (to.is_symlink() or to.is_file()):
        raise WrongUsage(f"{to} is a link or a file: name the folder itself")
    if replace and (file or partial):
        raise WrongUsage("--replace takes a whole snapshot: restore a part of it to a new folder")


def _whole_tree(repository: Repository, snapshot: Snapshot) -> tuple[Entry, ...]:
    return tuple(read_tree(f"snapshot {snapshot.id}", repository.tree(snapshot)))


def _tell_lost(snapshot: Snapshot, to: Path, lost: Sequence[str]) -> None:
    """Print what was not restored. Raises VerdictNegative when that is something."""
    for sentence in lost:
        say(f"not restored: {sentence}")
    if lost:
        raise VerdictNegative(f"{to} holds what is left of {snapshot.id}; the lines above name what it lacks")


def _check_kept(folder: Path, entries: Sequence[Entry]) -> None:
    """Raise WrongUsage when the folder has names that the snapshot lacks: they would be gone from it."""
    if not folder.is_dir():
        return
    kept = {PurePosixPath(entry.path).parts[0] for entry in entries if entry.path != ROOT}
    if gone := sorted(path.name for path in folder.iterdir() if path.name not in kept):
        raise WrongUsage(
            f"{folder} has {', '.join(gone[:5])}, which the snapshot lacks, so the folder would be without it. Restore"
            " to a new folder and move what you need."
        )


def _tell_changes(folder: Path, entries: Sequence[Entry]) -> None:
    """Print each path that would differ, and sums of them."""
    found = changes(folder, entries)
    rows = [(one.kind, size(one.bytes) if one.bytes else "-", one.path) for one in found[:CHANGES_SHOWN]]
    columns(("CHANGE", "SIZE", "PATH"), rows, empty="nothing would change, by the sizes and times of the files")
    if len(found) > CHANGES_SHOWN:
        say(f"… and {len(found) - CHANGES_SHOWN} more paths")
    sums = []
    for kind in ("added", "changed", "removed"):
        mine = [one for one in found if one.kind == kind]
        sums.append(f"{len(mine)} {kind}, {size(sum(one.bytes for one in mine))}")
    say(f"{'; '.join(sums)}; compared by size, time and permissions")


def _tell_engine(engine: Engine, models: Sequence[RestoredModel]) -> None:
    names = ", ".join(engine.models or [model.name for model in models])
    which = "" if engine.models else ", or those of them that it has loaded"
    say(f"{engine.url} answers, and would then load {names}{which}")


def _models(entries: Sequence[Entry], folder: Path, engine: Engine) -> list[RestoredModel]:
    """Return the models of the snapshot. Raises WrongUsage when it lacks one that the engine has to load."""
    found = models_in([entry.path for entry in entries], folder)
    there = [model.name for model in found]
    if unknown := sorted(set(engine.models) - set(there)):
        raise WrongUsage(f"the snapshot has no model {', '.join(unknown)}; it has {', '.join(there)}")
    return found


def _look(engine: Engine) -> Seen:
    """Return what Triton does before the restore. Raises VerdictNegative when it does not answer."""

    async def work() -> Seen:
        async with triton_loader(engine.url, engine.timeout_s) as loader:
            return await loader.look()

    try:
        return asyncio.run(work())
    except Unavailable as error:
        raise VerdictNegative(f"nothing was restored: {error}") from error


@asynccontextmanager
async def triton_loader(url: str, timeout_s: int) -> AsyncIterator[TritonLoader]:
    """Yield what lets the Triton at `url` load models, each within `timeout_s` seconds."""
    async with open_session() as session:
        yield TritonLoader(TritonApi(url, session), url, timeout_s)


def _taken(engine: Engine, placed: Placed, models: Sequence[RestoredModel], before: Seen, *, delete_old: bool) -> None:
    """Let Triton load the restored folder, and say what became of the old one.

    Raises VerdictNegative when Triton did not load it, or when that cannot be seen.
    """

    async def work() -> Served:
        async with triton_loader(engine.url, engine.timeout_s) as loader:
            return await take(loader, placed, models, engine.models, before)

    if not before.takes_orders:
        say(f"{engine.url} takes no orders: waiting {engine.timeout_s} s at most until it has polled its repository")
    interrupted = f"ended: {placed.folder} is the restored folder, the old one is {placed.old or 'none'}"
    with told_when_interrupted(f"{interrupted}. Whether Triton has loaded it is not known"):
        try:
            served = asyncio.run(work())
        except NotLoaded as error:
            raise VerdictNegative(str(error)) from error
    names = ", ".join(served.names)
    if not served.confirmed:
        stays = f" The old folder stays: {placed.old}." if placed.old else ""
        raise VerdictNegative(
            f"{engine.url} has {names} READY, but it takes no orders, and whether it has read the restored files cannot"
            f" be seen from outside: its log says so, or restart it.{stays}"
        )
    say(f"{engine.url} has loaded {names} from {placed.folder}")
    if placed.old is None:
        return
    if delete_old:
        remove(placed.old)
        say(f"The old folder {placed.old} is deleted.")
    else:
        say(f"The old folder {placed.old} is not needed any more and may be deleted.")
