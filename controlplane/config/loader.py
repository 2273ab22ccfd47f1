"""Reads fleet.yaml. One pass finds all faults. Each names file, line, field and what was expected."""

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
from controlplane.config.scraping import relabel
from controlplane.errors import ConfigError, ConfigErrors

Found = TypeVar("Found", bound=BaseModel)


@dataclass(frozen=True)
class LoadedFleet:
    """A fleet.yaml and its path. The paths in it are absolute: relative ones are resolved from its folder."""

    fleet: Fleet
    path: Path
    document: Document = field(repr=False, compare=False)

    def error(self, loc: Loc, sentence: str) -> ConfigError:
        """Return a fault at a place of the file."""
        return self.document.error(loc, sentence)


@dataclass(frozen=True)
class ReadFleet:
    """The readable part of a fleet.yaml, and its faults. Wrong fields are absent from `loaded.fleet`."""

    loaded: LoadedFleet
    errors: tuple[ConfigError, ...]


def read_fleet(path: Path) -> ReadFleet:
    """Read the readable part of a fleet.yaml. Raises ConfigErrors for a file that is not a YAML map."""
    return _read(_document(path))


def load_fleet(path: Path) -> LoadedFleet:
    """Read and validate a fleet.yaml.

    Raises ConfigErrors with one ConfigError per fault, in the order of lines.
    """
    return _accepted(read_fleet(path))


def fleet_content(path: Path) -> dict[str, Any]:
    """Return the content of a valid fleet.yaml unchanged, for another process. Raises ConfigErrors for faults."""
    document = _document(path)
    _accepted(_read(document))
    return document.data


def validated(content: dict[str, Any]) -> Fleet:
    """Return the Fleet of content from another process. Raises ConfigErrors, which name fields but no lines."""
    fleet, faults = read_section(Fleet, content)
    if faults:
        raise ConfigErrors([ConfigError(sentence, field=dotted(loc)) for loc, sentence in faults])
    return fleet


def in_order(errors: Iterable[ConfigError]) -> list[ConfigError]:
    """Return the faults of a file in the order of lines, without repeats."""
    each = {str(error): error for error in errors}
    return sorted(each.values(), key=lambda error: (error.line or 0, error.field, error.reason))


def _document(path: Path) -> Document:
    document = read_document(path)
    for rules in relabel.FIELDS:
        document.keep_as_written(("targets", "*", rules, "*"), relabel.TEXTS)
    return document


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
    """Return a section whose relative paths are resolved from `folder`. Absent fields stay absent."""
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
