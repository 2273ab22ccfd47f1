"""Folders of a snapshot, and the versions of models that they hold. Pure.

A snapshot of a whole repository is found by its source: the paths that fleet.yaml names lie below it. A snapshot that
was made with the name of a model and a version is that version, wherever its files lay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from controlplane.backup.content.child import Head
from controlplane.backup.sources.walk import ROOT
from controlplane.config.backup.buckets import folder_of
from controlplane.config.models import ModelSection


class Named(NamedTuple):
    """A version that a folder holds."""

    model: str
    version: str


Aliases = Mapping[Path, Sequence[Named]]
"""Versions that are reached by links, by the paths behind the links."""


def globs_of(head: Head, models: Iterable[ModelSection], aliases: Aliases) -> tuple[str, ...]:
    """Return globs of the folders of a snapshot that may be versions, relative to its root. Empty: there are none."""
    source = folder_of(head.source)
    found: dict[str, None] = {}
    for model in models:
        if head.version and head.subject == model.name:
            found[ROOT] = None
        if source is not None:
            found.update(dict.fromkeys(_below(source, model)))
    if source is not None:
        behind = (path.relative_to(source) for path in aliases if path.is_relative_to(source))
        found.update(dict.fromkeys(_literal(path.as_posix()) for path in behind))
    return tuple(found)


def versions_of(head: Head, folder: str, models: Iterable[ModelSection], aliases: Aliases) -> Sequence[Named]:
    """Return the versions that a folder of a snapshot holds."""
    source = folder_of(head.source)
    found: list[Named] = []
    for model in models:
        if folder == ROOT and head.version and head.subject == model.name:
            found.append(Named(model.name, head.version))
            continue
        if source is None:
            continue
        path = source if folder == ROOT else source / folder
        own = [name for name, version in model.versions.items() if version.files == path]
        patterns = (pattern.version(path) for pattern in model.file_patterns())
        named = dict.fromkeys([*own, *(version for version in patterns if version)])
        found += [Named(model.name, version) for version in named]
    if source is not None:
        found += aliases.get(source if folder == ROOT else source / folder, ())
    return list(dict.fromkeys(found))


def _below(source: Path, model: ModelSection) -> Iterator[str]:
    """Yield globs of the model's versions below the source."""
    for version in model.versions.values():
        if version.files is not None and version.files.is_relative_to(source):
            yield _literal(version.files.relative_to(source).as_posix())
    for pattern in model.file_patterns():
        if pattern.version(source) is not None:
            yield ROOT
        # The glob's own parts are compared with the source as text: an escaped part is a name that has such a letter.
        if (glob := Path(pattern.glob)).is_relative_to(_literal(str(source))):
            yield glob.relative_to(_literal(str(source))).as_posix()


def _literal(text: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)
