"""Writes the results of deliveries, many in one transaction: those that come while one is written go into the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from alerts.dispatch import GroupLog
from alerts.interfaces import MessageRef
from alerts.sending.outbox import Outbox, Outcome

_log = logging.getLogger(__name__)

Place = tuple[tuple[str, int], MessageRef]
"""A group's key and generation, and the place of its message."""


class _Item(NamedTuple):
    outcome: Outcome
    place: Place | None
    written: asyncio.Future[None]


class Recorder:
    """Records outcomes. A result is in the database before `record` returns, so a crash repeats few messages."""

    def __init__(self, outbox: Outbox[Any], groups: GroupLog) -> None:
        self._outbox, self._groups = outbox, groups
        self._waiting: list[_Item] = []
        self._writing: asyncio.Task[None] | None = None

    async def record(self, outcome: Outcome, place: Place | None = None) -> None:
        """Store an outcome, and the place of its group's message. Raises the errors of the store."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Item(outcome, place, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(), name="results of deliveries")
        await written

    async def finish(self) -> None:
        """Wait until everything is written."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                items, self._waiting = self._waiting, []
                try:
                    await self._write(items)
                except Exception:  # noqa: BLE001 - one result that cannot be stored must not hold up the others
                    for item in items:
                        await self._write_alone(item)
                except BaseException as end:  # noqa: BLE001 - the process ends, and nobody may wait for ever
                    _fail([*items, *self._waiting], end)
                    self._waiting = []
        finally:
            self._writing = None

    async def _write_alone(self, item: _Item) -> None:
        try:
            await self._write([item])
        except Exception as error:  # noqa: BLE001 - it is raised where the result comes from
            _fail([item], error)

    async def _write(self, items: Sequence[_Item]) -> None:
        await asyncio.to_thread(self._store, items)
        for item in items:
            if not item.written.done():  # its waiter may have been cancelled
                item.written.set_result(None)

    def _store(self, items: Sequence[_Item]) -> None:
        # Places first: after a crash in between, a repeat updates its message instead of posting a second one.
        if places := dict(item.place for item in items if item.place is not None):
            self._groups.remember(places)
        for entry in self._outbox.settle([item.outcome for item in items]):
            _log.warning(
                "notification %s: its claim had run out, so another sender may send it again: its result is not kept",
                entry.message_id,
            )


def _fail(items: Sequence[_Item], error: BaseException) -> None:
    for item in items:
        if isinstance(error, asyncio.CancelledError):
            item.written.cancel()
        elif not item.written.done():
            item.written.set_exception(error)
