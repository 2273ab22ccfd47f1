"""Where the files of a model's versions lie: a pattern with a version's name or number in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from controlplane.config.traffic.base import triton_folder

REPOSITORY: Final = "repository"
"""The word for the repositories of a Triton model's backends."""
VERSION: Final = "{version}"
NUMBER: Final = "{number}"
_BRACES: Final = re.compile(r"[{}]")


class FilesPattern(NamedTuple):
    """A path in which one part stands for the version: `/models/chat/{version}`."""

    text: str

    def path(self, version: str) -> Path | None:
        """Return the path of a version. None: the pattern wants a number, and the version has none."""
        if NUMBER not in self.text:
            return Path(self.text.replace(VERSION, version))
        number = triton_folder(version)
        return None if number is None else Path(self.text.replace(NUMBER, number))

    def version(self, path: Path) -> str | None:
        """Return the version whose path this is, or None."""
        mark = NUMBER if NUMBER in self.text else VERSION
        wanted = r"([1-9][0-9]{0,17})" if mark == NUMBER else r"([A-Za-z0-9][A-Za-z0-9_.-]{0,62})"
        before, _, after = str(Path(self.text)).partition(mark)
        found = re.fullmatch(f"{re.escape(before)}{wanted}{re.escape(after)}", str(path))
        if found is None:
            return None
        return f"v{found[1]}" if mark == NUMBER else found[1]

    @property
    def glob(self) -> str:
        """The pattern as a glob that finds every version. Other characters of globs stand for themselves."""
        mark = NUMBER if NUMBER in self.text else VERSION
        before, _, after = str(Path(self.text)).partition(mark)
        return f"{_literal(before)}*{_literal(after)}"


def pattern_faults(text: str) -> Iterator[str]:
    """Yield what is wrong with a model's `files`."""
    if text == REPOSITORY:
        return
    if not text.startswith("/"):
        yield f"expected an absolute path with {VERSION} or {NUMBER} in it, or the word {REPOSITORY}"
    elif text.count(VERSION) + text.count(NUMBER) != 1 or _BRACES.search(text.replace(VERSION, "").replace(NUMBER, "")):
        yield f"expected {VERSION} or {NUMBER} once, such as /models/chat/{VERSION}, and no other braces"
    elif any(part in ("..", ".") for part in text.split("/")):
        yield "expected a path without . and .. parts"


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
