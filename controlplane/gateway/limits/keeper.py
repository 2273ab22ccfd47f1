"""The supervisor's side of the limits: slots, shares, dead workers, what is reported, and what is kept on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from controlplane.gateway.desired.document import Desired, LimitSpec
from controlplane.gateway.limits.directory import Directory, Place
from controlplane.gateway.limits.gauge import Gauge
from controlplane.gateway.limits.locks import Locks
from controlplane.gateway.limits.memory import (
    BUDGETS,
    DAY,
    MILLION,
    MONTH,
    OPEN,
    PENDING_MONEY,
    PENDING_TOKENS,
    REQUESTS_AT,
    REQUESTS_USED,
    SETTLED_MONEY,
    SETTLED_TOKENS,
    SPENT,
    TOKENS_AT,
    TOKENS_USED,
    WANTED_REQUESTS,
    WANTED_TOKENS,
    WITHHELD,
    WITHHELD_BUDGETS,
    Memory,
)
from controlplane.gateway.limits.over import Owner
from controlplane.gateway.limits.owners import any_model_has_limits, limits_of, stripe_of_owner
from controlplane.gateway.limits.shares import OTHERS, budget_id
from controlplane.gateway.limits.spent import Spent, decode, encode
from controlplane.gateway.seams import Area

LEAST_SHARE = 0.001
"""Smallest share. A smaller one would make the wait for a request endless."""
SMOOTH_S = 10.0
"""Time constant of the reported demand, in seconds. Chosen: shares follow a change within half a minute, and do not
follow single bursts."""


class _Kept(NamedTuple):
    owner: Owner
    spec: LimitSpec
    place: Place
    stripe: int
    has_budget: bool
    gauge: Gauge


class _Wanted(NamedTuple):
    at: float
    requests: float
    tokens: float
    mean: float
    """Smoothed demand, as a part of the whole limit."""


class Keeper:
    """Keeps the limits of a gateway in order. One for each supervisor.

    A worker is started after the supervisor's first `apply`.
    """

    def __init__(
        self, area: Area, *, unix: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._memory = Memory(area)
        self._locks = Locks(self._memory)
        self._directory = Directory(self._memory, self._locks)
        self._unix = unix
        self._monotonic = monotonic
        self._revision: str | None = None
        self._limits: dict[str, _Kept] = {}
        self._wanted: dict[str, _Wanted] = {}
        self._saved = b""
        self._columns = 0

    def apply(self, desired: Desired, now: float) -> None:
        """Allot and free slots, and write the shares. Call it before the workers get the document.

        Raises BadDesired when there are more limits than slots; then nothing has changed.
        """
        if desired.revision != self._revision:
            specs = {owner.limit_id: (owner, spec) for owner, spec in limits_of(desired)}
            places = self._directory.allot(specs)
            self._directory.free_all_but(specs)
            joined = any_model_has_limits(desired)
            tenants = {key.id: key.tenant for key in desired.keys}
            before, self._limits = self._limits, {}
            for limit_id, (owner, spec) in specs.items():
                place, stripe = places[limit_id], stripe_of_owner(owner, tenants, joined=joined)
                kept = before.get(limit_id)
                same = kept is not None and (kept.spec, kept.place, kept.stripe) == (spec, place, stripe)
                self._limits[limit_id] = kept if kept is not None and same else self._kept(owner, spec, place, stripe)
            self._wanted = {limit_id: seen for limit_id, seen in self._wanted.items() if limit_id in specs}
            self._revision = desired.revision
        self._share(desired.shares)

    def clear_column(self, column: int) -> None:
        """Release what a dead worker held. Its open requests were not answered, so nothing is charged for them."""
        floats, memory = self._memory.floats, self._memory
        for kept in self._limits.values():
            cell = memory.cell(column, kept.place.slot)
            if floats[cell + OPEN]:
                floats[cell + OPEN] = 0.0
            for pending, settled in ((PENDING_TOKENS, SETTLED_TOKENS), (PENDING_MONEY, SETTLED_MONEY)):
                if floats[cell + pending] != floats[cell + settled]:
                    floats[cell + pending] = floats[cell + settled]

    def demand(self, now: float) -> dict[str, float]:
        """Return the demand of each limit that gateways share, and what was spent of each budget, for the report.

        The demand of a limit is a part of the whole limit (0.5: half of it), refused requests included. A limit with
        budgets only has a demand in tokens a minute. Spent is in tokens or US dollars of the present period. Limits
        without demand are left out, and so are budgets of which nothing was spent.
        """
        report: dict[str, float] = {}
        for limit_id, kept in self._limits.items():
            at = self._memory.slot(kept.place.slot)
            if self._memory.floats[at + WITHHELD]:
                mean = self._demand_of(limit_id, kept, now)
                if mean >= LEAST_SHARE:
                    report[limit_id] = mean
            if kept.has_budget:
                for field, spent in self._spent_of(kept).items():
                    report[budget_id(limit_id, field)] = spent
        return report

    def raise_spent(self, totals: Mapping[str, float]) -> None:
        """Raise what this gateway spent to what it reported before its last start, in the form of `demand`.

        Nothing is ever lowered. A gateway that lost its disk then does not give its budgets out again.
        """
        unix = self._unix()
        self._look_up_columns()
        for limit_id, kept in self._limits.items():
            if kept.has_budget:
                wanted = {field: totals.get(budget_id(limit_id, field), 0.0) for field in BUDGETS}
                if any(wanted.values()):
                    self._fold(kept, unix, wanted)

    def save(self) -> bytes | None:
        """Return what must survive the end of all processes, or None when it is as it was at the last call.

        Counts what workers settled first, so that midnight finds it in the right day, and debts drain from now on.
        """
        unix, now = self._unix(), self._monotonic()
        spent = {}
        self._look_up_columns()
        for limit_id, kept in self._limits.items():
            if kept.gauge.is_due(unix):
                self._fold(kept, unix)
            found = self._read(kept, now, unix)
            if found.is_any():
                spent[limit_id] = found
        data = encode(spent)
        if data == self._saved:
            return None
        self._saved = data
        return data

    def restore(self, data: bytes) -> None:
        """Put back what `save` returned, into fresh memory, before the first `apply`.

        Raises SpentUnreadable.
        """
        spent = decode(data)
        places = self._directory.allot(spent)
        unix, now = self._unix(), self._monotonic()
        for limit_id, found in spent.items():
            at, floats = self._memory.slot(places[limit_id].slot), self._memory.floats
            floats[at + DAY], floats[at + MONTH] = found.day, found.month
            for number, amount in enumerate(found.spent):
                floats[at + SPENT + number] = amount
            # The buckets drained while nobody ran, at a rate that the next reservation knows.
            floats[at + REQUESTS_USED], floats[at + TOKENS_USED] = found.requests, found.tokens
            floats[at + REQUESTS_AT] = floats[at + TOKENS_AT] = now - max(0.0, unix - found.at)
        self._saved = data

    def _kept(self, owner: Owner, spec: LimitSpec, place: Place, stripe: int) -> _Kept:
        # The keeper takes nothing, so that the column of its gauges does not matter.
        return _Kept(owner, spec, place, stripe, _budgeted(spec), Gauge(self._memory, 0, owner, spec, place))

    def _look_up_columns(self) -> None:
        """Let sums include the columns of workers that were started since."""
        if self._columns != self._memory.columns():
            self._columns = self._memory.columns()
            for limit_id, kept in self._limits.items():
                self._limits[limit_id] = self._kept(kept.owner, kept.spec, kept.place, kept.stripe)

    def _share(self, shares: Mapping[str, float]) -> None:
        floats = self._memory.floats
        others = shares.get(OTHERS, 1.0)
        for limit_id, kept in self._limits.items():
            at = self._memory.slot(kept.place.slot)
            floats[at + WITHHELD] = _withheld(shares.get(limit_id, others))
            if kept.has_budget:
                for number, field in enumerate(BUDGETS):
                    floats[at + WITHHELD_BUDGETS + number] = _withheld(shares.get(budget_id(limit_id, field), others))

    def _demand_of(self, limit_id: str, kept: _Kept, now: float) -> float:
        floats, at = self._memory.floats, self._memory.slot(kept.place.slot)
        requests, tokens = floats[at + WANTED_REQUESTS], floats[at + WANTED_TOKENS]
        before = self._wanted.get(limit_id, _Wanted(now, requests, tokens, 0.0))
        passed = now - before.at
        mean = before.mean
        if passed > 0.0:
            columns = self._memory.columns()
            opened = sum(floats[self._memory.over_columns(kept.place.slot, OPEN, columns)])
            a_minute = 60.0 / passed
            current = _part(
                kept.spec, (requests - before.requests) * a_minute, (tokens - before.tokens) * a_minute, opened
            )
            mean += (1.0 - math.exp(-passed / SMOOTH_S)) * (current - mean)
        self._wanted[limit_id] = _Wanted(now, requests, tokens, mean)
        return mean

    def _spent_of(self, kept: _Kept) -> dict[str, float]:
        at, floats = self._memory.slot(kept.place.slot), self._memory.floats
        spent = {}
        for number, field in enumerate(BUDGETS):
            amount = floats[at + SPENT + number]
            if amount and getattr(kept.spec, field) is not None:
                spent[field] = amount / MILLION if field.endswith("_usd") else amount
        return spent

    def _fold(self, kept: _Kept, unix: float, least: Mapping[str, float] | None = None) -> None:
        """Count what workers settled. Then raise each budget's total to `least`."""
        byte = self._locks.acquire(kept.stripe)
        try:
            kept.gauge.fold(self._monotonic(), unix)
            if least is not None:
                self._raise(self._memory.slot(kept.place.slot), least)
        finally:
            self._locks.release(byte)

    def _raise(self, at: int, least: Mapping[str, float]) -> None:
        for number, field in enumerate(BUDGETS):
            amount = least[field] * MILLION if field.endswith("_usd") else least[field]
            if self._memory.floats[at + SPENT + number] < amount:
                self._memory.floats[at + SPENT + number] = amount

    def _read(self, kept: _Kept, now: float, unix: float) -> Spent:
        """Return what a slot holds. Buckets are saved as they are at the time of their last request."""
        at, floats = self._memory.slot(kept.place.slot), self._memory.floats
        used = floats[at + REQUESTS_USED], floats[at + TOKENS_USED]
        last = max(floats[at + REQUESTS_AT], floats[at + TOKENS_AT])
        requests, tokens = used if now - last < 60.0 else (0.0, 0.0)
        spent = tuple(floats[at + SPENT + number] for number in range(len(BUDGETS)))
        at_unix = round(unix - (now - last), 1) if requests or tokens else 0.0
        return Spent(at_unix, int(floats[at + DAY]), int(floats[at + MONTH]), spent, requests, tokens)


def _withheld(share: float) -> float:
    return 1.0 - min(1.0, max(LEAST_SHARE, share))


def _budgeted(spec: LimitSpec) -> bool:
    return any(getattr(spec, field) is not None for field in BUDGETS)


def _part(spec: LimitSpec, requests: float, tokens: float, opened: float) -> float:
    parts = [
        wanted / limit
        for wanted, limit in (
            (requests, spec.requests_per_minute),
            (tokens, spec.tokens_per_minute),
            (opened, spec.concurrent),
        )
        if limit
    ]
    return max(parts) if parts else tokens
