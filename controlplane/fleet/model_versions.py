"""Every known version of a model: serving, on disk, in backups; and the approval of its files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from controlplane.config.models import ModelSection
from controlplane.errors import Conflict, NotFound, Refused
from controlplane.fleet.view import View, instant, rfc3339
from controlplane.fleet.views import ModelView
from controlplane.rollout.files import PLAN_S, VersionContent, difference
from controlplane.rollout.model import Rollout
from controlplane.rollout.planning.plan import OBSERVES
from controlplane.store.version_files import FilesApproval, Found, PlaceKind, VersionFileStore

ROLLOUTS: Final = 100
"""Newest rollouts of the model that are searched for what each version served."""
MOST_COPIES: Final = 20
"""Newest copies of a version in backups that are shown."""

NOT_READ: Final = "its files were not read yet"


class PlaceView(View):
    """The files of a version at one place on disk, as they were last read."""

    path: str
    digest: str | None
    """Hex. Null: not known; `fault` says why. With a fault: what was last known."""
    files: int | None
    bytes: int | None
    seen_at: str
    changed_at: str
    """When this digest was first seen here."""
    fault: str


class CopyView(View):
    """A copy of a version in a backup."""

    snapshot: str
    folder: str
    """Path below the snapshot's root; `.` is the root."""
    digest: str | None
    files: int
    bytes: int
    at: str | None
    """Time of the snapshot by the repository's clock."""
    host: str
    by: str
    same: bool | None
    """Whether it has the digest of the version on disk. Null: one of both is not known."""
    fault: str


class ApprovalView(View):
    """The approval of a version's files that counts."""

    version: str
    digest: str
    base_digest: str | None
    at: str
    by: str
    reason: str
    rollout: str | None
    """The promotion that approved the files because nobody had; null: a person did."""


class ServedView(View):
    """The newest rollout that made the version serve."""

    rollout: str
    at: str
    digest: str | None
    """Digest of the files that the rollout found; null: it checked none."""


class KnownVersionView(View):
    """One version with all that is known of its files."""

    version: str
    declared: bool
    """Whether fleet.yaml has it."""
    role: str | None
    """stable, candidate, serving or idle; null: fleet.yaml does not have it."""
    traffic_share: float | None
    digest: str | None
    """Digest of the files on disk, else of the newest copy in a backup, in hex. Null: not known, or places differ."""
    bytes: int | None
    facts: dict[str, str]
    """Such as format, quantisation, tensors, parameters, architecture, origin, owner, changed_at, base, base_digest."""
    disk: tuple[PlaceView, ...]
    backups: tuple[CopyView, ...]
    """The newest first."""
    approved: ApprovalView | None
    served: ServedView | None
    changed: str
    """Why the files on disk are not those that were approved; "": they are, or nothing is known."""


class Files(Protocol):
    """Reads the files of versions."""

    async def read(self, section: ModelSection, version: str) -> VersionContent | None:
        """Return the files of a version, read now. None: fleet.yaml names none."""
        ...


class ModelVersions:
    """Versions as API and CLI show them, and the approvals that people give."""

    def __init__(
        self,
        store: VersionFileStore,
        files: Files,
        models: Callable[[], Iterable[ModelSection]],
        now: Callable[[], float],
        *,
        observe_only: bool,
    ) -> None:
        self._store, self._files, self._models, self._now = store, files, models, now
        self._observe_only = observe_only

    def known(self, model: ModelView, rollouts: Sequence[Rollout]) -> tuple[KnownVersionView, ...]:
        """Return the versions of a model, those of fleet.yaml first. `rollouts` has its rollouts, newest first.

        Blocking. Raises Unavailable.
        """
        section = next((each for each in self._models() if each.name == model.name), None)
        found, approvals = self._store.contents(model.name), self._store.approvals(model.name)
        declared = list(section.versions) if section is not None else []
        found += [] if section is None else _not_read(section, found, self._now())
        others = sorted({one.version for one in found} - set(declared))
        served = _served(rollouts)
        return tuple(
            _view(
                version,
                version in declared,
                model,
                [one for one in found if one.version == version],
                approvals.get(version),
                served.get(version),
            )
            for version in (*declared, *others)
        )

    async def approve(self, model: str, version: str, digest: str | None, *, reason: str, actor: str) -> ApprovalView:
        """Approve the files of a version: those with `digest`, or those on disk, read now.

        Raises NotFound; Refused in a control plane that only observes; Conflict when the files cannot be read, or not
        in PLAN_S seconds; Unavailable.
        """
        section = next((each for each in self._models() if each.name == model), None)
        if section is None or version not in section.versions:
            raise NotFound(f"fleet.yaml has no version {version} of a model {model}")
        if self._observe_only:
            raise Refused(OBSERVES)
        content = VersionContent(version, digest) if digest else await self._on_disk(section, version)
        approval = FilesApproval(model, version, content.digest, self._now(), actor, content.base, reason)
        await asyncio.to_thread(self._store.approve, approval)
        return _approval(approval)

    async def _on_disk(self, section: ModelSection, version: str) -> VersionContent:
        try:
            async with asyncio.timeout(PLAN_S):
                content = await self._files.read(section, version)
        except TimeoutError:
            cure = "wait until `cp models versions` shows their digest, or name it with --digest"
            raise Conflict(f"the files of {version} are still being read; {cure}") from None
        if content is None:
            raise Conflict(
                f"fleet.yaml does not say where the files of {version} are; set `files:` of {section.name}, or name "
                "the digest with --digest"
            )
        if content.fault:
            raise Conflict(f"the files of {version} cannot be read: {content.fault}")
        return content


