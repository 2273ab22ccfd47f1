"""The part that reads the files of versions on disk, and finds versions in backups. Rollouts read files by it, too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alerts.interfaces import Clock
from controlplane.app.parts.part import Configuration, Part
from controlplane.backup.content.child import ContentReader, Head
from controlplane.backup.content.mapping import Aliases, Named, globs_of, versions_of
from controlplane.backup.content.marks import forget_unused
from controlplane.backup.content.origin import REAL_PATH
from controlplane.backup.errors import BackupError
from controlplane.backup.jobs.command import Place
from controlplane.backup.sources.walk import ROOT
from controlplane.config.models import ModelSection
from controlplane.rollout.files import VersionFiles
from controlplane.schedule import Loop, LoopFactory
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.version_files import Found, PlaceKind, VersionFileStore

log = logging.getLogger(__name__)

LOOK_S: Final = 10.0
"""Seconds between two looks for what is due."""
AGAIN_S: Final = 3600.0
"""Seconds after which the files of a version are looked at again. Chosen: an unchanged version costs a process and a
look at the status of each file; every promotion looks by itself."""
FAULT_S: Final = 300.0
"""The same for files that could not be read."""
BACKUPS_S: Final = 900.0
"""Seconds between two looks at the snapshots. A snapshot that is known is not read again."""
SNAPSHOTS: Final = 20
"""Most snapshots that are read in one turn. The turns that follow read the rest."""
MOST_FAULTS: Final = 3
"""Snapshots one after another that cannot be read before a turn ends: the repository may be away, and each may take
minutes. Chosen."""
UNDECLARED: Final = "fleet.yaml does not declare it, so its files are not read"
MEMORY: Final = "version-files"
"""Folder below the data folder for what is remembered of files that do not change."""


@dataclass(frozen=True)
class VersionFilesSettings:
    """The models whose files are known, and the repository of backups."""

    models: tuple[ModelSection, ...]
    """Models with `files:`. Where there is a repository: all models, as a snapshot may be named after one."""
    repository: tuple[str, Path] | None
    """Address and key file; None: there are no backups."""
    config: Path

    @property
    def named(self) -> object:
        """All that decides which folders of snapshots are versions. Equal values find the same versions."""
        own = (
            (model.name, model.file_patterns(), tuple((name, each.files) for name, each in model.versions.items()))
            for model in self.models
        )
        return (self.repository, *own)

    def places(self) -> Iterator[tuple[str, str, Path]]:
        """Yield model, version and path of all places."""
        for model in self.models:
            for version in model.versions:
                yield from ((model.name, version, path) for path in model.file_places(version))


class VersionFilesPart(Part[VersionFilesSettings | None]):
    """Keeps what is known of versions up to date, in one process at a time."""

    name = "version files"

    def __init__(self, db: Database, clock: Clock, data_dir: Path, reader: ContentReader | None = None) -> None:
        self._clock, self._data_dir = clock, data_dir
        self.store = VersionFileStore(db)
        self._reader = reader or ContentReader(data_dir / MEMORY)
        self.files = VersionFiles(self.store, self._reader, clock.now)
        self._settings: VersionFilesSettings | None = None
        self._due: dict[tuple[str, str, Path], float] = {}
        """When each place is looked at again."""
        self._listed_at: float | None = None
        """When undeclared versions were last looked for."""
        self._snapshots_at: float | None = None
        self._looked: dict[str, tuple[str, ...]] = {}
        """The globs by which each snapshot was looked into."""
        self._failed: dict[str, tuple[float, str]] = {}
        """When and why each snapshot could not be looked into. These come after all others."""
        self._told = ""
        """The latest fault of the repository, which is logged once."""

    def settings(self, config: Configuration) -> VersionFilesSettings | None:
        """Return the places of a configuration; None: there are none."""
        backup, models = config.fleet.backup, tuple(config.fleet.models)
        repository = None if backup is None else (backup.repository, backup.key_file)
        named = tuple(model for model in models if any(map(model.file_places, model.versions)))
        if not named and repository is None:
            return None
        return VersionFilesSettings(models if repository else named, repository, config.loaded.path)

    async def configure(self, settings: VersionFilesSettings | None) -> Sequence[str]:
        """Look at these places from now on, at once at those that are new."""
        if settings is None or self._settings is None or settings.named != self._settings.named:
            self._looked.clear()
            self._failed.clear()
        self._settings = settings
        known = set(settings.places()) if settings is not None else set()
        self._due = {place: at for place, at in self._due.items() if place in known}
        self._listed_at = self._snapshots_at = None
        return ()

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that looks."""
        loop = make.leased("version-files", LOOK_S, self.tick, wanted=lambda: self._settings is not None)
        loop.cut_short = True
        return [loop]

    async def tick(self, lease: Lease) -> None:
        """Look at what is due."""
        settings = self._settings
        if settings is None:
            return
        if self._listed_at is None or self._clock.now() - self._listed_at >= AGAIN_S:
            await self._list(settings)
        for model, version, path in settings.places():
            if lease.left_s() <= 0 or self._settings is not settings:
                return  # another process looks by now, or at other places
            if self._clock.now() < self._due.get((model, version, path), 0.0):
                continue
            found = await self.files.look(model, version, path)
            again = FAULT_S if found.fault else AGAIN_S
            self._due[model, version, path] = self._clock.now() + again
        if settings.repository is not None:
            await self._look_at_backups(settings, lease)

    async def close(self) -> None:
        """Stop every reading."""
        await self._reader.close()

    async def _list(self, settings: VersionFilesSettings) -> None:
        """Note which versions lie on disk that fleet.yaml does not declare, and forget places that are gone."""
        kept = {(model, version, str(path)) for model, version, path in settings.places()}
        patterns = [(model, pattern) for model in settings.models for pattern in model.file_patterns()]
        try:
            paths = await self._reader.existing([pattern.glob for _, pattern in patterns]) if patterns else []
        except BackupError as error:
            log.warning("versions on disk cannot be listed: %s", error)
            if self._settings is settings:
                self._listed_at = self._clock.now() - AGAIN_S + FAULT_S
            return
        found: dict[tuple[str, str, str], Found] = {}
        for model, pattern in patterns:
            for path in paths:
                version = pattern.version(path)
                if version is not None and version not in model.versions:
                    key = (model.name, version, str(path))
                    found[key] = Found(*key[:2], PlaceKind.DISK, key[2], self._clock.now(), fault=UNDECLARED)
        for one in found.values():
            await asyncio.to_thread(self.store.seen, one)
        await asyncio.to_thread(self.store.forget_disk, kept | found.keys())
        await asyncio.to_thread(forget_unused, self._reader.memory, self._clock.now())
        if self._settings is settings:  # else other versions are declared by now
            self._listed_at = self._clock.now()

    async def _look_at_backups(self, settings: VersionFilesSettings, lease: Lease) -> None:
        """Read the folders of snapshots that are new."""
        if self._snapshots_at is not None and self._clock.now() - self._snapshots_at < BACKUPS_S:
            return
        assert settings.repository is not None
        place = Place(*settings.repository, settings.config, self._data_dir)
        try:
            heads = await self._reader.snapshots(place)
            ids = {head.id for head in heads}
            await asyncio.to_thread(self.store.forget_snapshots, ids)
            # A head that could not be read this time is looked into again once it is back.
            self._looked = {each: globs for each, globs in self._looked.items() if each in ids}
            self._failed = {each: fault for each, fault in self._failed.items() if each in ids}
            aliases = await asyncio.to_thread(self._aliases, settings)
            fresh = await asyncio.to_thread(self._fresh, heads, settings, aliases)
            in_a_row = 0
            for head, globs in fresh[:SNAPSHOTS]:
                if lease.left_s() <= 0 or self._settings is not settings:
                    return
                good = await self._tried(head, globs, settings, aliases, place)
                in_a_row = 0 if good else in_a_row + 1
                if in_a_row >= MOST_FAULTS:
                    break
            rest = in_a_row < MOST_FAULTS and any(head.id not in self._failed for head, _ in fresh[SNAPSHOTS:])
            self._told = ""
        except BackupError as error:
            rest = False
            if self._told != str(error):
                self._told = str(error)
                log.warning("versions in backups cannot be found: %s", error)
        rest = rest or self._settings is not settings
        self._snapshots_at = None if rest else self._clock.now()

    def _aliases(self, settings: VersionFilesSettings) -> Aliases:
        """Return the versions that are reached by links, such as links into the cache of Hugging Face. Blocking."""
        places = set(settings.places())
        found: dict[Path, list[Named]] = {}
        for one in self.store.contents():
            real = one.facts.get(REAL_PATH, "")
            if one.kind == PlaceKind.DISK and real and (one.model, one.version, Path(one.place)) in places:
                found.setdefault(Path(real), []).append(Named(one.model, one.version))
        return found

    def _fresh(
        self, heads: Sequence[Head], settings: VersionFilesSettings, aliases: Aliases
    ) -> list[tuple[Head, tuple[str, ...]]]:
        """Return the snapshots that were not looked into yet by their globs, and the globs.

        Those that could not be read come last, the one whose last trial is the longest ago first.
        """
        wanted = [(head, globs_of(head, settings.models, aliases)) for head in heads]
        fresh = [(head, globs) for head, globs in wanted if self._looked.get(head.id) != globs]
        return sorted(fresh, key=lambda one: self._failed.get(one[0].id, (0.0, ""))[0])

    async def _tried(
        self, head: Head, globs: tuple[str, ...], settings: VersionFilesSettings, aliases: Aliases, place: Place
    ) -> bool:
        """Look into a snapshot. Return False, and note why, when it cannot be read: the others can be, all the same."""
        try:
            await self._look_into(head, globs, settings, aliases, place)
        except BackupError as error:
            _, told = self._failed.get(head.id, (0.0, ""))
            if told != str(error):
                log.warning("versions in the snapshot %s cannot be found: %s", head.id, error)
            self._failed[head.id] = self._clock.now(), str(error)
            return False
        self._failed.pop(head.id, None)
        return True

    async def _look_into(
        self, head: Head, globs: tuple[str, ...], settings: VersionFilesSettings, aliases: Aliases, place: Place
    ) -> None:
        rows = await self._reader.in_snapshot(place, head.id, globs) if globs else []
        found = [
            Found(
                named.model,
                named.version,
                PlaceKind.BACKUP,
                f"{head.id}:{row.folder}",
                self._clock.now(),
                digest=row.digest,
                files=row.files,
                bytes=row.bytes,
                facts=head.facts if row.folder == ROOT and head.version else {},
                fault=row.unknown,
                snapshot=head.id,
                stored_at=head.at,
                host=head.host,
                by=head.by,
            )
            for row in rows
            for named in versions_of(head, row.folder, settings.models, aliases)
        ]
        await asyncio.to_thread(self.store.seen_in_snapshot, head.id, found)
        self._looked[head.id] = globs
