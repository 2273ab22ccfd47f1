"""The ledger in the database. One tick accounts for every model up to now, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func
from sqlmodel import Session, col, select

from collectors.samples import Series, labels_of
from controlplane.config.model import Cost
from controlplane.cost.reckoning import MAX_GAP_S, BudgetReport, LedgerEntry, accrue, month_of, report
from controlplane.cost.usage import LedgerTotal
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.tables.ledger import LedgerRow


class CostLedger:
    """Charges models for the GPUs of their backends that are up. Synchronous."""

    def __init__(self, db: Database, cost: Cost, max_gap_s: float = MAX_GAP_S) -> None:
        self._db, self._cost, self._max_gap_s = db, cost, max_gap_s
        self._limits = {budget.model: budget.monthly_usd for budget in cost.budgets if budget.model}

    def tick(self, now: float, gpus_up: Mapping[str, float | None], lease: Lease | None = None) -> None:
        """Account for the time since the last tick of any process.

        `gpus_up` maps each model to the number of GPUs of its backends that are up. None is unknown, and so is a
        missing model that has a budget. Raises LeaseLost and Unavailable: nothing was written then.
        """
        with self._db.transaction() as session:
            check_lease(session, lease)
            latest = _latest(session)
            for model in sorted({*gpus_up, *self._limits}):
                known = latest.get(model)
                if known is None:
                    _save(session, LedgerEntry(model, month_of(now).name, since=now, accounted_to=now))
                    continue
                for entry in accrue(known, gpus_up.get(model), now, self._cost.gpu_hour_usd, self._max_gap_s):
                    _save(session, entry)

    def reports(self, now: float) -> list[BudgetReport]:
        """Return this month's reports in the order of models. A model without an entry this month has no report."""
        month = month_of(now).name
        with self._db.reading() as session:
            rows = session.exec(select(LedgerRow).where(LedgerRow.month == month).order_by(col(LedgerRow.model))).all()
        return [report(_entry(row), self._limits.get(row.model)) for row in rows]

    def totals(self) -> dict[str, LedgerTotal]:
        """Return what was counted by model, since the ledger began."""
        sums = (func.sum(col(LedgerRow.gpu_seconds)), func.sum(col(LedgerRow.spent_usd)))
        with self._db.reading() as session:
            rows = session.execute(select(LedgerRow.model, *sums).group_by(col(LedgerRow.model))).all()
        return {model: LedgerTotal(float(gpu_seconds), float(spent)) for model, gpu_seconds, spent in rows}

    def samples(self, now: float) -> list[tuple[Series, float]]:
        """Return `llm_budget_{spent,limit,prorated,forecast}_usd{model}`. An unknown value has no sample."""
        return [sample for r in self.reports(now) for sample in budget_samples(r, "model")]


def budget_samples(r: BudgetReport, label: str) -> list[tuple[Series, float]]:
    """Return `llm_budget_{spent,limit,prorated,forecast}_usd` with the report's name as the value of `label`."""
    values = {"spent": r.spent, "limit": r.limit, "prorated": r.prorated, "forecast": r.forecast}
    labels = labels_of({label: r.model})
    return [(Series(f"llm_budget_{name}_usd", labels), value) for name, value in values.items() if value is not None]


def _latest(session: Session) -> dict[str, LedgerEntry]:
    newest = select(LedgerRow.model, func.max(col(LedgerRow.month)).label("month")).group_by(LedgerRow.model).subquery()
    rows = select(LedgerRow).join(
        newest, (col(LedgerRow.model) == newest.c.model) & (col(LedgerRow.month) == newest.c.month)
    )
    return {row.model: _entry(row) for row in session.exec(rows)}


def _entry(row: LedgerRow) -> LedgerEntry:
    return LedgerEntry(**row.model_dump())


def _save(session: Session, entry: LedgerEntry) -> None:
    session.merge(LedgerRow(**vars(entry)))
