"""The budgets of one limit in one worker: tokens and money, of the day and of the month (UTC).

Spent is what settled requests used. A request is admitted when three amounts fit together into the budget: what is
spent, what open requests hold, and what the request itself may need. A worker has what it settled and what it holds in
one number (PENDING), so a settlement by another worker, which needs no lock, is seen as a whole.
"""

from __future__ import annotations

from typing import NamedTuple

from controlplane.gateway.desired.document import LimitSpec
from controlplane.gateway.limits.directory import Place
from controlplane.gateway.limits.memory import (
    BUDGETS,
    DAY,
    MILLION,
    MONTH,
    OPEN,
    PENDING_MONEY,
    PENDING_TOKENS,
    SEEN_MONEY,
    SEEN_TOKENS,
    SETTLED_MONEY,
    SETTLED_TOKENS,
    SPENT,
    WITHHELD_BUDGETS,
    Memory,
)
from controlplane.gateway.limits.over import Kind, Over, Owner
from controlplane.gateway.limits.periods import Calendar, turned

SLACK = 1e-6


class Fold:
    """Moves what the columns settled into the totals of a slot. Every call is under the lock of the slot's stripe."""

    __slots__ = ("_at", "_calendar", "_floats", "_money", "_tokens")

    def __init__(self, memory: Memory, place: Place) -> None:
        self._floats = memory.floats
        self._at = memory.slot(place.slot)
        self._tokens = memory.over_columns(place.slot, SETTLED_TOKENS, memory.columns())
        self._money = memory.over_columns(place.slot, SETTLED_MONEY, memory.columns())
        self._calendar = Calendar()

    def ends(self, unix: float) -> tuple[float, float]:
        """Return the ends of the day and the month, in unix seconds."""
        _, _, day_end, month_end = self._calendar.at(unix)
        return day_end, month_end

    def is_due(self, unix: float) -> bool:
        """Return whether `fold` would change anything. Needs no lock."""
        floats, at = self._floats, self._at
        day, month, _, _ = self._calendar.at(unix)
        if floats[at + DAY] != day or floats[at + MONTH] != month:
            return True
        return (
            sum(floats[self._tokens]) != floats[at + SEEN_TOKENS] or sum(floats[self._money]) != floats[at + SEEN_MONEY]
        )

    def fold(self, unix: float) -> None:
        """Start new periods, and add what was settled since the last call."""
        floats, at = self._floats, self._at
        day, month, _, _ = self._calendar.at(unix)
        if floats[at + DAY] != day:
            self._turn(DAY, day, 0, unix)
        if floats[at + MONTH] != month:
            self._turn(MONTH, month, 1, unix)
        self._add(sum(floats[self._tokens]), SEEN_TOKENS, 0)
        self._add(sum(floats[self._money]), SEEN_MONEY, 2)

    def _turn(self, period: int, current: int, budget: int, unix: float) -> None:
        floats, at = self._floats, self._at
        anew, floats[at + period] = turned(floats[at + period], current, unix)
        if anew:
            # What was settled since the last fold, within a second, counts in the new period: nothing is lost.
            floats[at + SPENT + budget] = floats[at + SPENT + budget + 2] = 0.0

    def _add(self, total: float, seen: int, budget: int) -> None:
        floats, at = self._floats, self._at
        rise = total - floats[at + seen]
        if rise:
            floats[at + seen] = total
            floats[at + SPENT + budget] += rise
            floats[at + SPENT + budget + 1] += rise


class _Budget(NamedTuple):
    """One budget. `limit` in tokens or millionths of a US dollar. `spent` and `withheld` are places in the memory."""

    limit: float
    spent: int
    withheld: int
    is_monthly: bool
    field: str


class _Unit:
    """The budgets in one unit, tokens or money: `pending` and `settled` are sums over the columns, less `seen`."""

    __slots__ = ("at_pending", "at_settled", "budgets", "only_pending", "pending", "seen", "settled")

    def __init__(self, memory: Memory, column: int, place: Place, fields: tuple[int, int, int], budgets: list[_Budget]):
        pending, settled, seen = fields
        columns, cell = memory.columns(), memory.cell(column, place.slot)
        self.at_pending, self.at_settled = cell + pending, cell + settled
        self.pending = memory.over_columns(place.slot, pending, columns)
        self.only_pending = memory.only_place(place.slot, pending, columns)
        self.settled = memory.over_columns(place.slot, settled, columns)
        self.seen = memory.slot(place.slot) + seen
        self.budgets = tuple(budgets)


