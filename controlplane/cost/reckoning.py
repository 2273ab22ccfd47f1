"""The arithmetic of the ledger. Pure. Times are unix seconds, months are UTC calendar months, money is US dollars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

MAX_GAP_S = 300.0
"""Maximum seconds between two observations. A longer gap counts as unobserved. Chosen: a restart takes less."""


class Month(NamedTuple):
    """A calendar month in UTC: `name` as 2026-11, from `start` up to but not including `end`."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class LedgerEntry:
    """One model in one month.

    Invariant: `accounted_to - since` is the observed time plus `unobserved_seconds`. Unobserved time is not charged.
    """

    model: str
    month: str
    since: float
    accounted_to: float
    gpu_seconds: float = 0.0
    spent_usd: float = 0.0
    unobserved_seconds: float = 0.0

    @property
    def observed_seconds(self) -> float:
        """Seconds for which the number of running GPUs is known."""
        return self.accounted_to - self.since - self.unobserved_seconds


@dataclass(frozen=True)
class BudgetReport:
    """The month of a model or of a provider's account so far, in US dollars.

    None: no budget is set, or nothing was observed yet.
    """

    model: str
    """Name of the model, or of the account."""
    month: str
    spent: float
    limit: float | None
    prorated: float | None
    forecast: float | None
    observed_seconds: float
    unobserved_seconds: float


def month_of(at: float) -> Month:
    """Return the month that holds a moment."""
    start = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    year, month = (start.year + 1, 1) if start.month == 12 else (start.year, start.month + 1)
    end = start.replace(year=year, month=month)
    return Month(f"{start:%Y-%m}", start.timestamp(), end.timestamp())


def accrue(
    entry: LedgerEntry, gpus_up: float | None, now: float, gpu_hour_usd: float, max_gap_s: float = MAX_GAP_S
) -> list[LedgerEntry]:
    """Account for the time up to `now`. Return the changed entries: one, two when a month ended, none without time.

    `gpus_up` is the number of GPUs of the model's backends that are up now. It counts for the whole time since the
    previous observation. With None (unknown), and after a gap longer than `max_gap_s`, the time counts as unobserved:
    it is not charged. When the clock was set back by more than `max_gap_s`, accounting goes on from `now`, so that
    the repeated hours are charged again.
    """
    gap = now - entry.accounted_to
    if gap < -max_gap_s:
        return [replace(entry, accounted_to=now)]
    if gap <= 0:
        return []
    gpus = gpus_up if gap <= max_gap_s else None
    month, current = month_of(entry.accounted_to), month_of(now)
    if current.name == month.name:
        return [_spend(entry, gpus, now, gpu_hour_usd)]
    # The new entry covers the whole new month: `_spend` counts its time before `now` as observed or unobserved.
    fresh = LedgerEntry(entry.model, current.name, since=current.start, accounted_to=current.start)
    return [_spend(entry, gpus, month.end, gpu_hour_usd), _spend(fresh, gpus, now, gpu_hour_usd)]


def report(entry: LedgerEntry, limit: float | None) -> BudgetReport:
    """Compare an entry with its budget of `limit` dollars a month.

    prorated: `limit` times the observed share of the month, the budget up to now. The calendar's share would be wrong:
    a ledger that starts on the 20th, or that observed nothing for a week, holds only a part of the month's spending.

    forecast: the spending at the month's end, if the remaining time and the unobserved time since the ledger began
    cost as much as the observed time did on average.
    """
    month = month_of(entry.since)
    observed = entry.observed_seconds
    prorated = None if limit is None else limit * observed / (month.end - month.start)
    forecast = None
    if limit is not None and observed > 0:
        forecast = entry.spent_usd / observed * (month.end - entry.since)
    return BudgetReport(
        entry.model, entry.month, entry.spent_usd, limit, prorated, forecast, observed, entry.unobserved_seconds
    )


def account_report(account: str, spent: float, limit: float, now: float) -> BudgetReport:
    """Compare what a provider charges for an account this month with its budget of `limit` dollars a month.

    The provider's number is of the whole month, so the elapsed part of the month is what was observed.
    """
    month = month_of(now)
    elapsed, whole = now - month.start, month.end - month.start
    forecast = spent / elapsed * whole if elapsed > 0 else None
    return BudgetReport(account, month.name, spent, limit, limit * elapsed / whole, forecast, elapsed, 0.0)


def _spend(entry: LedgerEntry, gpus: float | None, to: float, gpu_hour_usd: float) -> LedgerEntry:
    seconds = to - entry.accounted_to
    if gpus is None:
        return replace(entry, accounted_to=to, unobserved_seconds=entry.unobserved_seconds + seconds)
    return replace(
        entry,
        accounted_to=to,
        gpu_seconds=entry.gpu_seconds + gpus * seconds,
        spent_usd=entry.spent_usd + gpus * seconds / 3600 * gpu_hour_usd,
    )
