"""The budgets of one limit in one worker: tokens and money, of the day and of the month (UTC).

Spent is what settled requests used. A request is admitted when three amounts fit together into the budget: what is
spent, what open requests hold, and what the request itself may need.
"""

from __future__ import annotations

from typing import NamedTuple

from controlplane.gateway.desired.document import LimitSpec
from controlplane.gateway.limits.directory import Place
from controlplane.gateway.limits.memory import (
    BUDGETS,
    DAY,
    HELD_MONEY,
    HELD_TOKENS,
    MILLION,
    MONTH,
    OPEN,
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
    """One budget. `limit` in tokens or millionths of a US dollar."""

    number: int
    """Place in BUDGETS."""
    limit: float
    is_money: bool
    is_monthly: bool


class Budgets:
    """The budgets of one limit."""

    __slots__ = (
        "_at",
        "_budgets",
        "_cell",
        "_floats",
        "_fold",
        "_held_money",
        "_held_tokens",
        "_owner",
        "count_money",
        "tokens_left",
        "tokens_limit",
        "tokens_reset_s",
    )

    def __init__(self, memory: Memory, column: int, owner: Owner, budgets: tuple[_Budget, ...], place: Place) -> None:
        self._floats = memory.floats
        self._at = memory.slot(place.slot)
        self._cell = memory.cell(column, place.slot)
        self._owner = owner
        self._budgets = budgets
        self.count_money = any(budget.is_money for budget in budgets)
        self._fold = Fold(memory, place)
        columns = memory.columns()
        self._held_tokens = memory.over_columns(place.slot, HELD_TOKENS, columns)
        self._held_money = memory.over_columns(place.slot, HELD_MONEY, columns)
        self.tokens_left = float("inf")
        self.tokens_limit = self.tokens_reset_s = 0.0
        """The budget in tokens of which least is left after the request of the last `check`."""

    @classmethod
    def of(cls, memory: Memory, column: int, owner: Owner, spec: LimitSpec, place: Place) -> Budgets | None:
        """Return the budgets of a limit, or None when it has none."""
        budgets = []
        for number, field in enumerate(BUDGETS):
            limit = getattr(spec, field)
            if limit is not None:
                is_money = field.endswith("_usd")
                whole = limit * MILLION if is_money else float(limit)
                budgets.append(_Budget(number, whole, is_money, field.startswith("monthly")))
        return cls(memory, column, owner, tuple(budgets), place) if budgets else None

    def check(self, unix: float, tokens: float, money: float) -> Over | None:
        """Return the budget that the request would pass and that lasts longest, or None."""
        floats, at = self._floats, self._at
        # Held before settled: a settlement in between is seen twice or once, and never not at all (see `settle`).
        held_tokens, held_money = sum(floats[self._held_tokens]), sum(floats[self._held_money])
        self._fold.fold(unix)
        ends = self._fold.ends(unix)
        self.tokens_left = float("inf")
        over: Over | None = None
        for number, limit, is_money, is_monthly in self._budgets:
            share = 1.0 - floats[at + WITHHELD_BUDGETS + number]
            held, need = (held_money, money) if is_money else (held_tokens, tokens)
            spent = floats[at + SPENT + number]
            left = limit * share - spent - held
            if not is_money and left - need < self.tokens_left:
                self.tokens_left, self.tokens_limit = left - need, limit * share
                self.tokens_reset_s = ends[is_monthly] - unix
            if need > 0.0 and need > left + SLACK:
                wait_s = ends[is_monthly] - unix
                if over is None or wait_s >= over.wait_s:
                    over = Over(self._owner, Kind.BUDGET, spent, limit, share, need, wait_s, held, BUDGETS[number])
        return over

    def is_due(self, unix: float) -> bool:
        """Return whether `fold` would change anything. Needs no lock."""
        return self._fold.is_due(unix)

    def fold(self, unix: float) -> None:
        """Count what workers settled since the last call."""
        self._fold.fold(unix)

    def take(self, tokens: float, money: float) -> None:
        """Hold what the request may need."""
        self._floats[self._cell + HELD_TOKENS] += tokens
        self._floats[self._cell + HELD_MONEY] += money

    def settle(self, held: float, held_money: float, used: float, money: float) -> None:
        """Count what the request used, and then release what it held. Called before the request leaves OPEN."""
        floats, cell = self._floats, self._cell
        floats[cell + SETTLED_TOKENS] += used
        floats[cell + SETTLED_MONEY] += money
        if floats[cell + OPEN] <= 1.0:  # the last one: rounding never adds up
            floats[cell + HELD_TOKENS] = floats[cell + HELD_MONEY] = 0.0
        else:
            floats[cell + HELD_TOKENS] -= held
            floats[cell + HELD_MONEY] -= held_money
