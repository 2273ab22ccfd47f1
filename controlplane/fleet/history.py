"""The history in one list: transitions of alerts, sentences of rollouts, and acts of the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple

from controlplane.fleet.assemble import state_after
from controlplane.fleet.view import View, instant
from controlplane.store.alert_log import AlertEvent, SqlAlertLog
from controlplane.store.audit import AuditEntry, AuditFilter, AuditStore
from controlplane.store.database import Database
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.events import ModelEvent

Kind = Literal["alert", "rollout", "audit"]
KINDS: tuple[Kind, ...] = ("alert", "rollout", "audit")


class HistoryItem(View):
    """One event of the history."""

    at: str
    kind: Kind
    subject: str
    """The alert's name, the model, or the subject of the act."""
    ref: str
    """The alert's fingerprint, the rollout's id, or the actor."""
    what: str
    """The alert's new state, the rollout's phase, or the act (`token.create`)."""
    sentence: str


class ActView(View):
    """One act of the audit trail."""

    id: int
    """Grows with every act. As `before` it selects the older acts."""
    at: str
    actor: str
    """A token's name, the control plane's loop that acted, or the address of a client that was refused."""
    action: str
    subject: str
    """The subject of the act, as `kind/name`."""
    sentence: str


class Cursor(NamedTuple):
    """The position of a reader: the last id of each kind that it has read."""

    alert: int = 0
    rollout: int = 0
    audit: int = 0

    def __str__(self) -> str:
        return ".".join(str(part) for part in self)


class History:
    """Reads the alert log, the rollout log and the audit trail. Blocking; raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._alerts, self._rollouts, self._audit = SqlAlertLog(db), RolloutLog(db), AuditStore(db)

    def newest(self, limit: int, kinds: Collection[Kind]) -> tuple[list[HistoryItem], Cursor]:
        """Return the newest `limit` events of these kinds, oldest first, and the cursor for `since`."""
        # Read at least one event of each kind: the cursor needs the last id of every kind.
        found = _Found(
            self._alerts.recent(limit if "alert" in kinds else 1),
            self._rollouts.recent_events(limit if "rollout" in kinds else 1),
            self._audit.recent(limit if "audit" in kinds else 1),
        )
        return found.items(kinds)[-limit:], found.cursor(Cursor())

    def since(self, cursor: Cursor, limit: int, kinds: Collection[Kind]) -> tuple[list[HistoryItem], Cursor]:
        """Return the events after the cursor, oldest first, up to `limit` of each kind, and the next cursor."""
        found = _Found(
            self._alerts.since(cursor.alert, limit),
            self._rollouts.events_since(cursor.rollout, limit),
            self._audit.since(cursor.audit, limit),
        )
        return found.items(kinds), found.cursor(cursor)

    def between(
        self, since: float, until: float, limit: int, wanted: Callable[[AlertEvent], bool]
    ) -> Sequence[HistoryItem]:
        """Return the events from `since` to before `until` (unix seconds), oldest first.

        At most `limit` of each kind are read. Of those of alerts only the `wanted` ones are returned.
        """
        found = _Found(
            [event for event in self._alerts.between(since, until, limit) if wanted(event)],
            self._rollouts.events_between(since, until, limit),
            self._audit.recent(limit, AuditFilter(since=since, until=until, refusals=False)),
        )
        return found.items(KINDS)

    def acts(self, wanted: AuditFilter, limit: int, before: int | None = None) -> tuple[list[ActView], bool]:
        """Return acts of the audit trail, newest first, and whether there are older ones. `before` is an act's id."""
        found = self._audit.recent(limit + 1, wanted, before)
        return [_act(entry) for entry in found[:limit]], len(found) > limit


class _Found(NamedTuple):
    alerts: Sequence[AlertEvent]
    rollouts: Sequence[ModelEvent]
    audit: Sequence[AuditEntry]

    def items(self, kinds: Collection[Kind]) -> list[HistoryItem]:
        found: list[tuple[float, int, HistoryItem]] = []
        if "alert" in kinds:
            found += [(event.at, event.id, _of_alert(event)) for event in self.alerts]
        if "rollout" in kinds:
            found += [(event.at, event.id, _of_rollout(event)) for event in self.rollouts]
        if "audit" in kinds:
            # A rollout's history holds its request already: leave out the act of the same request.
            told = "rollout" in kinds
            found += [(e.at, e.id, _of_act(e)) for e in self.audit if not (told and e.action.startswith("rollout."))]
        return [item for _, _, item in sorted(found, key=lambda entry: entry[:2])]

    def cursor(self, before: Cursor) -> Cursor:
        return Cursor(
            max((e.id for e in self.alerts), default=before.alert),
            max((e.id for e in self.rollouts), default=before.rollout),
            max((e.id for e in self.audit), default=before.audit),
        )


def _of_alert(event: AlertEvent) -> HistoryItem:
    return HistoryItem(
        at=instant(event.at),
        kind="alert",
        subject=dict(event.instance.labels).get("alertname", ""),
        ref=event.fingerprint,
        what=state_after(event),
        sentence=event.sentence,
    )


def _of_rollout(event: ModelEvent) -> HistoryItem:
    return HistoryItem(
        at=instant(event.at),
        kind="rollout",
        subject=event.model,
        ref=event.rollout_id,
        what=event.phase,
        sentence=event.sentence,
    )


def _of_act(entry: AuditEntry) -> HistoryItem:
    return HistoryItem(
        at=instant(entry.at),
        kind="audit",
        subject=entry.subject,
        ref=entry.actor,
        what=entry.action,
        sentence=entry.detail,
    )


def _act(entry: AuditEntry) -> ActView:
    return ActView(
        id=entry.id,
        at=instant(entry.at),
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        sentence=entry.detail,
    )
