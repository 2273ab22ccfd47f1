"""The times at which an alert began and ceased to fire before its current episode. Pure.

They are kept with the alert, so they survive whatever the alert does: a restart, a change of leader, a database that
cannot be written, a step of the clock. An alert that is forgotten after its end begins without any.
"""

from __future__ import annotations

from dataclasses import replace

from alerts.interfaces import AlertInstance, AlertState
from alerts.routing.flapping import LONGEST_S, MOST_CHANGES


def earlier_changes(ended: AlertInstance | None, at: float) -> tuple[float, ...]:
    """Return the changes before an episode that begins at unix second `at`. `ended`: the alert before it, if kept."""
    if ended is None or ended.fired_at is None or ended.resolved_at is None:
        return ()
    found = (*ended.changes, ended.fired_at, ended.resolved_at)[-MOST_CHANGES:]
    pairs = zip(found[::2], found[1::2], strict=True)
    return tuple(time for pair in pairs if at - pair[1] < LONGEST_S for time in pair)


def all_changes(instance: AlertInstance) -> tuple[float, ...]:
    """Return the times at which an alert began and ceased to fire, oldest first, up to now."""
    own = (instance.fired_at, instance.resolved_at)
    return tuple(sorted((*instance.changes, *(time for time in own if time is not None))))


def last_episode(pending: AlertInstance) -> AlertInstance | None:
    """Return a pending alert as it was after its last episode; None: it has not fired before."""
    if len(pending.changes) < 2:
        return None
    *earlier, fired_at, resolved_at = pending.changes
    return replace(
        pending,
        state=AlertState.INACTIVE,
        active_at=fired_at,
        fired_at=fired_at,
        resolved_at=resolved_at,
        changes=tuple(earlier),
        unknown_since=None,
        away=(),
    )
