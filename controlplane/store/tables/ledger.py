"""The ledger: the GPU cost of each model by month."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class LedgerRow(SQLModel, table=True):
    """One model in one month. The meaning of the columns is that of cost.ledger.Entry."""

    __tablename__ = "ledger"

    model: str = Field(primary_key=True)
    month: str = Field(primary_key=True)
    since: float
    accounted_to: float
    gpu_seconds: float
    spent_usd: float
    unobserved_seconds: float
