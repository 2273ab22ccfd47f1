"""Reads fleet.yaml. Every fault names file, line, field and what was expected; all faults are found in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from controlplane.config.checking import Loc
from controlplane.config.document import Document, dotted, read_document
from controlplane.config.model import Fleet
from controlplane.config.reading import read_section
from controlplane.errors import ConfigError, ConfigErrors

Found = TypeVar("Found", bound=BaseModel)


@dataclass(frozen=True)
class LoadedFleet:
    """A fleet.yaml and where it came from: the paths in it are absolute, seen from its folder."""

    fleet: Fleet
    path: Path
    document: Document = field(repr=False, compare=False)

    def error(self, loc: Loc, sentence: str) -> ConfigError:
        """Return a fault of the file at a place in it."""
        return self.document.error(loc, sentence)


@dataclass(frozen=True)
class ReadFleet:
    """What could be read of a fleet.yaml: fields that are wrong are absent from `loaded.fleet`."""

    loaded: LoadedFleet
    errors: tuple[ConfigError, ...]


def read_fleet(path: Path) -> ReadFleet:
    """Read a fleet.yaml as far as it can be. Raises ConfigErrors for a file that is no YAML map."""
    return _read(read_document(path))


def load_fleet(path: Path) -> LoadedFleet:
    """Read and validate a fleet.yaml.

    Raises ConfigErrors with one ConfigError a fault, in the order of lines.
    """
    return _accepted(read_fleet(path))


def fleet_content(path: Path) -> dict[str, Any]:
    """Return the content of a good fleet.yaml as it is written, for another process. Raises ConfigErrors."""
    document = read_document(path)
    _accepted(_read(document))
    return document.data


def validated(content: dict[str, Any]) -> Fleet:
    """Return the fleet of a content that was read elsewhere. Raises ConfigErrors, which name fields and no lines."""
    fleet, faults = read_section(Fleet, content)
    if faults:
        raise ConfigErrors([ConfigError(sentence, field=dotted(loc)) for loc, sentence in faults])
    return fleet


def in_order(errors: Iterable[ConfigError]) -> list[ConfigError]:
    """Return the faults of a file by line, each once."""
    each = {str(error): error for error in errors}
    return sorted(each.values(), key=lambda error: (error.line or 0, error.field, error.reason))


def _read(document: Document) -> ReadFleet:
    fleet, faults = read_section(Fleet, document.data)
    errors = in_order(document.error(*fault) for fault in faults)
    path = document.path.absolute()
    return ReadFleet(LoadedFleet(located(fleet, path.parent), path, document), tuple(errors))


def _accepted(read: ReadFleet) -> LoadedFleet:
    if read.errors:
        raise ConfigErrors(list(read.errors))
    return read.loaded


def located(value: Found, folder: Path) -> Found:
    """Return a section with the paths in it relative to `folder` made absolute; fields that are absent stay so."""
    changes = {name: _anchored(given, folder) for name, given in vars(value).items()}
    moved = value.model_copy()
    moved.__dict__.update(changes)
    return moved


def _anchored(value: Any, folder: Path) -> Any:
    match value:
        case Path():
            return folder / value
        case BaseModel():
            return located(value, folder)
        case tuple():
            return tuple(_anchored(item, folder) for item in value)
        case dict():
            return {key: _anchored(item, folder) for key, item in value.items()}
        case _:
            return value