def _view(
    version: str,
    declared: bool,
    model: ModelView,
    found: Sequence[Found],
    approval: FilesApproval | None,
    served: Rollout | None,
) -> KnownVersionView:
    disk = [one for one in found if one.kind == PlaceKind.DISK]
    copies = [one for one in found if one.kind == PlaceKind.BACKUP]
    copies.sort(key=lambda one: (one.stored_at or 0.0, one.place), reverse=True)
    here = _digest_of(disk)
    best = here or (copies[0].digest if copies and not disk else "")
    sample = next((one for one in (*disk, *copies) if best and one.digest == best), None)
    facts = next((one.facts for one in (*disk, *copies) if best and one.digest == best and one.facts), {})
    state = next((each for each in model.versions if each.version == version), None)
    content = VersionContent(version, here, base=facts.get("base_digest", ""))
    return KnownVersionView(
        version=version,
        declared=declared,
        role=None if state is None or not declared else state.role,
        traffic_share=None if state is None else state.traffic_share,
        digest=best or None,
        bytes=None if sample is None else sample.bytes,
        facts=dict(facts),
        disk=tuple(map(_place, disk)),
        backups=tuple(_copy(one, here) for one in copies[:MOST_COPIES]),
        approved=None if approval is None else _approval(approval),
        served=None if served is None else _served_view(served),
        changed=difference(content, approval) if here and approval is not None else "",
    )


def _not_read(section: ModelSection, found: Sequence[Found], now: float) -> list[Found]:
    """Return a row for each place that fleet.yaml names and nobody has read yet."""
    known = {(one.version, one.place) for one in found if one.kind == PlaceKind.DISK}
    places = [(version, str(path)) for version in section.versions for path in section.file_places(version)]
    return [
        Found(section.name, version, PlaceKind.DISK, place, now, fault=NOT_READ, changed_at=now)
        for version, place in places
        if (version, place) not in known
    ]


def _digest_of(disk: Sequence[Found]) -> str:
    """Return the digest that all places have; "": they differ, or one is not known now."""
    digests = {"" if one.fault else one.digest for one in disk}
    return digests.pop() if len(digests) == 1 else ""


def _served(rollouts: Sequence[Rollout]) -> Mapping[str, Rollout]:
    """Return the newest rollout that switched to each version."""
    found: dict[str, Rollout] = {}
    for rollout in rollouts:
        if rollout.switched:
            found.setdefault(rollout.plan.to_version, rollout)
    return found


def _place(one: Found) -> PlaceView:
    known = one.digest != ""
    return PlaceView(
        path=one.place,
        digest=one.digest or None,
        files=one.files if known else None,
        bytes=one.bytes if known else None,
        seen_at=instant(one.seen_at),
        changed_at=instant(one.changed_at),
        fault=one.fault,
    )


def _copy(one: Found, here: str) -> CopyView:
    return CopyView(
        snapshot=one.snapshot,
        folder=one.place.partition(":")[2],
        digest=one.digest or None,
        files=one.files,
        bytes=one.bytes,
        at=rfc3339(one.stored_at),
        host=one.host,
        by=one.by,
        same=one.digest == here if one.digest and here else None,
        fault=one.fault,
    )


def _approval(approval: FilesApproval) -> ApprovalView:
    return ApprovalView(
        version=approval.version,
        digest=approval.digest,
        base_digest=approval.base or None,
        at=instant(approval.at),
        by=approval.by,
        reason=approval.reason,
        rollout=approval.rollout_id or None,
    )


def _served_view(rollout: Rollout) -> ServedView:
    at = rollout.updated_at if rollout.finished_at is None else rollout.finished_at
    return ServedView(rollout=rollout.id, at=instant(at), digest=rollout.digest or None)
