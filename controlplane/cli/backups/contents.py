"""The verbs `models digest` and `backup contents`: what a version consists of, on disk and in a snapshot."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from controlplane.backup.content.in_snapshot import contents as contents_of
from controlplane.backup.content.reading import Reading, read_content
from controlplane.backup.format.snapshot import read_tree
from controlplane.backup.jobs.leashed import be_gentle
from controlplane.backup.tally import Tally
from controlplane.cli.backups.opening import one, opened
from controlplane.cli.backups.progress import shown
from controlplane.cli.render import columns, counted, emit, say, size
from controlplane.cli.table import UNKNOWN


def digest(path: Path, memory: Path | None, output: str) -> None:
    """Print the digest and the facts of a version's files. `memory` remembers files that do not change."""
    be_gentle()
    tally = Tally()
    with shown(tally, output):
        found = read_content(path.absolute(), Reading(memory=memory, environment=os.environ), tally)

    def table() -> None:
        say(f"{found.digest}  {found.root}")
        say(f"  {counted(found.files, 'file')}, {size(found.bytes)}")
        for name, text in found.facts.items():
            say(f"  {name.replace('_', ' ')}: {text}")

    emit(asdict(found), output, table)


def contents(
    snapshot: str, folder: list[str] | None, repository: str | None, key_file: Path | None, output: str
) -> None:
    """Print the digests of a snapshot's folders, as `models digest` prints them on disk."""
    found = opened(repository, key_file)
    chosen = one(found, snapshot)
    entries = read_tree(f"snapshot {chosen.id}", found.tree(chosen))
    rows: list[dict[str, Any]] = [asdict(each) for each in contents_of(entries, folder or ["."])]
    table = [(r["folder"], r["digest"] or UNKNOWN, str(r["files"]), size(r["bytes"]), r["unknown"]) for r in rows]
    header = ("FOLDER", "DIGEST", "FILES", "SIZE", "")
    emit(rows, output, lambda: columns(header, table, empty="no such folder in the snapshot"))
