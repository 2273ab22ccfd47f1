"""Writes of rollouts' steps. Steps that come while a write is under way are written together by the next one."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from controlplane.errors import Conflict, LeaseLost, Unavailable
from controlplane.store.lease import Lease
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.saving import StepChange, ended


class _Waiting(NamedTuple):
    change: StepChange
    lease: Lease | None
    done: asyncio.Future[None]


class Writer:
    """Writes steps. With many models rolling, one transaction takes many steps, so a tick costs few of them."""

    def __init__(self, rollouts: RolloutLog) -> None:
        self._log = rollouts
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def save(self, change: StepChange, lease: Lease | None) -> None:
        """Store one step of a running rollout with all that follows from it, and return when it is stored.

        Raises LeaseLost, Conflict for a rollout that an operator ended meanwhile, and Unavailable.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(change, lease, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="rollouts: write steps")
        await done

    async def _write(self) -> None:
        await asyncio.sleep(0)  # steps that were decided in the same turn of the loop are written together
        while self._waiting:
            lease = self._waiting[0].lease
            batch = [each for each in self._waiting if each.lease is lease]
            self._waiting = [each for each in self._waiting if each.lease is not lease]
            await self._write_batch(batch, lease)

    async def _write_batch(self, batch: list[_Waiting], lease: Lease | None) -> None:
        try:
            closed = await asyncio.to_thread(self._log.save_all, [each.change for each in batch], lease)
        except (LeaseLost, Unavailable) as error:
            for each in batch:
                _fail(each, error)
            return
        except Exception as error:  # noqa: BLE001 - a boundary: one step that cannot be stored keeps no other one
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for each in batch:
                await self._write_batch([each], lease)
            return
        for each in batch:
            record = each.change.record
            if record.id in closed:
                _fail(each, Conflict(ended(record)))
            elif not each.done.done():
                each.done.set_result(None)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)
