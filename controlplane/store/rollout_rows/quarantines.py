"""Quarantined versions: a version that was rolled back is not promoted again until somebody lifts its quarantine."""

from __future__ import annotations

from typing import NamedTuple

from sqlmodel import Session, col, select

from controlplane.store.tables.rollouts import VersionQuarantineRow


class Quarantine(NamedTuple):
    """One version in quarantine; `since` in unix seconds."""

    model: str
    version: str
    since: float
    rollout_id: str
    """The rollout that went back from the version."""
    reason: str


def put(session: Session, quarantine: Quarantine) -> None:
    """Put a version in quarantine. A version that is in quarantine already stays as it is."""
    if _row(session, quarantine.model, quarantine.version) is None:
        session.add(VersionQuarantineRow(**quarantine._asdict()))


def lift(session: Session, model: str, version: str, by: str, because: str, at: float) -> Quarantine | None:
    """Lift the quarantine of a version, and return it. None: the version is in no quarantine."""
    row = _row(session, model, version)
    if row is None:
        return None
    row.lifted_at, row.lifted_by, row.lifted_because = at, by, because
    session.add(row)
    return _quarantine(row)


def quarantined(session: Session, model: str | None = None) -> list[Quarantine]:
    """Return the versions in quarantine, of all models or of `model`, oldest first."""
    query = select(VersionQuarantineRow).where(col(VersionQuarantineRow.lifted_at).is_(None))
    if model is not None:
        query = query.where(VersionQuarantineRow.model == model)
    return [_quarantine(row) for row in session.exec(query.order_by(col(VersionQuarantineRow.id)))]


def _row(session: Session, model: str, version: str) -> VersionQuarantineRow | None:
    query = select(VersionQuarantineRow).where(
        VersionQuarantineRow.model == model,
        VersionQuarantineRow.version == version,
        col(VersionQuarantineRow.lifted_at).is_(None),
    )
    return session.exec(query.with_for_update()).first()


def _quarantine(row: VersionQuarantineRow) -> Quarantine:
    return Quarantine(row.model, row.version, row.since, row.rollout_id, row.reason)
