"""Writes alerts and their history, in the caller's transaction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, update
from sqlmodel import Session, col, select

from alerts.interfaces import AlertInstance, Transition
from alerts.wire import INSTANCE_FORMAT, instance_to_json
from controlplane.store.alert_rows import INSTANCES, Found, read_row, row_key
from controlplane.store.revision import touch
from controlplane.store.stored import Unread
from controlplane.store.tables.alerts import AlertEventRow, AlertInstanceRow
from controlplane.store.unreadable import preserve

_ROW = (
    col(AlertInstanceRow.rule) == bindparam("row_rule"),
    col(AlertInstanceRow.fingerprint) == bindparam("row_fingerprint"),
)


def put_rule(session: Session, unread: Unread, rule: str, instances: Sequence[AlertInstance]) -> None:
    """Replace a rule's instances, whatever is stored. Unreadable rows are preserved (store.unreadable)."""
    wanted = {instance.fingerprint: instance for instance in instances}
    for row in session.exec(select(AlertInstanceRow).where(AlertInstanceRow.rule == rule)).all():
        instance = wanted.pop(row.fingerprint, None)
        values = {} if instance is None else _values(instance)
        changes = {name: value for name, value in values.items() if getattr(row, name) != value}
        if instance is not None and not changes:
            unread.forget(INSTANCES, row_key(row))
            continue
        keep_damaged(session, row, read_row(session, unread, row))
        if instance is None:
            session.delete(row)
        change(row, changes)
    session.flush()
    _insert(session, wanted.values())


def put_changes(session: Session, before: Sequence[AlertInstance], instances: Sequence[AlertInstance]) -> bool:
    """Replace a rule's instances where its rows hold exactly `before`. Return False if they did not.

    Nothing is read: a rule may have thousands of alerts of which few change at a time. After False the caller must go
    on with `put_rule`.
    """
    old = {instance.labels: instance for instance in before}
    new: list[AlertInstance] = []
    updates: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for instance in instances:
        was = old.pop(instance.labels, None)
        if was is None:
            new.append(instance)
        elif was is not instance and was != instance:
            then, now = _values(was), _values(instance)
            changes = {name: value for name, value in now.items() if then[name] != value}
            updates.setdefault(tuple(changes), []).append(_key(instance) | changes)
    connection = session.connection()
    for columns, rows in updates.items():
        if columns:
            changed = connection.execute(update(AlertInstanceRow).where(*_ROW), rows)
            if changed.rowcount != len(rows):
                return False
    if old:
        gone = connection.execute(delete(AlertInstanceRow).where(*_ROW), [_key(each) for each in old.values()])
        if gone.rowcount != len(old):
            return False
    _insert(session, new)
    return True


def append_history(session: Session, transitions: Sequence[Transition]) -> None:
    """Append transitions to the history and notify the console."""
    if not transitions:
        return
    rows = []
    for transition in transitions:
        instance = transition.instance
        fingerprint = instance.fingerprint
        rows.append(
            {
                "at": transition.at,
                "rule": instance.rule,
                "fingerprint": fingerprint,
                "name": dict(instance.labels).get("alertname", ""),
                "before": transition.before.value,
                "after": transition.after.value,
                "sentence": transition.sentence,
                "instance": instance_to_json(instance),
            }
        )
        # Values change at every evaluation: the console is notified of transitions only.
        touch(session, "alerts", fingerprint)
    session.connection().execute(insert(AlertEventRow), rows)


def change(row: AlertInstanceRow, values: Mapping[str, Any]) -> None:
    """Set columns of a row."""
    for name, value in values.items():
        setattr(row, name, value)


def changes_of(row: AlertInstanceRow, instance: AlertInstance) -> dict[str, Any]:
    """Return the columns of a row that differ from an instance."""
    return {name: value for name, value in _values(instance).items() if getattr(row, name) != value}


def keep_damaged(session: Session, row: AlertInstanceRow, found: Found) -> None:
    """Preserve a row that could not be read, before it is written."""
    if found.fault:
        preserve(session, row, row_key(row), found.fault)


def _insert(session: Session, instances: Iterable[AlertInstance]) -> None:
    # Core and not the ORM: an object for each of thousands of alerts costs more than writing them.
    if rows := [_values(instance) | {"fingerprint": instance.fingerprint} for instance in instances]:
        session.connection().execute(insert(AlertInstanceRow), rows)


def _key(instance: AlertInstance) -> dict[str, Any]:
    return {"row_rule": instance.rule, "row_fingerprint": instance.fingerprint}


def _values(instance: AlertInstance) -> dict[str, Any]:
    """Return the columns of an instance, but for its fingerprint."""
    labels = dict(instance.labels)
    return {
        "rule": instance.rule,
        "name": labels.get("alertname", ""),
        "severity": labels.get("severity", ""),
        "labels": labels,
        "annotations": dict(instance.annotations),
        "state": instance.state.value,
        "value": None if math.isnan(instance.value) else instance.value,
        "active_at": instance.active_at,
        "fired_at": instance.fired_at,
        "keep_firing_since": instance.keep_firing_since,
        "resolved_at": instance.resolved_at,
        "unknown_since": instance.unknown_since,
        "away": list(instance.away),
        "changes": list(instance.changes) or None,
        "format": INSTANCE_FORMAT,
    }
