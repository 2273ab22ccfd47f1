"""The files of versions: read where they lie, and compared with what was approved.

The first promotion of a version approves its files. From then on a promotion refuses files that changed, until a person
approves the new ones. A rollback is never refused: its plan says that the files changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from collectors.engines.kinds import Api
from controlplane.config.models import ModelSection
from controlplane.errors import ControlPlaneError
from controlplane.store.version_files import FilesApproval, Found, PlaceKind, VersionFileStore

SHORT: Final = 12
"""Characters of a digest in a sentence."""
PLAN_S: Final = 5.0
"""Seconds that planning waits for the files. Chosen: unchanged ones take less, and a request must not hang."""


class Content(Protocol):
    """The content of one place."""

    @property
    def digest(self) -> str:
        """Digest of all files, in hex."""
        ...

    @property
    def files(self) -> int:
        """Number of files."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """Facts of the files; `base_digest` is that of an adapter's base."""
        ...


class Reader(Protocol):
    """Reads contents."""

    async def read(self, root: Path) -> Content:
        """Return the content of a folder or a file. Raises ControlPlaneError with the reason."""
        ...


@dataclass(frozen=True)
class VersionContent:
    """The files of one version, which may lie at several places."""

    version: str
    digest: str = ""
    """Hex; "": not known, and `fault` says why."""
    bytes: int = 0
    base: str = ""
    """Digest of an adapter's base; "": it has none, or it is not known."""
    fault: str = ""
    differ: bool = False
    """Whether the places hold different files: waiting does not mend that."""


class VersionFiles:
    """Reads the files of versions, remembers what was found, and judges it."""

    def __init__(self, store: VersionFileStore, reader: Reader, now: Callable[[], float]) -> None:
        self._store, self._reader, self._now = store, reader, now

    async def read(self, section: ModelSection, version: str) -> VersionContent | None:
        """Return the files of a version, read now at every place. None: fleet.yaml names none. Raises Unavailable."""
        places = section.file_places(version)
        if not places:
            return None
        found = await asyncio.gather(*(self.look(section.name, version, place) for place in places))
        faults = [one.fault for one in found if one.fault]
        if faults:
            return VersionContent(version, fault="; ".join(faults))
        by_digest = {one.digest: one for one in found}
        if len(by_digest) > 1:
            told = ", ".join(f"{one.place} has {one.digest[:SHORT]}" for one in found)
            return VersionContent(version, fault=f"its places hold different files: {told}", differ=True)
        first = found[0]
        if not first.files and Api.TRITON not in section.engine_apis():
            # Triton's ensembles have empty folders. Elsewhere this is the place of a disk that is not mounted.
            return VersionContent(version, fault=f"{first.place} holds no files")
        return VersionContent(version, first.digest, first.bytes, first.facts.get("base_digest", ""))

    async def look(self, model: str, version: str, place: Path) -> Found:
        """Read one place, and store what was found. Raises Unavailable."""
        try:
            content = await self._reader.read(place)
        except ControlPlaneError as error:
            found = Found(model, version, PlaceKind.DISK, str(place), self._now(), fault=str(error))
        else:
            found = Found(
                model,
                version,
                PlaceKind.DISK,
                str(place),
                self._now(),
                digest=content.digest,
                files=content.files,
                bytes=content.bytes,
                facts=content.facts,
            )
        await asyncio.to_thread(self._store.seen, found)
        return found

    async def against(self, model: str, content: VersionContent) -> str:
        """Return why the files of a version are not those that were approved; "" when they are, or nobody approved any.

        Raises Unavailable.
        """
        approved = await asyncio.to_thread(self._store.approved, model, content.version)
        return "" if approved is None else difference(content, approved)

    async def accept(self, model: str, content: VersionContent, by: str, rollout_id: str) -> None:
        """Approve the files of a version for the promotion that found them, unless somebody approved any.

        Raises Unavailable.
        """
        if await asyncio.to_thread(self._store.approved, model, content.version) is None:
            approval = FilesApproval(
                model,
                content.version,
                content.digest,
                self._now(),
                by,
                content.base,
                "the first promotion of the version",
                rollout_id,
            )
            await asyncio.to_thread(self._store.approve, approval)

    async def of_plan(
        self, section: ModelSection, stable: str, version: str, *, promotes: bool
    ) -> tuple[list[str], list[str]]:
        """Return the reasons against a promotion by the version's files, and what its plan says of them.

        A rollback has no reasons against it. Files that cannot be read within PLAN_S are read by the rollout itself.
        Raises Unavailable.
        """
        if not promotes:
            return [], await self._doubts(section, version)
        (against, told), doubts = await asyncio.gather(
            self._of_candidate(section, version), self._doubts(section, stable)
        )
        return against, [*told, *doubts]

    async def _of_candidate(self, section: ModelSection, version: str) -> tuple[list[str], list[str]]:
        content, late = await self._within(section, version)
        if late:
            return [], [
                f"the files of {version} are still being read; the rollout waits, and goes back if they changed"
            ]
        if content is None:
            return [], []
        if content.fault:
            cure = f"copy them again, or change `files:` of {section.name} in fleet.yaml"
            return [f"the files of {version} cannot be checked: {content.fault}; {cure}"], []
        if changed := await self.against(section.name, content):
            return [f"{changed}; {cure_of(section.name, version)}"], []
        return [], [f"the files of {version} have the digest {content.digest[:SHORT]}; if they change, it goes back"]

    async def _doubts(self, section: ModelSection, version: str) -> list[str]:
        """Return what speaks against the files of a version that a rollback goes to."""
        content, late = await self._within(section, version)
        if late or content is None:
            return []
        if content.fault:
            return [f"the files of {version} could not be checked: {content.fault}"]
        changed = await self.against(section.name, content)
        return [f"{changed}: a server that loads {version} again gets the changed files"] if changed else []

    async def _within(self, section: ModelSection, version: str) -> tuple[VersionContent | None, bool]:
        """Return the files of a version, and whether they could not be read in time."""
        try:
            async with asyncio.timeout(PLAN_S):
                return await self.read(section, version), False
        except TimeoutError:
            return None, True


def difference(content: VersionContent, approved: FilesApproval) -> str:
    """Return how files differ from the approved ones, in words; "" when they do not."""
    version, by = content.version, approved.by or "somebody"
    how = f"by rollout {approved.rollout_id} of {by}" if approved.rollout_id else f"by {by}"
    if content.digest != approved.digest:
        return (
            f"the files of {version} are not those that were approved {how}: their digest was "
            f"{approved.digest[:SHORT]} and is {content.digest[:SHORT]}"
        )
    if approved.base and content.base and approved.base != content.base:
        return (
            f"the base model of {version} is not the one that was approved {how}: its digest was "
            f"{approved.base[:SHORT]} and is {content.base[:SHORT]}"
        )
    return ""


def cure_of(model: str, version: str) -> str:
    """Return what to do about files that changed."""
    return (
        f"bring the approved files back, or give the new ones a version of their own, or accept them: "
        f"`cp models approve {model} {version} --reason TEXT`"
    )
