"""The verbs `backup verify` and `backup restore`."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from controlplane.backup.format.snapshot import Entry, EntryType, Snapshot, read_tree
from controlplane.backup.plane.manifest import FACT
from controlplane.backup.reading.restore import check_space, write_tree
from controlplane.backup.reading.salvage import Salvage, salvage
from controlplane.backup.reading.selection import select
from controlplane.backup.reading.swap import beside, swap_in
from controlplane.backup.reading.verify import Verdict, verify
from controlplane.backup.repository import Repository
from controlplane.backup.sources.walk import ROOT
from controlplane.backup.tally import Tally, usual_lanes
from controlplane.cli.backups.opening import check_apart, one, opened, reading
from controlplane.cli.backups.progress import shown, told_when_interrupted
from controlplane.cli.errors import VerdictNegative, WrongUsage
from controlplane.cli.render import counted, emit, say, size

TOUCHED_SHOWN = 20


def verify_repository(repository: str | None, key_file: Path | None, sample: float | None, output: str) -> None:
    """Read packs again and check every chunk. Raises VerdictNegative when something is damaged."""
    tally = Tally()
    found = opened(repository, key_file)
    with reading(found, "verify"), shown(tally, output):
        verdict = verify(found, share=1.0 if sample is None else sample / 100, lanes=usual_lanes(), tally=tally)
    emit({"good": verdict.good, **asdict(verdict)}, output, lambda: _tell_verdict(verdict))
    if not verdict.good:
        raise VerdictNegative("the repository is damaged; a backup of a source that still has the bytes heals it")


def _tell_verdict(verdict: Verdict) -> None:
    snapshots = counted(verdict.snapshots, "snapshot")
    say(f"read {verdict.packs} of {counted(verdict.of, 'pack')}, {size(verdict.bytes)}; {snapshots}")
    for note in verdict.notes:
        say(note)
    if verdict.good:
        say("everything that was read is whole, and every snapshot has all its chunks")
        return
    for fault in verdict.faults:
        say(fault)
    for touched in verdict.touched[:TOUCHED_SHOWN]:
        say(f"snapshot {touched.snapshot} cannot restore {touched.path or 'its list of files'}: chunk {touched.chunk}")
    if len(verdict.touched) > TOUCHED_SHOWN:
        say(f"… and {len(verdict.touched) - TOUCHED_SHOWN} more files")


def restore(
    snapshot: str,
    to: Path,
    repository: str | None,
    key_file: Path | None,
    file: list[str] | None,
    replace: bool,
    partial: bool,
    dry_run: bool,
) -> None:
    """Write a snapshot, or some of its files, into a new folder.

    Raises WrongUsage when the folder exists without `replace`, or when `replace` comes with `file` or `partial`;
    VerdictNegative when `partial` left something out; and the errors of `write_tree`.
    """
    _check_target(to, file, replace=replace, partial=partial)
    tally = Tally()
    found = opened(repository, key_file)
    with reading(found, "restore"):
        chosen = one(found, snapshot)
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
        if dry_run:
            say(f"{chosen.id} would write {counted(len(files), 'file')}, {total}, to {to}")
            return
        name = uuid.uuid4().hex[:8]
        ended = told_when_interrupted(f"ended: {to} is as it was before")
        with ended, beside(to.absolute(), name) as fresh, shown(tally):
            lost = write_tree(found, entries, fresh, lanes=usual_lanes(), tally=tally, partial=partial)
        old = swap_in(fresh, to.absolute(), name)
    if old is not None:
        say(f"The old folder is {old}. Delete it once the engine has loaded the restored one.")
    _tell_lost(chosen, to, (*left.faults, *lost))
    say(f"restored {counted(len(files), 'file')}, {total}, of {chosen.id} to {to}")


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
