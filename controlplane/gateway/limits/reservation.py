"""One request's hold on its limits."""

from __future__ import annotations

from controlplane.gateway.desired.document import PriceSpec
from controlplane.gateway.estimate import AnswerMeans
from controlplane.gateway.limits.locks import Locks
from controlplane.gateway.limits.plan import Plan
from controlplane.gateway.limits.wording import quota_lines
from controlplane.gateway.request import TokenCounts


def price_of(price: PriceSpec, prompt: int, answer: int, cached: int = 0) -> float:
    """Return the price of a request in millionths of a US dollar. `cached` tokens are part of the prompt."""
    of_cached = price.input_usd if price.cached_usd is None else price.cached_usd
    return (prompt - cached) * price.input_usd + cached * of_cached + answer * price.output_usd


class HeldReservation:
    """Tokens and money set aside for one request. Only the first call of `settle` or `cancel` counts."""

    __slots__ = ("_answer", "_learns", "_locks", "_money", "_open", "_plan", "_prompt", "_tightest")

    def __init__(
        self, plan: Plan, locks: Locks, prompt: int, answer: int, money: float, learns: AnswerMeans | None
    ) -> None:
        """`learns` is told the length of the answer."""
        self._plan = plan
        self._locks = locks
        self._prompt = prompt
        self._answer = answer
        self._money = money
        self._learns = learns
        self._open = True
        self._tightest = plan.tightest

    def lines(self) -> bytes:
        """Return `x-ratelimit-*`: of the limit of which least is left, as it was when the request was admitted."""
        requests, requests_left, tokens, tokens_left = self._tightest
        lines = b""
        if requests is not None:
            lines = quota_lines(b"requests", *requests.requests_quota(requests_left))
        if tokens is not None:
            lines += quota_lines(b"tokens", *tokens.tokens_quota(tokens_left))
        return lines

    def settle(self, counts: TokenCounts, now: float) -> None:
        """Replace the estimate by what was used. A count that is None keeps its part of the estimate."""
        if not self._open:
            return
        self._open = False
        prompt = self._prompt if counts.prompt is None else counts.prompt
        answer = self._answer if counts.completion is None else counts.completion
        if self._learns is not None and counts.completion is not None and not counts.estimated:
            self._learns.saw(self._plan.model, answer)
        plan = self._plan
        if plan.gauges:
            money = price_of(plan.price, prompt, answer, min(counts.cached or 0, prompt)) if plan.counts_money else 0.0
            plan.settle(self._prompt + self._answer, self._money, prompt + answer, money)

    def cancel(self, now: float) -> None:
        """Give everything back: no engine worked on the request."""
        if self._open:
            self._open = False
            self._plan.give_back(self._locks, self._prompt + self._answer, self._money)
