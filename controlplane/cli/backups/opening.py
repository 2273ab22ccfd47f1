"""Opens the repository that a verb names."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from controlplane.backup.clocks import clock_warnings
from controlplane.backup.errors import BackupError, NoSpace, StoreUnreachable
from controlplane.backup.format.snapshot import Snapshot, is_id
from controlplane.backup.intents import announced
from controlplane.backup.keys.keyfile import read_key
from controlplane.backup.repository import Repository
from controlplane.backup.sources.bucket import BucketSource
from controlplane.backup.storage.addresses import open_store
from controlplane.backup.storage.folder import FolderStore
from controlplane.cli.errors import WrongUsage
from controlplane.cli.render import say
from controlplane.config.backup.buckets import overlapping


def address(repository: str | None) -> str:
    """Return the address of the repository. Raises WrongUsage when neither option nor environment names one."""
    found = repository or os.environ.get("CP_BACKUP_REPOSITORY", "")
    if not found:
        raise WrongUsage("name the repository with --repository or CP_BACKUP_REPOSITORY, such as file:///backups/llm")
    return found


def key_path(key_file: Path | None) -> Path:
    """Return the path of the key file. Raises WrongUsage when neither option nor environment names one."""
    found = key_file or Path(os.environ.get("CP_BACKUP_KEY_FILE", ""))
    if found == Path():
        raise WrongUsage("name the key file with --key-file or CP_BACKUP_KEY_FILE; `backup init` makes it")
    return found


def opened(repository: str | None, key_file: Path | None) -> Repository:
    """Return the repository, opened with its key. Faults of its index are told on stderr."""

    def tell(fault: BackupError) -> None:
        say(f"a part of the index cannot be read: {fault}", sys.stderr)

    return Repository.open(open_store(address(repository)), [read_key(key_path(key_file))], tell)


def check_apart(repository: Repository, key_file: Path | None, folder: Path) -> None:
    """Raise WrongUsage when the repository or the key file is below the folder, or the folder in the repository."""
    store = repository.store
    if isinstance(store, FolderStore):
        root, target = store.root.resolve(), folder.resolve()
        if root.is_relative_to(target) or target.is_relative_to(root):
            raise WrongUsage(f"the repository {root} and the folder {target} must not contain each other; move one")
    if key_path(key_file).resolve().is_relative_to(folder.resolve()):
        raise WrongUsage(f"the key file {key_path(key_file)} is in {folder}; move it to another place")


def check_buckets_apart(repository: Repository, source: BucketSource) -> None:
    """Raise WrongUsage when the repository is below the prefix of the source, or the source in the repository."""
    if overlapping(source.uri, repository.store.address):
        raise WrongUsage(
            f"the repository {repository.store.address} and the source {source.uri} must not contain each other; move"
            " one"
        )


@contextmanager
def reading(repository: Repository, work: str) -> Iterator[None]:
    """Keep a prune from deleting packs during the block, where the repository can be written to.

    The index is read again then: a prune that did not wait for this block may have deleted packs since it was read.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(announced(repository.store, platform.node(), work))
        except (StoreUnreachable, NoSpace) as error:
            say(f"a prune that runs meanwhile will not wait for this {work}: {error}", sys.stderr)
        repository.refresh()  # its faults were told when the repository was opened
        yield


def listed(repository: Repository, newest: int | None = None, only: str | None = None) -> list[Snapshot]:
    """Return all snapshots, or the newest ones, or the one with the id `only`, the oldest first.

    Those that cannot be read, and wrong clocks, are told on stderr.
    """
    faults: list[BackupError] = []
    found = repository.snapshots(faults.append, newest, only)
    for fault in faults:
        say(f"left out: {fault}", sys.stderr)
    for warning in clock_warnings(found):
        say(warning, sys.stderr)
    return found


def named(snapshot: Snapshot) -> str:
    """Return SUBJECT, or SUBJECT@VERSION: the name under which `one` finds the snapshot."""
    return f"{snapshot.subject}@{snapshot.version}" if snapshot.version else snapshot.subject


def one(repository: Repository, name: str) -> Snapshot:
    """Return the snapshot whose id begins with `name`, or the newest one of a subject or of SUBJECT@VERSION.

    Raises WrongUsage when there is none, or when several ids begin with it.
    """
    if is_id(name) and (whole := listed(repository, only=name)):
        return whole[0]
    found = listed(repository)
    subject, at, version = name.partition("@")
    if not subject or (at and not version):
        raise WrongUsage(f"{name!r} names no snapshot: write an id, a SUBJECT, or SUBJECT@VERSION")
    same = [one for one in found if one.subject == subject and version in ("", one.version)]
    if same:
        return same[-1]
    matching = [one for one in found if one.id.startswith(name)]
    if not matching:
        raise WrongUsage(f"the repository has no snapshot {name!r}; `backup list` lists them")
    if len(matching) > 1:
        raise WrongUsage(f"{name!r} begins the ids of {len(matching)} snapshots; write more of the id")
    return matching[0]
