"""What a check of a configuration comes upon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from controlplane.config.checking import Loc
from controlplane.config.loader import LoadedFleet
from controlplane.errors import ConfigError


@dataclass(frozen=True)
class Finding:
    """An error refuses the file. A warning is what will be missed, or may mend itself without an edit of the file."""

    level: Literal["error", "warning"]
    fault: ConfigError
    """Where it is, and the sentence."""

    def __str__(self) -> str:
        if self.level == "error":
            return str(self.fault)
        place = ":".join(str(part) for part in (self.fault.file, self.fault.line) if part)
        return ": ".join(part for part in (place, "warning", self.fault.field, self.fault.reason) if part)


class Findings:
    """Collects findings; places are those of one fleet.yaml unless they name another file."""

    def __init__(self, loaded: LoadedFleet, errors: Iterable[ConfigError]) -> None:
        self._loaded = loaded
        self._found = [Finding("error", error) for error in errors]

    def error(self, loc: Loc, sentence: str) -> None:
        """Note what refuses the file."""
        self._found.append(Finding("error", self._loaded.error(loc, sentence)))

    def warn(self, loc: Loc, sentence: str) -> None:
        """Note what does not."""
        self._found.append(Finding("warning", self._loaded.error(loc, sentence)))

    def elsewhere(self, level: Literal["error", "warning"], file: str, line: int | None, sentence: str) -> None:
        """Note what is wrong in a file that fleet.yaml names."""
        self._found.append(Finding(level, ConfigError(sentence, file=file, line=line or None)))

    def sorted(self) -> tuple[Finding, ...]:
        """Return each finding once: those of fleet.yaml by line, then those of other files."""
        own = str(self._loaded.document.path)
        each = {str(finding): finding for finding in self._found}
        return tuple(sorted(each.values(), key=lambda found: (found.fault.file != own, *_place(found.fault))))


def _place(fault: ConfigError) -> tuple[str, int, str, str]:
    return fault.file, fault.line or 0, fault.field, fault.reason
