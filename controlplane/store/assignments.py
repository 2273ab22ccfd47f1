"""Assignments of traffic: the weights of a model's versions and the copies, which gateways apply, with a generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session, col, select

from alerts.errors import NotReadable
from alerts.stored import reading
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.revision import touch
from controlplane.store.tables.gateway import TrafficAssignmentRow
from controlplane.store.unreadable import preserve

FORMAT = 1
"""Format number of the stored weights: thousandths by version."""
TRAFFIC = "traffic"
"""Kind of the revisions of assignments. Gateways' long polls end with it."""
WHOLE = 1000
_TABLE = "traffic_assignment"


@dataclass(frozen=True)
class Assignment:
    """The assigned split of one model. `weights` has thousandths by version and adds up to 1000."""

    model: str
    generation: int
    """Rises by one with every change, beginning at 1."""
    weights: Mapping[str, int]
    updated_at: float
    """Unix seconds."""
    updated_by: str
    """The rollout that assigned it, such as "rollout r-1a2b3c4d"."""
    mirror: Mapping[str, int] = field(default_factory=dict)
    """Thousandths of the requests of which a version gets copies. At most one version gets any."""


class AssignmentStore:
    """Reads and sets assignments. Synchronous; every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self) -> dict[str, Assignment]:
        """Return the assignments by model. An unreadable one is left out and reported once."""
        with self._db.reading() as session:
            rows = session.exec(select(TrafficAssignmentRow).order_by(col(TrafficAssignmentRow.model))).all()
        found = self._db.unread.readable(_TABLE, rows, lambda row: row.model, _assignment)
        return {assignment.model: assignment for assignment in found}

    def get(self, model: str) -> Assignment | None:
        """Return the model's assignment. None: nothing was assigned yet, or it cannot be read."""
        with self._db.reading() as session:
            row = session.get(TrafficAssignmentRow, model)
        found = self._db.unread.readable(_TABLE, [row] if row else [], lambda row: row.model, _assignment)
        return found[0] if found else None

    def assign(
        self,
        model: str,
        weights: Mapping[str, int],
        lease: Lease | None,
        by: str,
        at: float,
        mirror: Mapping[str, int] | None = None,
    ) -> Assignment:
        """Set weights and copies in one transaction, and return the assignment. An equal one keeps its generation.

        Raises ValueError for weights that do not add up to 1000 and for copies to several versions, and LeaseLost:
        nothing was written then.
        """
        if sum(weights.values()) != WHOLE or not all(0 <= weight <= WHOLE for weight in weights.values()):
            raise ValueError(f"weights of {model} must be 0 to {WHOLE} and add up to {WHOLE}, got {dict(weights)}")
        copies = {version: share for version, share in (mirror or {}).items() if share}
        if len(copies) > 1 or not all(0 < share <= WHOLE for share in copies.values()):
            raise ValueError(f"at most one version of {model} gets copies, of at most {WHOLE}; got {copies}")
        given = {version: weight for version, weight in sorted(weights.items()) if weight}
        with self._db.transaction() as session:
            check_lease(session, lease)
            before = self._locked(session, model)
            same = before is not None and before.weights == given and (before.mirror or {}) == copies
            if before is not None and same and before.format == FORMAT:
                return _assignment(before)
            generation = 1 if before is None else before.generation + 1
            row = TrafficAssignmentRow(
                model=model,
                generation=generation,
                format=FORMAT,
                weights=given,
                updated_at=at,
                updated_by=by,
                mirror=copies or None,
            )
            session.merge(row)
            touch(session, TRAFFIC, model)
            touch(session, "models", model)
            return Assignment(model, generation, given, at, by, copies)

    def _locked(self, session: Session, model: str) -> TrafficAssignmentRow | None:
        """Return the stored row, locked until the end of the transaction. An unreadable one is preserved first."""
        query = select(TrafficAssignmentRow).where(TrafficAssignmentRow.model == model).with_for_update()
        row = session.exec(query).one_or_none()
        if row is None:
            return None
        try:
            _assignment(row)
        except NotReadable as fault:
            preserve(session, row, model, str(fault))
        return row


def _assignment(row: TrafficAssignmentRow) -> Assignment:
    """Return the assignment of a row. Raises NotReadable."""
    if row.format != FORMAT:
        raise NotReadable(f"it is of format {row.format}, and this release knows {FORMAT}")
    with reading():
        weights: dict[str, Any] = dict(row.weights.items())
        mirror: dict[str, Any] = dict((row.mirror or {}).items())
    for version, weight in (*weights.items(), *mirror.items()):
        if type(weight) is not int or not 0 <= weight <= WHOLE:
            raise NotReadable(f"weight of {version} is {weight!r} and not a number from 0 to {WHOLE}")
    if len(mirror) > 1:
        raise NotReadable(f"copies go to several versions: {', '.join(mirror)}")
    if sum(weights.values()) != WHOLE:
        raise NotReadable(f"the weights add up to {sum(weights.values())} and not to {WHOLE}")
    return Assignment(row.model, row.generation, weights, row.updated_at, row.updated_by, mirror)
