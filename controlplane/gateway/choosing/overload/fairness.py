"""Fairness between tenants: the one that was served the fewest tokens for its weight is next.

The virtual token counter of Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024).
"""

from __future__ import annotations

from collections.abc import Iterable

PROMPT_COST = 1.0
ANSWER_COST = 2.0
"""Costs of a token of the prompt and of the answer, as the paper has them."""
MOST_TENANTS = 4096
"""Tenants whose counters are kept. Chosen."""


class Fairness:
    """Virtual counters of the tenants of one model, in this worker."""

    def __init__(self, weights: dict[str, float]) -> None:
        """`weights` by tenant, 1.0 for one that it lacks. It may change at any time."""
        self._weights = weights
        self._served: dict[str, float] = {}
        self._left = 0.0
        """Counter of the tenant that was served last."""

    def served(self, tenant: str) -> float:
        """Return the counter of a tenant: the lowest is next."""
        return self._served.get(tenant, 0.0)

    def charge(self, tenant: str, cost: float) -> None:
        """Add served tokens. A negative cost gives back what was charged for tokens that never came."""
        weight = self._weights.get(tenant, 1.0)
        self._left = self._served[tenant] = self._served.get(tenant, 0.0) + cost / weight

    def join(self, tenant: str, waiting: Iterable[str]) -> None:
        """Note that a tenant begins to wait. An idle tenant saves nothing up: its counter rises to the lowest of those
        that wait, or to that of the tenant that was served last when none waits."""
        others = set(waiting) - {tenant}
        floor = min((self.served(other) for other in others), default=self._left)
        self._served[tenant] = max(self.served(tenant), floor)
        if len(self._served) > MOST_TENANTS:
            self._served = {name: value for name, value in self._served.items() if name in others or name == tenant}
