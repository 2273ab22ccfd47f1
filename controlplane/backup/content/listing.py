"""Lists what is at paths, as a program: `python -m controlplane.backup.content.listing GLOB…`.

It is a program of its own because a file server that is away blocks the process that looks at it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import orjson

ROOT: Final = Path("/")
MOST: Final = 10_000
"""Most paths of one glob."""


def main(globs: Sequence[str]) -> None:
    """Print the paths that match, as a list of JSON. A glob is absolute. Names that are not UTF-8 are left out."""
    found = {str(path) for glob in globs for path in islice(ROOT.glob(glob.lstrip("/")), MOST)}
    sys.stdout.buffer.write(orjson.dumps(sorted(filter(_is_text, found))))


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
