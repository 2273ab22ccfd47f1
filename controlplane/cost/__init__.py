"""The cost of the fleet: a ledger of GPU hours by model, charges of providers, and their comparison with budgets."""

from __future__ import annotations

from controlplane.cost.ledger import CostLedger, budget_samples
from controlplane.cost.reckoning import BudgetReport, LedgerEntry, Month, account_report, accrue, month_of, report

__all__ = [
    "BudgetReport",
    "CostLedger",
    "LedgerEntry",
    "Month",
    "account_report",
    "accrue",
    "budget_samples",
    "month_of",
    "report",
]
