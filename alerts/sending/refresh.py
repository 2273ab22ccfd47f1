"""Sends firing alerts again to receivers that forget them: an Alertmanager has none after its restart.

The dispatcher repeats a group only after its repeat_interval, and its messages notify people. A refresh does not: the
receiver already has the alert, or gets it back. It comes from the stored groups, so only the process that decides on
messages refreshes. An alert that ended is sent, too, as long as its row is kept: a member of a cluster that was away
when it ended would otherwise fire on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from alerts.dispatch import Deliveries, GroupState, Picture
from alerts.errors import DeliveryFailed
from alerts.interfaces import AlertInstance, AlertState, Notifier
from collectors.samples import Labels

REFRESH_S = 60.0
"""Seconds between two refreshes: Prometheus's time between two sends of an alert."""

_log = logging.getLogger(__name__)


@runtime_checkable
class Refreshing(Protocol):
    """A notifier whose receiver needs its alerts again and again."""

    name: str

    async def refresh(self, firing: Sequence[AlertInstance], ended: Sequence[AlertInstance] = ()) -> None:
        """Send alerts again. Raises DeliveryFailed."""
        ...


class Refresher:
    """Refreshes all notifiers that need it. `read` returns the stored state; it blocks."""

    def __init__(self, read: Callable[[], Picture]) -> None:
        self._read = read
        self._known: dict[str, set[Labels]] = {}
        """Alerts that each notifier was sent as firing, as long as their rows are kept."""
        self._faults: dict[str, str] = {}

    async def tick(self, notifiers: Iterable[Notifier]) -> None:
        """Refresh once. A receiver's failure is logged once; the next refresh tries again."""
        due = [notifier for notifier in notifiers if isinstance(notifier, Refreshing)]
        names = {notifier.name for notifier in due}
        self._known = {name: known for name, known in self._known.items() if name in names}
        if not due:
            return
        stored = await asyncio.to_thread(self._read)
        states = {instance.labels: instance for instance in stored.instances}
        await asyncio.gather(*(self._refresh(notifier, states, stored.groups, stored.deliveries) for notifier in due))

    async def _refresh(
        self,
        notifier: Refreshing,
        states: Mapping[Labels, AlertInstance],
        groups: Mapping[str, GroupState],
        deliveries: Deliveries,
    ) -> None:
        own = [group for group in groups.values() if group.receiver == notifier.name and group.is_open]
        told = {alert.labels for group in own for alert in group.notified}
        # While a message is underway it says what is newest, and must not be overtaken by an older state.
        underway = {alert.labels for group in own if group.key in deliveries.underway for alert in group.notified}
        known = (self._known.get(notifier.name, set()) | told) & states.keys()
        self._known[notifier.name] = known
        firing = _in(AlertState.FIRING, (states[labels] for labels in sorted(told & known - underway)))
        ended = _in(AlertState.INACTIVE, (states[labels] for labels in sorted(known - told)))
        try:
            await notifier.refresh(firing, ended)
        except DeliveryFailed as failure:
            if self._faults.get(notifier.name) != str(failure):
                _log.warning("alerts of %s could not be refreshed: %s", notifier.name, failure)
            self._faults[notifier.name] = str(failure)
        else:
            self._faults.pop(notifier.name, None)


def _in(state: AlertState, alerts: Iterable[AlertInstance]) -> list[AlertInstance]:
    return [alert for alert in alerts if alert.state is state]
