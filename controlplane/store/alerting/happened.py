"""Rollouts and reloads of the configuration, which may have caused a storm of alerts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from alerts.dispatch import Happened
from controlplane.store.audit import AuditFilter, newest
from controlplane.store.rollout_rows.events import events_between

MOST = 50
"""Most events of each kind that are read."""
RELOAD = "config.reload"


def read_happened(session: Session, since: float, until: float) -> Sequence[Happened]:
    """Return the newest event of each rollout, and the reloads, between two unix seconds, oldest first."""
    rollouts: dict[str, Happened] = {}
    for event in events_between(session, since, until, MOST):
        found = Happened(event.at, event.model, f"rollout of {event.model}: {event.sentence}")
        rollouts.setdefault(event.model, found)
    acts = session.exec(newest(MOST, AuditFilter(actions=(RELOAD,), since=since, until=until), None))
    reloads = [Happened(act.at, None, f"reload of the configuration by {act.actor}: {act.detail}") for act in acts]
    return sorted((*rollouts.values(), *reloads), key=lambda one: one.at)
