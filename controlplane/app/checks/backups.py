"""Check what `backup:` names: folders, the key file and the repository; and whether a failed backup is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from alerts.rules import RuleGroup
from controlplane.app.checks.findings import Findings
from controlplane.backup.errors import WrongKey
from controlplane.backup.keys.keyfile import read_key
from controlplane.backup.repository import HEADER
from controlplane.config.backup.buckets import folder_of
from controlplane.config.backup.section import BackupSection
from controlplane.config.checking import Loc
from controlplane.config.loader import LoadedFleet

PATIENCE_S: Final = 5.0
"""Seconds that all folders and files may take together. A network file system that is away never answers, and a reload
must not wait for it."""
METRICS: Final = "controlplane_backup_"
"""Beginning of the names of the metrics that rules on backups read."""


def check_backups(loaded: LoadedFleet, groups: Iterable[RuleGroup], findings: Findings) -> None:
    """Add warnings for what the jobs of `backup:` need and lack on this machine. `groups` are the rules. Blocking."""
    section = loaded.fleet.backup if loaded.fleet.reads("backup") else None
    if section is None:
        return
    for loc, sentence in _answered(lambda: list(_missing(section)), PATIENCE_S):
        findings.warn(("backup", *loc), sentence)
    if loaded.fleet.reads("rules") and not any(METRICS in rule.expr for group in groups for rule in group.rules):
        sentence = "no rule watches the backups, so nobody is told when one fails or is too old; add builtin:backups to"
        findings.warn(("backup",), f"{sentence} rules:")


def _answered(look: Callable[[], list[tuple[Loc, str]]], patience_s: float) -> list[tuple[Loc, str]]:
    """Return what `look` finds. When it does not end in time, return a warning instead; its thread waits on alone."""
    found: list[list[tuple[Loc, str]]] = []
    thread = threading.Thread(target=lambda: found.append(look()), name="check of backup:", daemon=True)
    thread.start()
    thread.join(patience_s)
    if found:
        return found[0]
    return [((), f"its folders and files did not answer within {patience_s:g} s: is a network file system away?")]


def _missing(section: BackupSection) -> Iterator[tuple[Loc, str]]:
    key_file = section.key_file if section.reads("key_file") else None
    if key_file is not None:
        yield from _key_file(key_file)
    repository = folder_of(section.repository) if section.reads("repository") else None
    if repository is not None:
        yield from _repository(repository)
    for number, job in enumerate(section.jobs if section.reads("jobs") else ()):
        if job.reads("folder") and isinstance(job.folder, Path):
            loc: Loc = ("jobs", number, "folder")
            yield from ((loc, sentence) for sentence in _source(job.folder, key_file, repository))


def _key_file(path: Path) -> Iterator[tuple[Loc, str]]:
    try:
        read_key(path)
        others = path.stat().st_mode & 0o077
    except (WrongKey, OSError) as error:
        yield ("key_file",), str(error)
        return
    if others:
        yield ("key_file",), f"{path} can be read or written by other users than its owner: run chmod 600 {path}"


def _repository(root: Path) -> Iterator[tuple[Loc, str]]:
    if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises where a folder above may not be entered
        cure = "`controlplane backup init` makes a repository; is a disk not mounted?"
        yield ("repository",), f"the folder {root} does not exist here. {cure}"
    elif not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        yield ("repository",), f"this user may not read and write the folder {root}"
    elif not os.access(root / HEADER, os.F_OK):
        yield ("repository",), f"{root} holds no repository: `controlplane backup init` makes one"


def _source(folder: Path, key_file: Path | None, repository: Path | None) -> Iterator[str]:
    if not os.path.isdir(folder):  # noqa: PTH112 - as above
        yield f"the folder {folder} does not exist here, so its backups will fail"
    elif not os.access(folder, os.R_OK | os.X_OK):
        yield f"this user may not read the folder {folder}, so its backups will fail"
    target = _real(folder)
    if repository is not None:
        root = _real(repository)
        if root.is_relative_to(target):
            yield f"the repository {root} is in {folder}, so each backup would back up all others; move one of them"
        elif target.is_relative_to(root):
            yield f"{folder} is in the repository {root}; move it to another place"
    if key_file is not None and _real(key_file).is_relative_to(target):
        yield f"the key file {key_file} is in {folder}, so the backups would hold their own key; move it"


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises for a loop of links
