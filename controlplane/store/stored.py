"""JSON columns that survive damage, and what is known of rows that cannot be read.

A row that cannot be read is left as it is and said once; everything else goes on. Before a write takes its place, it is
copied into the table `unreadable` as it was.
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
"""A row that was not met for so long, in seconds, is no longer counted: it is mended, or gone. What is active is read
at least as often as rules are evaluated."""

Row = TypeVar("Row")
T = TypeVar("T")


@dataclass(frozen=True)
class Damaged:
    """In place of a JSON value that is none: its text, as it is in the database."""

    text: str

    def __repr__(self) -> str:
        return f"no JSON ({self.text[:40]!r})"


class StoredJson(TypeDecorator[Any]):
    """JSON whose reading never fails: a text that is no JSON is read as Damaged. SQLite stores any text."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return SQLAlchemy's own reader, made to survive."""
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
    """A row that could not be read: where it is, and why."""

    table: str
    key: str
    reason: str


class Unread:
    """The rows that this process could not read lately. Thread-safe; one a database."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._met: dict[tuple[str, str], tuple[str, float]] = {}

    def rows(self) -> list[UnreadRow]:
        """Return what could not be read in the last hour, by table and key."""
        since = self._monotonic() - CURRENT_S
        with self._lock:
            return [UnreadRow(*place, reason) for place, (reason, at) in sorted(self._met.items()) if at >= since]

    def sort_out(
        self, table: str, found: Iterable[Row], key: Callable[[Row], str], read: Callable[[Row], T]
    ) -> list[tuple[Row, T | None]]:
        """Read each row; one that cannot be read comes with None, and the log names it once, with the reason.

        `read` raises alerts.errors.NotReadable; anything else that it raises goes through.
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
        """Return the rows that can be read, as `sort_out` reads them."""
        return [value for _, value in self.sort_out(table, found, key, read) if value is not None]

    def note(self, table: str, key: str, reason: str) -> None:
        """Remember a row that could not be read; the log says it when this is news."""
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
        """Take note that a row can be read."""
        if self._met:  # as never: this is asked for every row that is read
            with self._lock:
                self._met.pop((table, key), None)