class Budgets:
    """The budgets of one limit."""

    __slots__ = (
        "_at_day",
        "_at_month",
        "_at_open",
        "_day",
        "_floats",
        "_fold",
        "_money",
        "_month",
        "_owner",
        "_tightest",
        "_tokens",
        "_unix",
        "_until",
        "counts_money",
        "tokens_left",
    )

    def __init__(self, memory: Memory, column: int, owner: Owner, spec: LimitSpec, place: Place) -> None:
        self._floats = memory.floats
        self._owner = owner
        self._fold = Fold(memory, place)
        slot = memory.slot(place.slot)
        self._at_day, self._at_month = slot + DAY, slot + MONTH
        self._at_open = memory.cell(column, place.slot) + OPEN
        tokens, money = list[_Budget](), list[_Budget]()
        for number, field in enumerate(BUDGETS):
            if (limit := getattr(spec, field)) is not None:
                is_money = field.endswith("_usd")
                whole = limit * MILLION if is_money else float(limit)
                spent, withheld = slot + SPENT + number, slot + WITHHELD_BUDGETS + number
                of_unit = money if is_money else tokens
                of_unit.append(_Budget(whole, spent, withheld, field.startswith("monthly"), field))
        self._tokens = (
            _Unit(memory, column, place, (PENDING_TOKENS, SETTLED_TOKENS, SEEN_TOKENS), tokens) if tokens else None
        )
        self._money = _Unit(memory, column, place, (PENDING_MONEY, SETTLED_MONEY, SEEN_MONEY), money) if money else None
        self.counts_money = bool(money)
        self._day = self._month = self._until = self._unix = 0.0
        self._tightest: _Budget | None = None
        self.tokens_left = float("inf")
        """Rest after the request of the last `check`, of the budget in tokens of which least is left."""

    @classmethod
    def of(cls, memory: Memory, column: int, owner: Owner, spec: LimitSpec, place: Place) -> Budgets | None:
        """Return the budgets of a limit, or None when it has none."""
        has_any = any(getattr(spec, field) is not None for field in BUDGETS)
        return cls(memory, column, owner, spec, place) if has_any else None

    def check(self, unix: float, tokens: float, money: float) -> Over | None:
        """Return the budget that the request would pass and that lasts longest, or None."""
        floats = self._floats
        self._unix = unix
        if unix >= self._until or floats[self._at_day] != self._day or floats[self._at_month] != self._month:
            self._turn(unix)
        over = None
        unit = self._tokens
        if unit is not None:
            only = unit.only_pending
            pending = (floats[only] if only else sum(floats[unit.pending])) - floats[unit.seen] + tokens - SLACK
            least = float("inf")
            for budget in unit.budgets:
                limit, spent, withheld, _, _ = budget
                left = limit * (1.0 - floats[withheld]) - floats[spent] - pending
                if left < least:
                    least, self._tightest = left, budget
            self.tokens_left = least
            if least < 0.0 and tokens > 0.0:
                over = self._over(unit, tokens, pending)
        unit = self._money
        if unit is not None and money > 0.0:
            only = unit.only_pending
            pending = (floats[only] if only else sum(floats[unit.pending])) - floats[unit.seen] + money - SLACK
            for limit, spent, withheld, _, _ in unit.budgets:
                if limit * (1.0 - floats[withheld]) - floats[spent] - pending < 0.0:
                    found = self._over(unit, money, pending)
                    if over is None or found.wait_s > over.wait_s:
                        over = found
                    break
        return over

    def take(self, tokens: float, money: float) -> None:
        """Hold what the request may need."""
        if self._tokens is not None:
            self._floats[self._tokens.at_pending] += tokens
        if self._money is not None:
            self._floats[self._money.at_pending] += money

    def settle(self, held: float, held_money: float, used: float, money: float) -> None:
        """Count what the request used, and release what it held. Called before the request leaves OPEN."""
        floats, last = self._floats, self._floats[self._at_open] <= 1.0
        unit = self._tokens
        if unit is not None:
            floats[unit.at_settled] += used
            # With the last one, what is pending is what was settled: rounding never adds up.
            floats[unit.at_pending] = floats[unit.at_settled] if last else floats[unit.at_pending] + (used - held)
        unit = self._money
        if unit is not None:
            floats[unit.at_settled] += money
            floats[unit.at_pending] = (
                floats[unit.at_settled] if last else floats[unit.at_pending] + (money - held_money)
            )

    def tokens_quota(self, left: float) -> tuple[float, float, float]:
        """Return (limit, what is left, seconds until its period ends) of the tightest budget in tokens."""
        budget = self._tightest
        assert budget is not None
        limit = budget.limit * (1.0 - self._floats[budget.withheld])
        return limit, left, max(0.0, self._fold.ends(self._unix)[budget.is_monthly] - self._unix)

    def is_due(self, unix: float) -> bool:
        """Return whether `fold` would change anything. Needs no lock."""
        return self._fold.is_due(unix)

    def fold(self, unix: float) -> None:
        """Count what workers settled since the last call."""
        self._fold.fold(unix)

    def _turn(self, unix: float) -> None:
        """Start new periods where they have begun, and remember until when nothing changes."""
        self._fold.fold(unix)
        self._day, self._month = self._floats[self._at_day], self._floats[self._at_month]
        self._until = self._fold.ends(unix)[0]

    def _over(self, unit: _Unit, need: float, pending: float) -> Over:
        """Return the budget of a unit that the request would pass and that lasts longest.

        `pending` is what `check` found, with the request in it: a worker may settle meanwhile.
        """
        floats = self._floats
        settled, ends = sum(floats[unit.settled]) - floats[unit.seen], self._fold.ends(self._unix)
        held = max(0.0, pending + SLACK - need - settled)
        found = list[Over]()
        for limit, at_spent, withheld, is_monthly, field in unit.budgets:
            share, spent = 1.0 - floats[withheld], floats[at_spent]
            if limit * share - spent - pending < 0.0:
                wait_s = ends[is_monthly] - self._unix
                found.append(Over(self._owner, Kind.BUDGET, spent + settled, limit, share, need, wait_s, held, field))
        return max(found, key=lambda over: over.wait_s)
