"""JSON columns that survive damage, and the list of unreadable rows.

An unreadable row stays as it is and is logged once; everything else goes on. Before a write replaces the row, it is
copied into the table `unreadable`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import JSON, Dialect, TypeDecorator

from alerts.errors import NotReadable

log = logging.getLogger(__name__)

CURRENT_S = 3600.0
"""Seconds after which an unreadable row that was not read again is no longer counted: it was deleted or repaired.
Chosen: rows in use are read at least as often as rules are evaluated."""

Row = TypeVar("Row")
T = TypeVar("T")


@dataclass(frozen=True)
class Damaged:
    """A stored text that is not JSON."""

    text: str

    def __repr__(self) -> str:
        return f"no JSON ({self.text[:40]!r})"


class StoredJson(TypeDecorator[Any]):
    """A JSON column that never fails to read: a text that is not JSON is read as Damaged. SQLite stores any text."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return SQLAlchemy's reader, which returns Damaged instead of raising."""
        read = self.impl_instance.dialect_impl(dialect).result_processor(dialect, coltype)
        if read is None:
            return None

        def survive(value: Any) -> Any:
            try:
                return read(value)
            except (ValueError, TypeError, RecursionError):
                return Damaged(value if isinstance(value, str) else repr(value))

        return survive


class UnreadRow(NamedTuple):
    """An unreadable row: its table, its key, and the reason."""

    table: str
    key: str
    reason: str


class Unread:
    """The rows that this process could not read recently. Thread-safe. Each Database has one."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._met: dict[tuple[str, str], tuple[str, float]] = {}

    def rows(self) -> list[UnreadRow]:
        """Return the rows that could not be read in the last hour, in the order of table and key."""
        since = self._monotonic() - CURRENT_S
        with self._lock:
            return [UnreadRow(*place, reason) for place, (reason, at) in sorted(self._met.items()) if at >= since]

    def sort_out(
        self, table: str, found: Iterable[Row], key: Callable[[Row], str], read: Callable[[Row], T]
    ) -> list[tuple[Row, T | None]]:
        """Return each row with its value. An unreadable row has None, and is logged once with the reason.

        `read` raises alerts.errors.NotReadable for an unreadable row. Its other errors are not caught.
        """
        pairs: list[tuple[Row, T | None]] = []
        for row in found:
            try:
                pairs.append((row, read(row)))
            except NotReadable as fault:
                pairs.append((row, None))
                self.note(table, key(row), str(fault))
            else:
                self.forget(table, key(row))
        return pairs

    def readable(
        self, table: str, found: Iterable[Row], key: Callable[[Row], str], read: Callable[[Row], T]
    ) -> list[T]:
        """Return the values of the readable rows. Other rows are handled as in `sort_out`."""
        return [value for _, value in self.sort_out(table, found, key, read) if value is not None]

    def note(self, table: str, key: str, reason: str) -> None:
        """Note an unreadable row. Log it unless it was noted with the same reason before."""
        with self._lock:
            known = self._met.get((table, key))
            self._met[table, key] = reason, self._monotonic()
        if known is None or known[0] != reason:
            log.error(
                "database: row %s of table %s cannot be read and is left as it is (%s); run the release that stored "
                "it, or restore the database; everything else goes on",
                key,
                table,
                reason,
            )

    def forget(self, table: str, key: str) -> None:
        """Note that a row can be read."""
        if self._met:  # checked without the lock: this runs for every row, and nearly always there are no faults
            with self._lock:
                self._met.pop((table, key), None)
