"""The part that sends the usage report."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from alerts.interfaces import Clock, Message
from alerts.wire import message_to_json
from controlplane.app.parts.part import Configuration, Part
from controlplane.app.schedules import USAGE_REPORT, timetables
from controlplane.clock.calendar import Timetable
from controlplane.config.model import Cost
from controlplane.cost import CostLedger
from controlplane.cost.usage import Period, totals_from_notes, totals_to_notes, usage_notice, usages
from controlplane.errors import QueryError
from controlplane.fleet.alerting.route import notice_receiver
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.query.queries import Queries
from controlplane.schedule import Due, Loop, LoopFactory
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.outbox import enqueue

log = logging.getLogger(__name__)

MESSAGE_KIND = "report"
"""Kind of a report in the outbox."""
REQUESTS = "sum by (model) (sum_over_time(model:llm_requests:rate5m[{seconds}s])) * {interval_s:g}"
"""PromQL for the requests in a period, from the rate that the pack builtin:llm records every `interval_s` seconds. The
counters themselves are kept for one day only. Time without recorded samples counts as time without requests."""


@dataclass(frozen=True)
class ReportingSettings:
    """The timetable of the report, its receiver and its content."""

    times: Timetable
    receiver: str
    fleet: str
    cost: Cost | None
    interval_s: float
    """Seconds between two evaluations of recording rules."""
    console_url: str


class Reporting(Part[ReportingSettings | None]):
    """Queues the usage report by the calendar, in one process at a time."""

    name = "usage report"

    def __init__(self, db: Database, querier: Queries, clock: Clock) -> None:
        self._db, self._querier, self._clock = db, querier, clock
        self._settings: ReportingSettings | None = None

    def settings(self, config: Configuration) -> ReportingSettings | None:
        """Return the report's settings in a configuration; None: no report."""
        fleet = config.fleet
        if fleet.usage_report is None:
            return None
        return ReportingSettings(
            times=timetables(fleet)[USAGE_REPORT],
            receiver=fleet.usage_report.receiver or notice_receiver(config.loaded),
            fleet=fleet.fleet.name,
            cost=fleet.cost,
            interval_s=fleet.evaluation_interval,
            console_url=config.console_url,
        )

    async def configure(self, settings: ReportingSettings | None) -> Sequence[str]:
        """Use this timetable and receiver from now on."""
        before, self._settings = self._settings, settings
        if settings is None:
            return ["is not sent any more"]
        if before is None or (before.times, before.receiver) != (settings.times, settings.receiver):
            return [f"is sent to {settings.receiver} at {settings.times}"]
        return ()

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that reports."""
        return [make.calendar(USAGE_REPORT, self._times, self._report)]

    def _times(self) -> Timetable | None:
        return None if self._settings is None else self._settings.times

    async def _report(self, lease: Lease, due: Due) -> Mapping[str, Any]:
        settings = self._settings
        if settings is None:  # a reload has just removed the report
            return due.previous.notes
        now, notes = self._clock.now(), due.previous.notes
        start = notes.get("to")
        if not isinstance(start, int | float) or not 0 < start < now:
            start = due.previous.done_to
        period = Period(start, now)
        requests = await self._requests(period, settings.interval_s)
        return await asyncio.to_thread(self._queue, settings, lease, due, period, requests)

    async def _requests(self, period: Period, interval_s: float) -> dict[str, float]:
        seconds = max(1, round(period.end - period.start))
        try:
            found = await self._querier.instant_value(
                REQUESTS.format(seconds=seconds, interval_s=interval_s), period.end
            )
        except QueryError as error:
            # The report is sent without requests: the costs from the ledger are still useful.
            log.warning("usage report: requests cannot be counted: %s", error)
            return {}
        samples = found.samples if isinstance(found, Vector) else ()
        return {dict(sample.labels).get("model", ""): sample.value for sample in samples}

    def _queue(
        self, settings: ReportingSettings, lease: Lease, due: Due, period: Period, requests: Mapping[str, float]
    ) -> Mapping[str, Any]:
        """Queue the message and return the notes for the next report. Raises LeaseLost and Unavailable."""
        totals, months = {}, []
        if settings.cost is not None:
            ledger = CostLedger(self._db, settings.cost)
            totals, months = ledger.totals(), ledger.reports(period.end)
        before = totals_from_notes(due.previous.notes.get("totals"))
        notice = usage_notice(
            settings.fleet, period, usages(requests, before, totals, months), settings.times.calendar.timezone
        )
        message = Message(
            group_key=USAGE_REPORT,
            receiver=settings.receiver,
            status="notice",
            group_labels=(),
            firing=(),
            resolved=(),
            sequence=1,
            # A run that is repeated after a crash has the same id, so the outbox accepts its message only once.
            generation=int(due.at),
            console_url=settings.console_url,
            sent_at=datetime.fromtimestamp(period.end, UTC),
            notice=notice,
        )
        with self._db.transaction() as session:
            check_lease(session, lease)
            payload = message_to_json(message)
            enqueue(session, MESSAGE_KIND, message.receiver, message.id, payload, period.end, lane=USAGE_REPORT)
        return {"to": period.end, "totals": totals_to_notes(totals)}
