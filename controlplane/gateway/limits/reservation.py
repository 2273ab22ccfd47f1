"""One request's hold on its limits."""

from __future__ import annotations

from controlplane.gateway.desired.document import PriceSpec
from controlplane.gateway.estimate import AnswerMeans, used_of
from controlplane.gateway.limits.locks import Locks
from controlplane.gateway.limits.plan import Plan
from controlplane.gateway.limits.wording import quota
from controlplane.gateway.request import Fields, TokenCounts


def price_of(price: PriceSpec, prompt: int, answer: int, cached: int = 0) -> float:
    """Return the price of a request in millionths of a US dollar. `cached` tokens are part of the prompt."""
    of_cached = price.input_usd if price.cached_usd is None else price.cached_usd
    return (prompt - cached) * price.input_usd + cached * of_cached + answer * price.output_usd


class HeldReservation:
    """Tokens and money set aside for one request. Only the first call of `settle` or `cancel` counts."""

    __slots__ = ("_answer", "_locks", "_means", "_money", "_open", "_plan", "_prompt", "_requests", "_tokens")

    def __init__(self, plan: Plan, locks: Locks, means: AnswerMeans, prompt: int, answer: int, money: float) -> None:
        self._plan = plan
        self._locks = locks
        self._means = means
        self._prompt = prompt
        self._answer = answer
        self._money = money
        self._open = True
        self._requests, self._tokens = plan.quotas()

    def fields(self) -> Fields:
        """Return `x-ratelimit-*`: of the limit of which least is left, as it was when the request was admitted."""
        fields: Fields = []
        if self._requests is not None:
            fields += quota(b"requests", *self._requests)
        if self._tokens is not None:
            fields += quota(b"tokens", *self._tokens)
        return fields

    def settle(self, counts: TokenCounts, now: float) -> None:
        """Replace the estimate by what was used. A count that is None keeps its part of the estimate."""
        if not self._open:
            return
        self._open = False
        prompt, answer, cached = used_of(counts, self._prompt, self._answer)
        if counts.completion is not None and not counts.estimated:
            self._means.saw(self._plan.model, answer)
        plan = self._plan
        if plan.gauges:
            money = price_of(plan.price, prompt, answer, cached) if plan.counts_money else 0.0
            plan.settle(self._prompt + self._answer, self._money, prompt + answer, money)

    def cancel(self, now: float) -> None:
        """Give everything back: no engine worked on the request."""
        if self._open:
            self._open = False
            self._plan.give_back(self._locks, self._prompt + self._answer, self._money)
