"""The limits of one caller on one model: checked and taken together, or not at all."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.gateway.desired.document import PriceSpec
from controlplane.gateway.limits.gauge import NO_LIMIT, Gauge, longer
from controlplane.gateway.limits.locks import Locks
from controlplane.gateway.limits.over import Over

TRIES = 3
"""Most attempts at an update whose lock was taken away in between, because its worker was stopped."""


class Outdated(NamedTuple):
    """Nothing was set aside: a worker has begun, or slots have changed, since the plan was made. Make it anew."""


Tightest = tuple[Gauge | None, float, Gauge | None, float]
"""Limits of which least was left after the last request, and what was left: of requests, and of tokens."""


class Plan:
    """Gauges of key, tenant and model, as far as they have limits. `stripe` is the lock of all of them."""

    __slots__ = ("_changes", "_stripe", "counts_money", "gauges", "model", "price", "tightest")

    def __init__(self, gauges: tuple[Gauge, ...], stripe: int, model: str, price: PriceSpec, changes: float) -> None:
        """`changes` is the count of changes of the memory, as it was before `gauges` were made."""
        self._changes = changes
        self.gauges = gauges
        self.model = model
        self.price = price
        self._stripe = stripe
        self.tightest: Tightest = (None, NO_LIMIT, None, NO_LIMIT)
        self.counts_money = any(gauge.counts_money for gauge in gauges)

    def take(self, locks: Locks, now: float, unix: float, tokens: float, money: float) -> Over | Outdated | None:
        """Set a request aside on all limits. Returns the limit that it would pass; then nothing was set aside.

        Returns Outdated for a plan that may lack a worker. Only under the lock that is certain: a worker that begins
        while this one waits for the lock may have taken what is left.
        """
        gauges = self.gauges
        for attempt in range(TRIES):
            byte = locks.acquire(self._stripe)
            try:
                if locks.changes != self._changes:
                    return Outdated()
                over: Over | None = None
                for gauge in gauges:
                    found = gauge.check(now, unix, tokens, money)
                    if found is not None:
                        over = longer(over, found)
                if over is not None:
                    return over
                if locks.holds(self._stripe, byte) or attempt == TRIES - 1:
                    self._write(now, tokens, money)
                    return None
            finally:
                locks.release(byte)
        raise AssertionError("the last attempt returns")

    def settle(self, held: float, held_money: float, used: float, money: float) -> None:
        """Replace what was set aside by what was used. Needs no lock."""
        for gauge in self.gauges:
            gauge.settle(held, held_money, used, money)

    def give_back(self, locks: Locks, held: float, held_money: float) -> None:
        """Undo `take`."""
        byte = locks.acquire(self._stripe)
        try:
            for gauge in self.gauges:
                gauge.give_back(held, held_money)
        finally:
            locks.release(byte)

    def _write(self, now: float, tokens: float, money: float) -> None:
        of_requests = of_tokens = None
        requests_left = tokens_left = NO_LIMIT
        for gauge in self.gauges:
            gauge.take(now, tokens, money)
            if gauge.requests_left < requests_left:
                requests_left, of_requests = gauge.requests_left, gauge
            if gauge.tokens_left < tokens_left:
                tokens_left, of_tokens = gauge.tokens_left, gauge
        self.tightest = of_requests, requests_left, of_tokens, tokens_left
