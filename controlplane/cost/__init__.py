"""What the fleet costs: a ledger of GPU hours by model, and the budgets that it is held against."""

from __future__ import annotations

from controlplane.cost.ledger import CostLedger
from controlplane.cost.reckoning import BudgetReport, LedgerEntry, Month, accrue, month_of, report

__all__ = ["BudgetReport", "CostLedger", "LedgerEntry", "Month", "accrue", "month_of", "report"]
