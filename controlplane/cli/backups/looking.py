"""The verbs `backup list`, `backup show` and `backup diff`."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controlplane.backup.format.snapshot import Entry, EntryType, Snapshot, read_tree
from controlplane.backup.repository import Repository
from controlplane.cli.backups.opening import listed, named, one, opened
from controlplane.cli.errors import VerdictNegative
from controlplane.cli.render import clock, columns, counted, emit, say, size, took
from controlplane.cli.table import UNKNOWN


def snapshot_list(
    repository: str | None, key_file: Path | None, subject: str | None, limit: int | None, output: str
) -> None:
    """List the snapshots, the newest first. Without a subject no more than `limit` heads are read."""
    found = opened(repository, key_file)
    known = listed(found, limit if subject is None else None)
    shown = [item for item in reversed(known) if subject in (None, item.subject)][:limit]
    rows = [
        (
            item.id,
            clock(item.at),
            item.subject,
            item.version or UNKNOWN,
            str(item.files),
            size(item.bytes),
            size(item.new_bytes),
            item.by,
        )
        for item in shown
    ]
    header = ("ID", "STORED", "SUBJECT", "VERSION", "FILES", "SIZE", "NEW", "BY")
    empty = "no snapshots"
    if subject is not None and known:
        empty += f" of {subject}; there are some of {', '.join(sorted({item.subject for item in known}))}"
    emit([snapshot_document(item) for item in shown], output, lambda: columns(header, rows, empty=empty))


def snapshot_show(snapshot: str, repository: str | None, key_file: Path | None, output: str) -> None:
    """Show one snapshot with its files."""
    found = opened(repository, key_file)
    chosen = one(found, snapshot)
    entries = _entries(found, chosen)
    files = [
        {
            "path": entry.path,
            "type": entry.type.value,
            "size": entry.size,
            "digest": entry.digest,
            "target": entry.target,
        }
        for entry in entries.values()
    ]

    def table() -> None:
        say(f"{chosen.id}  {named(chosen)}")
        say(
            f"  of {chosen.source} on {chosen.host} by {chosen.by}, at {clock(chosen.made_at)} by its clock,"
            f" {clock(chosen.at)} by the repository's"
        )
        total, new = size(chosen.bytes), size(chosen.new_bytes)
        say(f"  {counted(chosen.files, 'file')}, {total}, {new} new, in {took(chosen.seconds)}")
        say(f"  digest {chosen.digest}")
        for key, value in {**chosen.facts, **chosen.tags}.items():
            say(f"  {key}: {value}")
        columns(("MODE", "SIZE", "PATH"), [_row(entry) for entry in entries.values()], empty="no files")

    emit({**snapshot_document(chosen), "entries": files}, output, table)


def diff(before: str, after: str, repository: str | None, key_file: Path | None, output: str) -> None:
    """Print what differs between two snapshots. Raises VerdictNegative when something does."""
    found = opened(repository, key_file)
    old, new = one(found, before), one(found, after)
    changes = _changes(_entries(found, old), _entries(found, new))
    rows = [(change["change"], size(change["new_bytes"]), change["path"]) for change in changes]
    empty = f"{old.id} and {new.id} are equal"
    emit(changes, output, lambda: columns(("CHANGE", "NEW", "PATH"), rows, empty=empty))
    if changes:
        raise VerdictNegative(f"the snapshots differ in {counted(len(changes), 'path')}")


def _changes(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> list[dict[str, Any]]:
    """Return a row for each path that differs. Times alone are no difference."""
    rows = []
    known = {chunk for entry in old.values() for chunk in entry.chunks}
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before is not None and after is not None and _same(before, after):
            continue
        change = "added" if before is None else "removed" if after is None else "changed"
        rows.append({"path": path, "change": change, "new_bytes": _new_bytes(after, known)})
    return rows


def _same(before: Entry, after: Entry) -> bool:
    return (before.type, before.mode, before.digest, before.target) == (
        after.type,
        after.mode,
        after.digest,
        after.target,
    )


def _new_bytes(entry: Entry | None, known: set[bytes]) -> float | None:
    """Return about how many bytes of a file are in chunks that the older snapshot lacks. None: not a file."""
    if entry is None or entry.type is not EntryType.FILE:
        return None
    fresh = sum(chunk not in known for chunk in entry.chunks)
    return entry.size * fresh / len(entry.chunks) if entry.chunks else 0.0


def _entries(repository: Repository, snapshot: Snapshot) -> dict[str, Entry]:
    body = repository.tree(snapshot)
    return {entry.path: entry for entry in read_tree(f"snapshot {snapshot.id}", body)}


def _row(entry: Entry) -> tuple[str, str, str]:
    kind = {EntryType.FOLDER: stat.S_IFDIR, EntryType.LINK: stat.S_IFLNK}.get(entry.type, stat.S_IFREG)
    arrow = {EntryType.LINK: " -> ", EntryType.SAME: " = "}.get(entry.type, "")
    length = size(entry.size) if entry.type is EntryType.FILE else "-"
    return stat.filemode(kind | entry.mode), length, f"{entry.path}{arrow}{entry.target}"


def snapshot_document(snapshot: Snapshot) -> dict[str, Any]:
    """Return the head of a snapshot as data, with its times as RFC 3339."""
    document = asdict(snapshot)
    del document["tree"]
    return {**document, "made_at": _utc(snapshot.made_at), "stored_at": _utc(snapshot.at)}


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
