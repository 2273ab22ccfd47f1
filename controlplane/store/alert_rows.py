"""Reading alerts from rows. A damaged alert is recovered from other rows, or left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from alerts.errors import NotReadable
from alerts.interfaces import INSTANCE_TIMES, AlertInstance
from alerts.stored import checked
from alerts.wire import instance_from_json
from controlplane.store.stored import Damaged, Unread
from controlplane.store.tables.alerts import AlertEventRow, AlertGroupRow, AlertInstanceRow

INSTANCES, EVENTS, GROUPS = "alert_instance", "alert_event", "alert_group"
_COLUMNS = ("rule", "labels", "annotations", "state", "value", *INSTANCE_TIMES, "away", "changes", "format")


class Found(NamedTuple):
    """The alert of a row (None: it could not be recovered), and why the row is damaged ("": it is not)."""

    instance: AlertInstance | None
    fault: str = ""


def read_rows(
    session: Session, unread: Unread, query: SelectOfScalar[AlertInstanceRow]
) -> Iterator[tuple[AlertInstanceRow, Found]]:
    """Yield the rows of a query, or what has their columns, with their alerts.

    The alert of a damaged row is recovered from its history or from its group's last message, so that it is neither
    forgotten nor notified twice. Where both fail, its rule creates it anew at the next evaluation.
    """
    for row in session.exec(query).all():
        yield row, read_row(session, unread, row)


def read_row(session: Session, unread: Unread, row: AlertInstanceRow) -> Found:
    """Return the alert of a row, as `read_rows` does."""
    try:
        found = Found(instance_from_json({name: getattr(row, name) for name in _COLUMNS}))
        unread.forget(INSTANCES, row_key(row))
    except NotReadable as fault:
        found = Found(_recovered(session, row), str(fault))
        unread.note(INSTANCES, row_key(row), str(fault))
    return found


def readable_instances(
    session: Session, unread: Unread, query: SelectOfScalar[AlertInstanceRow]
) -> list[AlertInstance]:
    """Return the alerts of a query that can be read or recovered."""
    found = [found.instance for _, found in read_rows(session, unread, query)]
    return [instance for instance in found if instance is not None]


def row_key(row: AlertInstanceRow) -> str:
    """Return the row's key for log messages: rule and fingerprint."""
    return f"{row.rule} {row.fingerprint}"


def _recovered(session: Session, row: AlertInstanceRow) -> AlertInstance | None:
    for document in _documents(session, row):
        try:
            instance = instance_from_json(document)
        except NotReadable:
            continue
        if instance.rule == row.rule and instance.fingerprint == row.fingerprint:
            return _with_times(instance, row)
    return None


def _documents(session: Session, row: AlertInstanceRow) -> Iterator[Any]:
    """Yield documents that may hold the alert, the best first: its last transition, messages, the row's columns."""
    history = select(AlertEventRow).where(AlertEventRow.rule == row.rule, AlertEventRow.fingerprint == row.fingerprint)
    event = session.exec(history.order_by(col(AlertEventRow.id).desc()).limit(1)).first()
    if event is not None:
        yield event.instance
    for group in session.exec(select(AlertGroupRow).where(col(AlertGroupRow.is_open))):
        if isinstance(group.notified, list):
            yield from group.notified
    bare = {name: getattr(row, name) for name in _COLUMNS}
    for name, empty in (("annotations", {}), ("away", []), ("changes", None)):
        if isinstance(bare[name], Damaged):
            bare[name] = empty
    yield bare
    yield bare | {"changes": None}


def _with_times(instance: AlertInstance, row: AlertInstanceRow) -> AlertInstance:
    """Return the alert with the times of the row's columns, which are newer, where these are readable."""
    columns: Mapping[str, Any] = {name: getattr(row, name) for name in INSTANCE_TIMES}
    try:
        return checked(replace(instance, **columns)) if row.state == instance.state.value else instance
    except NotReadable:
        return instance
