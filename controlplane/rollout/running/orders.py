"""Orders that were sent to drivers, and their replies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.errors import LeaseLost, Unavailable
from controlplane.rollout.copying import replace
from controlplane.rollout.model import Rollout
from controlplane.rollout.orders import Intent, Order, OrderOutcome, Verb
from controlplane.rollout.strategies import RECREATE
from controlplane.store.lease import Lease
from controlplane.traffic.driver import Driver, EngineRefused, Placement

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Reply:
    outcome: OrderOutcome
    detail: str = ""
    notes: tuple[str, ...] = ()


class Orders:
    """The orders that this process has sent. One that is not here was sent by a process that stopped, or never."""

    def __init__(self, news: Callable[[], None]) -> None:
        """`news` is called when a reply has come."""
        self._news = news
        self._sent: dict[tuple[str, Order], asyncio.Task[_Reply]] = {}

    def send(self, driver: Driver, rollout: Rollout, order: Order, lease: Lease | None) -> asyncio.Task[_Reply]:
        """Send an order of a rollout."""
        task = asyncio.create_task(_run(driver, rollout, order, lease), name=f"rollout {rollout.id} {order.verb}")
        task.add_done_callback(self._replied)
        self._sent[rollout.id, order] = task
        return task

    def noted(self, rollout: Rollout) -> Rollout:
        """Return the rollout with the replies that came since the last tick. They stay here until `forget`."""
        if all(intent.outcome is not OrderOutcome.ORDERED for intent in rollout.intents):
            return rollout
        intents, notes = [], list(rollout.notes)
        for intent in rollout.intents:
            if intent.outcome is not OrderOutcome.ORDERED:
                intents.append(intent)
                continue
            reply = self._reply(rollout.id, intent)
            intents.append(replace(intent, outcome=reply.outcome, detail=reply.detail))
            notes += [note for note in reply.notes if note not in notes]
        return replace(rollout, intents=tuple(intents), notes=tuple(notes))

    def forget(self, noted: Rollout) -> None:
        """Forget the replies that are noted in a rollout, before its next step is stored."""
        for intent in noted.intents:
            if intent.outcome is not OrderOutcome.ORDERED:
                self._sent.pop((noted.id, intent.order), None)

    def tasks(self) -> list[asyncio.Task[_Reply]]:
        """Return the orders whose replies nobody has read."""
        return list(self._sent.values())

    def drop(self) -> list[asyncio.Task[_Reply]]:
        """Cancel the waits for replies, and return them. The engines carry the orders out all the same."""
        tasks = self.tasks()
        self._sent.clear()
        for task in tasks:
            task.cancel()
        return tasks

    def _replied(self, task: asyncio.Task[_Reply]) -> None:
        if not task.cancelled():
            self._news()

    def _reply(self, rollout_id: str, intent: Intent) -> _Reply:
        task = self._sent.get((rollout_id, intent.order))
        if task is None:
            return _Reply(OrderOutcome.INTERRUPTED)
        if not task.done():
            return _Reply(OrderOutcome.ORDERED)
        return task.result()


async def _run(driver: Driver, rollout: Rollout, order: Order, lease: Lease | None) -> _Reply:
    placement = Placement(
        rollout.model,
        order.serve,
        order.keep,
        rollout.plan.config,
        order.share,
        f"rollout {rollout.id}",
        lease,
        order.mirror,
        # The strategy of versions that do not fit beside each other, also on the way back.
        unload_first=rollout.plan.strategy == RECREATE,
    )
    try:
        if order.verb is Verb.COMMIT:
            return _Reply(OrderOutcome.TAKEN, notes=tuple(await driver.commit(placement)))
        await driver.place(order.backend, placement)
    except EngineRefused as error:
        return _Reply(OrderOutcome.REFUSED, str(error))
    except (Unavailable, LeaseLost) as error:
        return _Reply(OrderOutcome.LOST, str(error))
    except Exception as error:  # a job's boundary: a fault in a driver must end in the rollout's history, not in a tick
        log.exception("rollout %s: %s failed", rollout.id, order)
        return _Reply(OrderOutcome.LOST, f"{type(error).__name__}: {error}")
    return _Reply(OrderOutcome.TAKEN)
