"""The limits of one caller on one model: checked and taken together, or not at all."""

from __future__ import annotations

from controlplane.gateway.desired.document import PriceSpec
from controlplane.gateway.limits.gauge import NO_LIMIT, Gauge, Quota, longer
from controlplane.gateway.limits.locks import Locks
from controlplane.gateway.limits.over import Over

TRIES = 3
"""Most attempts at an update whose lock was taken away in between, because its worker was stopped."""


class Plan:
    """Gauges of key, tenant and model, as far as they have limits. `stripe` is the lock of all of them."""

    __slots__ = ("_stripe", "counts_money", "gauges", "model", "price")

    def __init__(self, gauges: tuple[Gauge, ...], stripe: int, model: str, price: PriceSpec) -> None:
        self.gauges = gauges
        self.model = model
        self.price = price
        self._stripe = stripe
        self.counts_money = any(gauge.counts_money for gauge in gauges)

    def take(self, locks: Locks, now: float, unix: float, tokens: float, money: float) -> Over | None:
        """Set a request aside on all limits. Returns the limit that it would pass; then nothing was set aside."""
        for attempt in range(TRIES):
            epoch = locks.acquire(self._stripe)
            try:
                over = None
                for gauge in self.gauges:
                    found = gauge.check(now, unix, tokens, money)
                    if found is not None:
                        over = longer(over, found)
                if over is not None:
                    return over
                if locks.holds(self._stripe, epoch) or attempt == TRIES - 1:
                    for gauge in self.gauges:
                        gauge.take(now, tokens, money)
                    return None
            finally:
                locks.release(self._stripe, epoch)
        raise AssertionError("the last attempt returns")

    def settle(self, held: float, held_money: float, used: float, money: float) -> None:
        """Replace what was set aside by what was used. Needs no lock."""
        for gauge in self.gauges:
            gauge.settle(held, held_money, used, money)

    def give_back(self, locks: Locks, held: float, held_money: float) -> None:
        """Undo `take`."""
        epoch = locks.acquire(self._stripe)
        try:
            for gauge in self.gauges:
                gauge.give_back(held, held_money)
        finally:
            locks.release(self._stripe, epoch)

    def quotas(self) -> tuple[Quota | None, Quota | None]:
        """Return the quotas of requests and of tokens, each of the limit of which least was left at the last `take`."""
        requests = tokens = None
        requests_left = tokens_left = NO_LIMIT
        for gauge in self.gauges:
            if gauge.requests_left < requests_left:
                requests_left, requests = gauge.requests_left, gauge
            if gauge.tokens_left < tokens_left:
                tokens_left, tokens = gauge.tokens_left, gauge
        return (
            None if requests is None else requests.requests_quota(),
            None if tokens is None else tokens.tokens_quota(),
        )
