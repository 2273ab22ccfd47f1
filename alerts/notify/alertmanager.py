"""Delivers alerts to Alertmanagers, as Prometheus does.

An Alertmanager resolves an alert by itself when its `endsAt` has passed. Prometheus therefore sends each firing alert
again every minute, and a Prometheus that stops for five minutes resolves alerts that still fire. Here an alert's end is
far ahead (`ends_after`): it outlives an outage of the control plane, and the wait of the dispatcher between two
messages of a group. Only an alert that has resolved is sent with an end in the past. An Alertmanager that restarts
forgets its alerts, so `refresh` sends the firing ones again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from alerts.errors import DeliveryFailed
from alerts.interfaces import AlertInstance, AlertState, Message, MessageRef
from alerts.notify.http import HttpPoster
from alerts.notify.payload import NOTICE_LASTS_S, added_annotations, go_time, members
from alerts.notify.plain import FormRefused, sent_or_plain

PATH = "/api/v2/alerts"
BATCH = 500
"""Alerts in one request. Chosen: Prometheus sends 256, Alertmanager takes any number."""
SUBSTITUTE_LASTS_S = 1800.0
"""Seconds until an alert ends that comes here because its own receiver refused it: twice the time after which it is
sent anew. Its last message may reach only that receiver, and nothing would end it here."""


class AlertmanagerNotifier:
    """Implements alerts.interfaces.Notifier on one or several Alertmanagers, each of which gets every alert.

    A message is delivered when one of them has accepted it: members of a cluster do not share alerts, but each of them
    notifies. Messages are not updated in place, so an edit sends nothing.
    """

    opens_incidents = True
    """An alert stays open at the receiver until a message resolves it."""

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        http: HttpPoster,
        *,
        ends_after_s: float = 86_400.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._urls, self._http, self._ends_after_s, self._now = tuple(urls), http, ends_after_s, now

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Post the message's alerts to each Alertmanager. Raises DeliveryFailed when none accepts them."""
        if message.edit:
            return None
        note = await self._to_each(message)
        return MessageRef("", note)

    async def refresh(self, firing: Sequence[AlertInstance], ended: Sequence[AlertInstance] = ()) -> None:
        """Post alerts that still fire, so that an Alertmanager that restarted has them. Raises DeliveryFailed."""
        alerts = [self._posted(alert, self._ends_after_s) for alert in (*firing, *ended)]
        if alerts:
            await self._everywhere(lambda url: self._post(url, alerts))

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()

    async def _to_each(self, message: Message) -> str:
        lasts = NOTICE_LASTS_S if message.notice else SUBSTITUTE_LASTS_S if message.undelivered else self._ends_after_s
        alerts = [self._posted(alert, lasts) for alert in members(message)]
        for alert in alerts:
            alert["annotations"].update(added_annotations(message))

        async def rich(url: str) -> None:
            await self._post(url, alerts)

        async def plain(url: str) -> None:
            await self._post(url, [{**alert, "annotations": {}, "generatorURL": ""} for alert in alerts])

        async def one(url: str) -> str:
            async def second(_refused: FormRefused) -> None:
                await plain(url)

            return (await sent_or_plain(self.name, message, lambda: rich(url), second))[1]

        return next((note for note in await self._everywhere(one) if note), "")

    async def _everywhere(self, post: Callable[[str], Any]) -> list[Any]:
        """Return what `post` returned for each Alertmanager that accepted. Raises the first error when none did."""
        outcomes = await asyncio.gather(*(post(url) for url in self._urls), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for failure in failures:
            if not isinstance(failure, DeliveryFailed):
                raise failure
        if len(failures) == len(outcomes):
            # A failure that a retry may cure comes first: the message must not be given up while one may recover.
            raise min(failures, key=lambda failure: getattr(failure, "permanent", False))
        return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]

    async def _post(self, url: str, alerts: Sequence[dict[str, Any]]) -> None:
        for batch in _batches(alerts):
            answer = await self._http.post_json(url.rstrip("/") + PATH, batch)
            self._http.check(answer, cures={404: "the address is the one before /api/v2/alerts"})

    def _posted(self, alert: AlertInstance, lasts_s: float) -> dict[str, Any]:
        now = self._now()
        starts = alert.fired_at if alert.fired_at is not None else alert.active_at
        if alert.state is AlertState.INACTIVE:
            # The end must not be before the start, and not ahead: the alert would fire until then.
            ends = min(now, alert.resolved_at if alert.resolved_at is not None else now)
            ends = max(starts, ends)
        else:
            ends = now + lasts_s
        return {
            "labels": {name: value for name, value in alert.labels if value},
            "annotations": dict(alert.annotations),
            "startsAt": go_time(min(starts, ends)),
            "endsAt": go_time(ends),
            "generatorURL": "",
        }


def _batches(alerts: Sequence[dict[str, Any]]) -> Iterable[Sequence[dict[str, Any]]]:
    return (alerts[at : at + BATCH] for at in range(0, len(alerts), BATCH))
