"""The arithmetic of one limit in one worker: two buckets, the open requests, and its budgets.

A bucket counts what is *used*, and drains at the limit's rate: zero is the state after a minute without requests, so
fresh memory is right, and a limit may change at any time. `Gauge.check` reads and remembers, `Gauge.take` writes what
`check` found; no other worker writes between them, because both run under the lock of the limit's stripe.
"""

from __future__ import annotations

from controlplane.gateway.desired.document import LimitSpec
from controlplane.gateway.limits.budgets import Budgets
from controlplane.gateway.limits.directory import Place
from controlplane.gateway.limits.memory import (
    GENERATION,
    OPEN,
    REQUESTS_AT,
    REQUESTS_USED,
    RETURNED_TOKENS,
    SEEN_RETURNED,
    TOKENS_AT,
    TOKENS_USED,
    WANTED_REQUESTS,
    WITHHELD,
    Memory,
)
from controlplane.gateway.limits.over import Kind, Over, Owner

SLACK = 1e-6
"""Rounding of float64 that never decides: a bucket of 60 holds 60 requests."""
MINUTE_S = 60.0
NO_LIMIT = float("inf")

Quota = tuple[float, float, float]
"""Rest of a limit: the limit, the part that is left, and seconds until all of it is there again."""


class Gauge:
    """One limit. `now` is monotonic seconds, `unix` the wall clock's.

    This runs up to three times for each request: the places of all numbers are calculated once, and the two buckets are
    written out instead of shared.
    """

    __slots__ = (
        "_at_generation",
        "_at_open",
        "_at_requests",
        "_at_requests_time",
        "_at_returned",
        "_at_seen",
        "_at_tokens",
        "_at_tokens_time",
        "_at_wanted",
        "_at_withheld",
        "_budgets",
        "_concurrent",
        "_floats",
        "_generation",
        "_next_requests",
        "_next_tokens",
        "_only_open",
        "_only_returned",
        "_open",
        "_requests",
        "_returned",
        "_seen",
        "_share",
        "_tokens",
        "counts_money",
        "owner",
        "requests_left",
        "tokens_left",
    )

    def __init__(self, memory: Memory, column: int, owner: Owner, spec: LimitSpec, place: Place) -> None:
        self.owner = owner
        self._generation = place.generation
        self._floats = memory.floats
        slot, cell = memory.slot(place.slot), memory.cell(column, place.slot)
        self._at_generation = slot + GENERATION
        self._at_withheld = slot + WITHHELD
        self._at_wanted = slot + WANTED_REQUESTS
        self._at_requests, self._at_requests_time = slot + REQUESTS_USED, slot + REQUESTS_AT
        self._at_tokens, self._at_tokens_time = slot + TOKENS_USED, slot + TOKENS_AT
        self._at_seen = slot + SEEN_RETURNED
        self._at_open, self._at_returned = cell + OPEN, cell + RETURNED_TOKENS
        columns = memory.columns()
        self._open = memory.over_columns(place.slot, OPEN, columns)
        self._only_open = memory.only_place(place.slot, OPEN, columns)
        self._returned = memory.over_columns(place.slot, RETURNED_TOKENS, columns)
        self._only_returned = memory.only_place(place.slot, RETURNED_TOKENS, columns)
        self._requests = float(spec.requests_per_minute or 0)
        self._tokens = float(spec.tokens_per_minute or 0)
        self._concurrent = float(spec.concurrent or 0)
        self._budgets = Budgets.of(memory, column, owner, spec, place)
        self.counts_money = self._budgets is not None and self._budgets.counts_money
        self._share = 1.0
        self._next_requests = self._next_tokens = self._seen = 0.0
        self.requests_left = self.tokens_left = NO_LIMIT
        """Rest after the request of the last `check`."""

    def check(self, now: float, unix: float, tokens: float, money: float) -> Over | None:
        """Return the limit that the request would pass, or None. `money` is in millionths of a US dollar."""
        floats = self._floats
        self._share = share = 1.0 - floats[self._at_withheld]
        if share != 1.0:
            self._want(tokens)
        over = None
        if self._requests:
            room = self._requests * share
            used = floats[self._at_requests]
            if used:
                used -= (now - floats[self._at_requests_time]) * room / MINUTE_S
                if used < 0.0:
                    used = 0.0
                elif used + 1.0 > room + SLACK:
                    over = self._over_rate(Kind.REQUESTS, used, self._requests, 1.0)
            self._next_requests = used = used + 1.0
            self.requests_left = room - used
        if self._tokens:
            over = self._check_tokens(now, tokens, share, over)
        if self._concurrent:
            opened = floats[self._only_open] if self._only_open else sum(floats[self._open])
            if opened >= self._concurrent * share:
                over = self._check_open(over)
        budgets = self._budgets
        if budgets is not None:
            spent = budgets.check(unix, tokens, money)
            if spent is not None:
                over = longer(over, spent)
            if budgets.tokens_left < self.tokens_left or not self._tokens:
                self.tokens_left = budgets.tokens_left
        return over

    def take(self, now: float, tokens: float, money: float) -> None:
        """Write what `check` found, with the request in it."""
        floats = self._floats
        if self._requests:
            floats[self._at_requests] = self._next_requests
            floats[self._at_requests_time] = now
        if self._tokens:
            floats[self._at_tokens] = self._next_tokens
            floats[self._at_tokens_time] = now
            floats[self._at_seen] = self._seen
        floats[self._at_open] += 1.0
        if self._budgets is not None:
            self._budgets.take(tokens, money)

    def settle(self, held: float, held_money: float, used: float, money: float) -> None:
        """The request ended: it used `used` of the `held` tokens, and `money` of `held_money`. Needs no lock."""
        floats = self._floats
        if floats[self._at_generation] != self._generation:
            return
        if self._budgets is not None:
            self._budgets.settle(held, held_money, used, money)
        if self._tokens:
            floats[self._at_returned] += held - used
        floats[self._at_open] -= 1.0

    def give_back(self, held: float, held_money: float) -> None:
        """Undo `take`, under the lock of the limit."""
        if self._floats[self._at_generation] != self._generation:
            return
        if self._requests:
            used = self._floats[self._at_requests] - 1.0
            self._floats[self._at_requests] = used if used > 0.0 else 0.0
        self.settle(held, held_money, 0.0, 0.0)

    def is_due(self, unix: float) -> bool:
        """Return whether `fold` would change anything. Needs no lock."""
        floats = self._floats
        if self._tokens and sum(floats[self._returned]) != floats[self._at_seen]:
            return True
        return self._budgets is not None and self._budgets.is_due(unix)

    def fold(self, now: float, unix: float) -> None:
        """Count what workers settled since the last call, under the lock of the limit.

        Without requests that do it, what was settled would drain from now on instead of since then.
        """
        floats = self._floats
        if self._tokens and sum(floats[self._returned]) != floats[self._at_seen]:
            self._check_tokens(now, 0.0, 1.0 - floats[self._at_withheld], None)
            floats[self._at_tokens] = self._next_tokens
            floats[self._at_tokens_time] = now
            floats[self._at_seen] = self._seen
        if self._budgets is not None:
            self._budgets.fold(unix)

    def requests_quota(self, left: float) -> Quota:
        """Return the quota of requests when `left` of them are left."""
        return _quota(self._requests * self._share, left)

    def tokens_quota(self, left: float) -> Quota:
        """Return the quota of tokens when `left` are left: a minute's, or a budget's where less is left of that."""
        budgets = self._budgets
        if budgets is not None and budgets.tokens_left <= self.tokens_left:
            return budgets.tokens_quota(left)
        return _quota(self._tokens * self._share, left)

    def _check_tokens(self, now: float, tokens: float, share: float, over: Over | None) -> Over | None:
        floats = self._floats
        room = self._tokens * share
        only = self._only_returned
        self._seen = returned = floats[only] if only else sum(floats[self._returned])
        used = floats[self._at_tokens]
        if used:
            used -= (now - floats[self._at_tokens_time]) * room / MINUTE_S
            if used < 0.0:
                used = 0.0
        used += floats[self._at_seen] - returned
        if used <= SLACK:
            used = 0.0
        elif used + tokens > room + SLACK:
            over = longer(over, self._over_rate(Kind.TOKENS, used, self._tokens, tokens))
        self._next_tokens = used = used + tokens
        self.tokens_left = room - used
        return over

    def _want(self, tokens: float) -> None:
        self._floats[self._at_wanted] += 1.0
        self._floats[self._at_wanted + 1] += tokens

    def _over_rate(self, kind: Kind, used: float, limit: float, need: float) -> Over:
        room = limit * self._share
        wait_s = (used + min(need, room) - room) * MINUTE_S / room
        return Over(self.owner, kind, used, limit, self._share, need, wait_s)

    def _check_open(self, over: Over | None) -> Over | None:
        """Every gateway may have one request open, however small its share is."""
        most = max(1.0, float(int(self._concurrent * self._share + SLACK)))
        opened = sum(self._floats[self._open])
        if opened < most:
            return over
        return longer(over, Over(self.owner, Kind.CONCURRENT, opened, self._concurrent, self._share, 1.0, 1.0))


def _quota(room: float, left: float) -> Quota:
    return room, left, (room - left) * MINUTE_S / room


def longer(one: Over | None, other: Over | None) -> Over | None:
    """Return the one of two limits that lasts longer: a client that waits for it need not be refused again."""
    if one is None or other is None:
        return one or other
    return one if one.wait_s >= other.wait_s else other
