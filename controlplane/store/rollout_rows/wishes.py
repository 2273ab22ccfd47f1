"""Operators' wishes for running rollouts."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlmodel import Session, col, select

from controlplane.store.tables.rollouts import RolloutWishRow


class WishRecord(NamedTuple):
    """A stored wish. `at` in unix seconds; `step` is the index of the step for which it was made.

    `ends` is the name of the wait of that step that a `resume` ends.
    """

    verb: str
    actor: str
    role: str
    at: float
    step: int
    reason: str
    ends: str = ""


def add_wish(session: Session, rollout_id: str, wish: WishRecord) -> None:
    """Append a wish."""
    session.add(RolloutWishRow(rollout_id=rollout_id, **wish._asdict()))


def wishes_of(session: Session, rollout_ids: Collection[str]) -> dict[str, tuple[WishRecord, ...]]:
    """Return the wishes of each of these rollouts, oldest first. A rollout without a wish is missing."""
    found: dict[str, tuple[WishRecord, ...]] = {}
    if not rollout_ids:
        return found
    query = select(RolloutWishRow).where(col(RolloutWishRow.rollout_id).in_(rollout_ids))
    for row in session.exec(query.order_by(col(RolloutWishRow.id))):
        wish = WishRecord(row.verb, row.actor, row.role, row.at, row.step, row.reason, row.ends)
        found[row.rollout_id] = (*found.get(row.rollout_id, ()), wish)
    return found
