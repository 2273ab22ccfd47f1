"""The verb `backup prune`."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import Snapshot
from controlplane.backup.keys.epochs import check_current
from controlplane.backup.pruning.prune import plan_prune, prune
from controlplane.backup.pruning.retention import Fate, Keep, fates
from controlplane.backup.pruning.whole import last_whole
from controlplane.backup.repository import Repository
from controlplane.cli.backups.opening import opened
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import columns, counted, say, size
from controlplane.cli.table import UNKNOWN


def prune_repository(
    repository: str | None,
    key_file: Path | None,
    keep_last: int,
    keep_hourly: int,
    keep_daily: int,
    keep_weekly: int,
    keep_monthly: int,
    keep_path: list[str] | None,
    subject: list[str] | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete snapshots beyond what is kept, and the packs that nothing needs any more.

    `subject` limits the snapshots that may go to these subjects. Packs are looked at in any case. `keep_path` names
    paths, such as a version that serves: of each subject the newest whole snapshot with each of them stays.
    """
    keep = Keep(keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly)
    found = opened(repository, key_file)
    mine = _of(_all(found), subject)
    protected = last_whole(found, mine, [path.strip("/") for path in keep_path or ()])
    check_current(found.store, found.secrets)  # without the newest data keys, whole snapshots look damaged
    gone = [fate.snapshot for fate in _shown(fates(mine, keep, protected), keep) if not fate.reasons]
    if dry_run:
        freed = size(plan_prune(found, without={snapshot.id for snapshot in gone}).freed)
        say(f"{counted(len(gone), 'snapshot')} would be deleted, and {freed} would be freed")
        return
    if gone and not yes:
        _ask(len(gone))
    for snapshot in gone:
        found.store.delete(f"snapshots/{snapshot.id}")
    result = prune(found, host=platform.node())
    for fault in result.faults:
        say(f"a part of the index cannot be read, and its packs stay: {fault}", sys.stderr)
    say(f"deleted {counted(len(gone), 'snapshot')} and {counted(result.deleted, 'pack')}, {size(result.bytes)}")
    if result.waiting:
        say(
            f"{counted(result.waiting, 'pack')} could not be deleted yet, since backups or restores run now."
            " The next prune deletes them."
        )


def _all(repository: Repository) -> list[Snapshot]:
    """Return all snapshots. Raises BackupError when one cannot be read: which ones may go cannot be told then."""

    def refuse(error: BackupError) -> None:
        raise BackupError(f"nothing is deleted while a snapshot cannot be read: {error}")

    return repository.snapshots(refuse)


def _of(snapshots: list[Snapshot], subjects: list[str] | None) -> list[Snapshot]:
    return [one for one in snapshots if not subjects or one.subject in subjects]


def _shown(found: Sequence[Fate], keep: Keep) -> Sequence[Fate]:
    """Print the fate of every snapshot. Without any number to keep every snapshot stays."""
    if keep == Keep():
        return [Fate(fate.snapshot, ("no --keep option",)) for fate in found]
    rows = [
        (fate.snapshot.id, fate.snapshot.subject, fate.snapshot.version or UNKNOWN, _decision(fate)) for fate in found
    ]
    columns(("ID", "SUBJECT", "VERSION", "DECISION"), rows, empty="no snapshots")
    return found


def _decision(fate: Fate) -> str:
    return f"keep: {', '.join(fate.reasons)}" if fate.reasons else "DELETE"


def _ask(count: int) -> None:
    if not sys.stdin.isatty():
        raise WrongUsage("no terminal to ask: add --yes to delete the snapshots")
    say(f"Delete {counted(count, 'snapshot')}? Deleted snapshots cannot be brought back. [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise WrongUsage("nothing was deleted")
