"""Whether a model's files are all there: an index of shards names every file that it needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

import orjson

from controlplane.backup.errors import SourceIncomplete

INDEX: Final = ".index.json"
INDEX_LIMIT: Final = 64 << 20


def check_complete(root: Path, paths: Iterable[str]) -> None:
    """Raise SourceIncomplete when an index of shards below `root` names files that are not among `paths`."""
    present = set(paths)
    for path in sorted(p for p in present if p.endswith(INDEX)):
        missing = sorted(_shards(root / path, PurePosixPath(path).parent) - present)
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise SourceIncomplete(
                f"{root / path} names {len(missing)} files that are missing: {shown}. Complete the download, or leave"
                " the index out with --exclude."
            )


def _shards(index: Path, folder: PurePosixPath) -> set[str]:
    """Return the paths that an index names; none when it is no index of shards."""
    if not index.is_file():
        return set()  # A pipe would never end.
    try:
        with index.open("rb") as file:
            document = orjson.loads(file.read(INDEX_LIMIT))
        return {(folder / str(name)).as_posix() for name in document["weight_map"].values()}
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return set()
