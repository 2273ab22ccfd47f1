"""The findings of a check: errors and warnings, each with its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from controlplane.config.checking import Loc
from controlplane.config.loader import LoadedFleet
from controlplane.errors import ConfigError


@dataclass(frozen=True)
class Finding:
    """One error or warning. A file with an error is refused. A warning is a gap, or a fault that may end by itself."""

    level: Literal["error", "warning"]
    fault: ConfigError
    """The place and the sentence."""

    def __str__(self) -> str:
        if self.level == "error":
            return str(self.fault)
        place = ":".join(str(part) for part in (self.fault.file, self.fault.line) if part)
        return ": ".join(part for part in (place, "warning", self.fault.field, self.fault.reason) if part)


class Findings:
    """Collects findings. Places are in one fleet.yaml, except those of `elsewhere`."""

    def __init__(self, loaded: LoadedFleet, errors: Iterable[ConfigError]) -> None:
        self._loaded = loaded
        self._found = [Finding("error", error) for error in errors]

    def error(self, loc: Loc, sentence: str) -> None:
        """Add an error."""
        self._found.append(Finding("error", self._loaded.error(loc, sentence)))

    def warn(self, loc: Loc, sentence: str) -> None:
        """Add a warning."""
        self._found.append(Finding("warning", self._loaded.error(loc, sentence)))

    def elsewhere(self, level: Literal["error", "warning"], file: str, line: int | None, sentence: str) -> None:
        """Add a finding in a file that fleet.yaml names, such as a rule file."""
        self._found.append(Finding(level, ConfigError(sentence, file=file, line=line or None)))

    def sorted(self) -> tuple[Finding, ...]:
        """Return each finding once: those of fleet.yaml by line, then those of other files."""
        own = str(self._loaded.document.path)
        each = {str(finding): finding for finding in self._found}
        return tuple(sorted(each.values(), key=lambda found: (found.fault.file != own, *_place(found.fault))))


def _place(fault: ConfigError) -> tuple[str, int, str, str]:
    return fault.file, fault.line or 0, fault.field, fault.reason
