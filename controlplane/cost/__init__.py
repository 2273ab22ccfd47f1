"""The cost of the fleet: a ledger of GPU hours by model, and its comparison with budgets."""

from __future__ import annotations

from controlplane.cost.ledger import CostLedger
from controlplane.cost.reckoning import BudgetReport, LedgerEntry, Month, accrue, month_of, report

__all__ = ["BudgetReport", "CostLedger", "LedgerEntry", "Month", "accrue", "month_of", "report"]
