"""Whether a model's files are all there: an index of shards names every file that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Final

import orjson

from controlplane.backup.errors import SourceIncomplete

INDEX: Final = ".index.json"
INDEX_LIMIT: Final = 64 << 20


def check_complete(place: str, paths: Iterable[str], content: Callable[[str, int], bytes]) -> None:
    """Raise SourceIncomplete when an index of shards names files that are not among `paths`.

    `place` names the root for people. `content` returns at most so many bytes of a path, nothing of what is no file.
    """
    present = set(paths)
    for path in sorted(p for p in present if p.endswith(INDEX)):
        missing = sorted(_shards(content(path, INDEX_LIMIT), PurePosixPath(path).parent) - present)
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise SourceIncomplete(
                f"{place}/{path} names {len(missing)} files that are missing: {shown}. Complete the download, or leave"
                " the index out with --exclude."
            )


def _shards(index: bytes, folder: PurePosixPath) -> set[str]:
    """Return the paths that an index names; none when it is no index of shards."""
    try:
        return {(folder / str(name)).as_posix() for name in orjson.loads(index)["weight_map"].values()}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return set()
