"""The last good copy of each rota's calendar."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class RotaCalendarRow(SQLModel, table=True):
    """The calendar of one rota. The meaning of the columns is that of store.alerting.rotas.StoredCalendar."""

    __tablename__ = "rota_calendar"

    rota: str = Field(primary_key=True)
    source: str
    text: str
    etag: str = ""
    fetched_at: float
