"""Whatever requests do in whatever order, the totals are those of a simple model."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controlplane.gateway.desired.document import LimitSpec
from controlplane.gateway.limits.reservation import HeldReservation
from tests.fakes.limits import World, document, used

WORKERS = 3
RATES = LimitSpec(requests_per_minute=12, tokens_per_minute=900, concurrent=5, daily_tokens=20_000)
BUDGETS = LimitSpec(
    requests_per_minute=60, tokens_per_minute=9000, concurrent=8, daily_tokens=1500, monthly_tokens=1800
)


@dataclass
class Model:
    """What must be true, with the clock standing still."""

    limits: LimitSpec
    requests: int = 0
    tokens: int = 0
    spent: int = 0
    held: list[tuple[HeldReservation, int, int]] = field(default_factory=list)
    """Reservation, worker, tokens."""

    def fits(self, tokens: int) -> bool:
        limits, held = self.limits, sum(amount for _, _, amount in self.held)
        assert limits.requests_per_minute and limits.tokens_per_minute and limits.concurrent and limits.daily_tokens
        in_bucket = self.tokens + held
        return (
            self.requests + 1 <= limits.requests_per_minute
            and len(self.held) < limits.concurrent
            and (in_bucket <= 0 or in_bucket + tokens <= limits.tokens_per_minute)
            and (tokens == 0 or self.spent + held + tokens <= limits.daily_tokens)
        )


class Requests(RuleBasedStateMachine):
    """Three workers, the same limits on key, tenant and model."""

    limits = RATES

    def __init__(self) -> None:
        super().__init__()
        self.world = World(document(self.limits, self.limits, self.limits), workers=WORKERS)
        self.model = Model(self.limits)

    @rule(prompt=st.integers(0, 400), answer=st.integers(0, 400), worker=st.integers(0, WORKERS - 1))
    def reserve(self, prompt: int, answer: int, worker: int) -> None:
        found = self.world.ask(prompt, answer, worker=worker)
        assert isinstance(found, HeldReservation) == self.model.fits(prompt + answer), found
        if isinstance(found, HeldReservation):
            self.model.held.append((found, worker, prompt + answer))
            self.model.requests += 1

    @precondition(lambda self: self.model.held)
    @rule(which=st.integers(0, 99), prompt=st.integers(0, 600), answer=st.integers(0, 600))
    def settle(self, which: int, prompt: int, answer: int) -> None:
        held, _, _ = self.model.held.pop(which % len(self.model.held))
        held.settle(used(prompt, answer), self.world.now)
        held.cancel(self.world.now)
        self.model.tokens += prompt + answer
        self.model.spent += prompt + answer

    @precondition(lambda self: self.model.held)
    @rule(which=st.integers(0, 99))
    def cancel(self, which: int) -> None:
        held, _, _ = self.model.held.pop(which % len(self.model.held))
        held.cancel(self.world.now)
        held.settle(used(99, 99), self.world.now)
        self.model.requests -= 1

    @rule(worker=st.integers(0, WORKERS - 1))
    def kill(self, worker: int) -> None:
        """Its open requests are gone: places and holds of budgets are free, and their tokens of the minute are used."""
        self.world.keeper.clear_column(worker)
        self.world.workers[worker] = self.world.new_worker(worker)
        self.model.tokens += sum(amount for _, of, amount in self.model.held if of == worker)
        self.model.held = [one for one in self.model.held if one[1] != worker]

    @rule()
    def save(self) -> None:
        self.world.keeper.save()

    @rule()
    def a_minute(self) -> None:
        """Buckets of what is not open drain; the tokens of open requests are in the bucket as they were reserved."""
        if not self.model.held:
            self.world.sleep(60.0)
            self.model.requests = 0
            self.model.tokens = max(0, self.model.tokens - (self.limits.tokens_per_minute or 0))

    @invariant()
    def spent_is_what_was_settled(self) -> None:
        self.world.keeper.save()
        report = self.world.keeper.demand(self.world.now)
        for limit_id in ("key/ab12", "tenant/acme", "model/chat"):
            assert report.get(f"{limit_id}/daily_tokens", 0.0) == self.model.spent


class RequestsOnBudgets(Requests):
    """The same, where budgets are what is scarce."""

    limits = BUDGETS


SETTINGS = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRates = Requests.TestCase
TestRates.settings = SETTINGS
TestBudgets = RequestsOnBudgets.TestCase
TestBudgets.settings = SETTINGS
