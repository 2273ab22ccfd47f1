"""A limit that a request would pass, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Scope(Enum):
    """Kind of the owner of a limit."""

    KEY = "key"
    TENANT = "tenant"
    MODEL = "model"


class Kind(Enum):
    """The unit of a limit."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a limit, as messages name it."""

    scope: Scope
    name: str

    @property
    def limit_id(self) -> str:
        """Return the limit's id in documents, reports and shares."""
        return f"{self.scope.value}/{self.name}"


@dataclass(frozen=True, slots=True)
class Over:
    """A limit that a request would pass. Amounts in the limit's unit; money in millionths of a US dollar."""

    owner: Owner
    kind: Kind
    used: float
    limit: float
    """The whole limit, of all gateways."""
    share: float
    """This gateway's share of it, 0 to 1."""
    need: float
    wait_s: float
    """Seconds until the request fits when nobody else sends one. Budgets: until the period ends."""
    held: float = 0.0
    """Budgets: set aside for open requests, and not in `used`."""
    budget: str = ""
    """Budgets: the field of LimitSpec."""

    @property
    def lasts(self) -> bool:
        """Return whether a retry helps only in the next period: the budget is too small without any open request."""
        return self.kind is Kind.BUDGET and self.used + self.need > self.limit * self.share
