"""Where a version's files come from: a commit of the Hugging Face Hub, or the person who wrote them here."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from controlplane.backup.content.files import ContentFile

_CACHED: Final = re.compile(r"models--(.+)")
"""Folder of a repository in the cache: `models--ORGANISATION--NAME`."""
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
REAL_PATH: Final = "real_path"
"""Name of the fact that says where a version lies that is reached by a link."""
_SMALL: Final = 4096


def origin_of(root: Path, files: Sequence[ContentFile]) -> dict[str, str]:
    """Return where files come from.

    `origin` is a repository and its commit, `owner` the user who owns the largest file, `changed_at` the newest change
    (RFC 3339), and `real_path` the path behind links, where it is another one.
    """
    found = {"origin": _hub(root)}
    real = os.path.realpath(root)
    if real != str(root) and real.isprintable():
        found[REAL_PATH] = real
    if files:
        largest = max(files, key=lambda one: one.mark.size)
        newest = max(one.mark.mtime_ns for one in files) / 1e9
        found["owner"] = _user(largest.owner)
        found["changed_at"] = _instant(newest)
    return {name: text for name, text in found.items() if text}


def cached_repository(root: Path) -> tuple[Path, str, str] | None:
    """Return the cache, the repository and the commit of a snapshot folder of the Hugging Face cache, or None."""
    real = Path(os.path.realpath(root))
    for folder in (real, *real.parents):
        match = _CACHED.fullmatch(folder.parent.parent.name) if folder.parent.name == "snapshots" else None
        if match is not None and _COMMIT.fullmatch(folder.name):
            return folder.parent.parent.parent, match[1].replace("--", "/"), folder.name
    return None


def _hub(root: Path) -> str:
    """Return `hf:REPOSITORY@COMMIT` of a snapshot in the cache, `hf:@COMMIT` of a download to a folder, or ""."""
    cached = cached_repository(root)
    if cached is not None:
        return f"hf:{cached[1]}@{cached[2]}"
    # `hf download --local-dir` notes the commit of each file, and not the repository.
    commits: Mapping[str, None] = dict.fromkeys(filter(None, map(_noted_commit, _notes(root))))
    return f"hf:@{next(iter(commits))}" if len(commits) == 1 else ""


def _notes(root: Path) -> list[Path]:
    try:
        return sorted((root / ".cache" / "huggingface" / "download").glob("*.metadata"))[:100]
    except OSError:
        return []


def _noted_commit(note: Path) -> str:
    try:
        with note.open("rb") as file:
            first = file.read(_SMALL).decode("ascii", "replace").split("\n", 1)[0].strip()
    except OSError:
        return ""
    return first if _COMMIT.fullmatch(first) else ""


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except (KeyError, OSError):
        return f"user {number}"


def _instant(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""
