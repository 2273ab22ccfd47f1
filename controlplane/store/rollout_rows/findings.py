"""Findings of rollouts' works. They are kept as long as their rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, text
from sqlmodel import Session, col, select

from controlplane.store.stored import StoredJson
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


TOO_LITTLE = "not-enough-data"
"""The outcome that repeats until there is data: rollout.findings.Outcome.NOT_ENOUGH."""
_EMPTIED = text(
    "UPDATE rollout_finding SET carry = '' "
    "WHERE rollout_id = :rollout_id AND kind = :kind AND name = :name AND carry <> ''"
)


LATEST = text(
    "SELECT kind, name, step, number, since, at, outcome, document, carry FROM rollout_finding "
    "WHERE rollout_id = :rollout_id AND kind = :kind AND name = :name ORDER BY id DESC LIMIT 1"
).columns(document=StoredJson)
"""The columns of a FindingRecord: the latest finding of a rollout's kind and name."""


def add_findings(session: Session, findings: Sequence[tuple[str, FindingRecord]]) -> None:
    """Append findings, each with its rollout's id.

    An earlier finding of the same rollout, kind and name loses its `carry`: only the latest is needed. Of findings in a
    row at the same step that found too little, the first and the latest stay: `number` counts those between.
    """
    if not findings:
        return
    for rollout_id, finding in findings:
        if finding.outcome == TOO_LITTLE:
            _drop_repeated(session, rollout_id, finding)
    rows = [{"rollout_id": rollout_id, **finding._asdict()} for rollout_id, finding in findings]
    session.connection().execute(_EMPTIED, [{key: row[key] for key in ("rollout_id", "kind", "name")} for row in rows])
    latest = {(row["rollout_id"], row["kind"], row["name"]): number for number, row in enumerate(rows)}
    for number, row in enumerate(rows):
        if latest[row["rollout_id"], row["kind"], row["name"]] != number:
            row["carry"] = ""
    session.connection().execute(insert(RolloutFindingRow), rows)


def _drop_repeated(session: Session, rollout_id: str, finding: FindingRecord) -> None:
    """Delete the latest finding of a kind and name, if the one before it and the new one are as empty at its step."""
    row = RolloutFindingRow
    query = select(row.id, row.outcome, row.step).where(
        row.rollout_id == rollout_id, row.kind == finding.kind, row.name == finding.name
    )
    latest = session.exec(query.order_by(col(row.id).desc()).limit(2)).all()
    if len(latest) == 2 and all((outcome, step) == (TOO_LITTLE, finding.step) for _, outcome, step in latest):
        session.execute(delete(row).where(col(row.id) == latest[0][0]))


def findings_of(session: Session, rollout_id: str, limit: int) -> list[FindingRecord]:
    """Return the newest findings of a rollout without their `carry`, oldest first."""
    query = select(RolloutFindingRow).where(RolloutFindingRow.rollout_id == rollout_id)
    rows = session.exec(query.order_by(col(RolloutFindingRow.id).desc()).limit(limit)).all()
    return [_record(row)._replace(carry="") for row in reversed(rows)]


def _record(row: RolloutFindingRow) -> FindingRecord:
    return FindingRecord(
        row.kind, row.name, row.step, row.number, row.since, row.at, row.outcome, row.document, row.carry
    )
