"""The cost ledger on a database: ticks add up whichever process makes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from collectors.samples import Series
from controlplane.config.model import BudgetSection, Cost
from controlplane.cost import CostLedger
from controlplane.errors import LeaseLost
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore

COST = Cost(gpu_hour_usd=2.0, budgets=(BudgetSection(model="chat", monthly_usd=720.0),))
START = datetime(2026, 11, 10, tzinfo=UTC).timestamp()


def values(ledger: CostLedger, now: float) -> dict[str, float]:
    return {f"{s.name}/{dict(s.labels)['model']}": round(v, 6) for s, v in ledger.samples(now)}


def test_an_hour_of_ticks_by_two_processes(database: Database, replica: Database) -> None:
    for n in range(61):
        db = database if n % 2 else replica
        CostLedger(db, COST).tick(START + 60 * n, {"chat": 3.0, "code": 1.0})

    assert values(CostLedger(database, COST), START + 3600) == {
        "llm_budget_spent_usd/chat": 6.0,
        "llm_budget_limit_usd/chat": 720.0,
        "llm_budget_prorated_usd/chat": 1.0,
        "llm_budget_forecast_usd/chat": 6.0 * 21 * 24,
        "llm_budget_spent_usd/code": 2.0,
    }


def test_samples_are_series_by_model(database: Database) -> None:
    ledger = CostLedger(database, COST)
    ledger.tick(START, {"chat": 1.0})

    assert ledger.samples(START)[0] == (Series("llm_budget_spent_usd", (("model", "chat"),)), 0.0)


def test_before_the_first_tick_there_is_nothing(database: Database) -> None:
    assert CostLedger(database, COST).samples(START) == []


def test_a_budgeted_model_that_is_not_reported_is_unobserved(database: Database) -> None:
    ledger = CostLedger(database, COST)
    ledger.tick(START, {})
    ledger.tick(START + 60, {})
    ledger.tick(START + 120, {"chat": None})

    (r,) = ledger.reports(START + 120)
    assert (r.model, r.spent, r.observed_seconds, r.unobserved_seconds, r.forecast) == ("chat", 0.0, 0.0, 120.0, None)


def test_a_new_month_starts_from_nothing_and_the_old_one_is_kept(database: Database) -> None:
    ledger = CostLedger(database, COST)
    december = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    for n in range(-5, 6):
        ledger.tick(december + 60 * n, {"chat": 60.0})

    assert [(r.month, round(r.spent, 6)) for r in ledger.reports(december - 1)] == [("2026-11", 10.0)]
    assert [(r.month, round(r.spent, 6)) for r in ledger.reports(december + 300)] == [("2026-12", 10.0)]


def test_a_price_holds_from_when_it_is_set(database: Database) -> None:
    CostLedger(database, COST).tick(START, {"chat": 60.0})
    CostLedger(database, COST).tick(START + 60, {"chat": 60.0})
    dearer = CostLedger(database, COST.model_copy(update={"gpu_hour_usd": 3.0}))
    dearer.tick(START + 120, {"chat": 60.0})

    (r,) = dearer.reports(START + 120)
    assert r.spent == pytest.approx(2.0 + 3.0)


def test_a_process_that_lost_its_lease_charges_nothing(database: Database, run_out: Callable[[str], None]) -> None:
    ledger = CostLedger(database, COST)
    lease = LeaseStore(database).acquire("cost", "a", 60)
    ledger.tick(START, {"chat": 60.0}, lease)
    run_out("cost")

    with pytest.raises(LeaseLost):
        ledger.tick(START + 60, {"chat": 60.0}, lease)
    (r,) = ledger.reports(START)
    assert (r.spent, r.observed_seconds) == (0.0, 0.0)
