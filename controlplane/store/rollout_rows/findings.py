"""Findings of rollouts' works. They are kept as long as their rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import update
from sqlmodel import Session, col, select

from controlplane.store.tables.rollouts import RolloutFindingRow


class FindingRecord(NamedTuple):
    """A stored finding. Times in unix seconds. `document` is the rollout engine's JSON."""

    kind: str
    name: str
    step: int
    number: int
    since: float
    at: float
    outcome: str
    document: dict[str, Any]
    carry: str = ""


def add_findings(session: Session, rollout_id: str, findings: Sequence[FindingRecord]) -> None:
    """Append findings. An earlier finding of the same kind and name loses its `carry`: only the latest is needed."""
    for finding in findings:
        session.execute(
            update(RolloutFindingRow)
            .where(
                col(RolloutFindingRow.rollout_id) == rollout_id,
                col(RolloutFindingRow.kind) == finding.kind,
                col(RolloutFindingRow.name) == finding.name,
                col(RolloutFindingRow.carry) != "",
            )
            .values(carry="")
        )
        session.add(RolloutFindingRow(rollout_id=rollout_id, **finding._asdict()))
        session.flush()


def findings_of(session: Session, rollout_id: str, limit: int) -> list[FindingRecord]:
    """Return the newest findings of a rollout without their `carry`, oldest first."""
    query = select(RolloutFindingRow).where(RolloutFindingRow.rollout_id == rollout_id)
    rows = session.exec(query.order_by(col(RolloutFindingRow.id).desc()).limit(limit)).all()
    return [_record(row)._replace(carry="") for row in reversed(rows)]


def latest_finding(session: Session, rollout_id: str, kind: str, name: str) -> FindingRecord | None:
    """Return the latest finding of a kind and name with its `carry`, or None."""
    query = select(RolloutFindingRow).where(
        RolloutFindingRow.rollout_id == rollout_id, RolloutFindingRow.kind == kind, RolloutFindingRow.name == name
    )
    row = session.exec(query.order_by(col(RolloutFindingRow.id).desc()).limit(1)).first()
    return None if row is None else _record(row)


def _record(row: RolloutFindingRow) -> FindingRecord:
    return FindingRecord(
        row.kind, row.name, row.step, row.number, row.since, row.at, row.outcome, row.document, row.carry
    )
