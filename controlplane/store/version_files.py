"""Files of versions as they were last read, and who approved them. All replicas share them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import delete
from sqlmodel import Session, col, select

from controlplane.plain_text import plain
from controlplane.store.audit import audit
from controlplane.store.database import Database
from controlplane.store.revision import touch
from controlplane.store.tables.versions import VersionApprovalRow, VersionContentRow

MOST_WORDS: Final = 2000
"""Characters of a fault and of a fact that are stored."""


class PlaceKind(StrEnum):
    """The kind of a place."""

    DISK = "disk"
    BACKUP = "backup"


@dataclass(frozen=True)
class Found:
    """The content of one place, as it was last read. Times are unix seconds."""

    model: str
    version: str
    kind: str
    """One of PlaceKind."""
    place: str
    """Path on disk. Of a backup: id of the snapshot, a colon, and the folder in it."""
    seen_at: float
    digest: str = ""
    """Hex; "": the content is not known, and `fault` says why."""
    files: int = 0
    bytes: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""
    changed_at: float = 0.0
    """When this digest was first seen here."""
    snapshot: str = ""
    stored_at: float | None = None
    """Time of the snapshot by the repository's clock."""
    host: str = ""
    by: str = ""
    """Person or job that made the snapshot."""


@dataclass(frozen=True)
class FilesApproval:
    """One approval of a version's files; `at` in unix seconds."""

    model: str
    version: str
    digest: str
    """Digest of the files, in hex."""
    at: float
    by: str
    base: str = ""
    """Digest of the base of an adapter, in hex; "": it has none, or it was not known."""
    reason: str = ""
    rollout_id: str = ""
    """The promotion that approved the files because nobody had; "": a person did by name."""


class VersionFileStore:
    """Reads and writes contents and approvals. Synchronous; every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def seen(self, found: Found) -> None:
        """Store what was found at a place. A fault keeps the digest that was last known there."""
        with self._db.transaction() as session:
            _seen(session, found)

    def seen_in_snapshot(self, snapshot: str, found: Iterable[Found]) -> None:
        """Store the contents that a snapshot has, in place of those that were known of it."""
        with self._db.transaction() as session:
            session.execute(delete(VersionContentRow).where(col(VersionContentRow.snapshot) == snapshot))
            for one in found:
                _seen(session, one)

    def forget_disk(self, kept: Iterable[tuple[str, str, str]]) -> None:
        """Forget the places on disk that are not among these: model, version, path."""
        wanted = set(kept)
        with self._db.transaction() as session:
            query = select(VersionContentRow).where(VersionContentRow.kind == PlaceKind.DISK.value)
            for row in session.exec(query):
                if (row.model, row.version, row.place) not in wanted:
                    session.delete(row)
                    touch(session, "models", row.model)

    def forget_snapshots(self, kept: Iterable[str]) -> None:
        """Forget the contents of snapshots that are not among these."""
        wanted = set(kept)
        with self._db.transaction() as session:
            gone = [
                one for one in session.exec(select(VersionContentRow.snapshot).distinct()) if one and one not in wanted
            ]
            for snapshot in gone:
                session.execute(delete(VersionContentRow).where(col(VersionContentRow.snapshot) == snapshot))

    def contents(self, model: str | None = None) -> list[Found]:
        """Return what is known of all models, or of one: by version, disk before backups, then by place."""
        query = select(VersionContentRow)
        if model is not None:
            query = query.where(VersionContentRow.model == model)
        with self._db.reading() as session:
            rows = [_found(row) for row in session.exec(query)]
        return sorted(rows, key=lambda one: (one.model, one.version, one.kind != PlaceKind.DISK, one.place))

    def approve(self, approval: FilesApproval) -> None:
        """Store an approval, with its audit row."""
        with self._db.transaction() as session:
            session.add(VersionApprovalRow(**vars(approval)))
            why = f" for rollout {approval.rollout_id}" if approval.rollout_id else ""
            detail = f"{approval.version}: digest {approval.digest}{why}: {approval.reason}"
            audit(session, approval.by, "files.approve", f"model/{approval.model}", detail, approval.at)
            touch(session, "models", approval.model)

    def approved(self, model: str, version: str) -> FilesApproval | None:
        """Return the approval that counts: the newest one. None: nobody approved any files of the version."""
        query = select(VersionApprovalRow).where(
            VersionApprovalRow.model == model, VersionApprovalRow.version == version
        )
        with self._db.reading() as session:
            row = session.exec(query.order_by(col(VersionApprovalRow.id).desc()).limit(1)).first()
            return None if row is None else _approval(row)

    def approvals(self, model: str) -> dict[str, FilesApproval]:
        """Return the approvals that count, by version."""
        query = select(VersionApprovalRow).where(VersionApprovalRow.model == model).order_by(col(VersionApprovalRow.id))
        with self._db.reading() as session:
            return {row.version: _approval(row) for row in session.exec(query)}


def _seen(session: Session, found: Found) -> None:
    query = select(VersionContentRow).where(
        VersionContentRow.model == found.model,
        VersionContentRow.version == found.version,
        VersionContentRow.kind == found.kind,
        VersionContentRow.place == found.place,
    )
    row = session.exec(query.with_for_update()).one_or_none()
    if row is None:
        row = VersionContentRow(
            model=found.model,
            version=found.version,
            kind=found.kind,
            place=found.place,
            seen_at=found.seen_at,
            changed_at=found.changed_at or found.seen_at,
        )
    before = row.digest, row.fault
    row.seen_at, row.fault = found.seen_at, _bounded(found.fault)
    if found.digest or not found.fault:
        if row.digest and row.digest != found.digest:
            row.changed_at = found.seen_at
        row.digest, row.files, row.bytes = found.digest, found.files, found.bytes
        row.facts = json.dumps({name: _bounded(text) for name, text in found.facts.items()})
    row.snapshot, row.stored_at, row.host, row.by = found.snapshot, found.stored_at, found.host, found.by
    session.add(row)
    if (row.digest, row.fault) != before:
        touch(session, "models", found.model)


def _bounded(text: str) -> str:
    shown = plain(text)
    return shown if len(shown) <= MOST_WORDS else f"{shown[: MOST_WORDS - 1]}…"


def _found(row: VersionContentRow) -> Found:
    return Found(
        model=row.model,
        version=row.version,
        kind=row.kind,
        place=row.place,
        seen_at=row.seen_at,
        digest=row.digest,
        files=row.files,
        bytes=row.bytes,
        facts=_facts(row.facts),
        fault=row.fault,
        changed_at=row.changed_at,
        snapshot=row.snapshot,
        stored_at=row.stored_at,
        host=row.host,
        by=row.by,
    )


def _facts(text: str) -> dict[str, str]:
    """Return stored facts. Damaged ones are left out: a listing must not fail by them."""
    try:
        read: Any = json.loads(text)
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in read.items()} if isinstance(read, dict) else {}


def _approval(row: VersionApprovalRow) -> FilesApproval:
    return FilesApproval(row.model, row.version, row.digest, row.at, row.by, row.base, row.reason, row.rollout_id)
