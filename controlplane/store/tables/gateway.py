"""Tables of the gateways: assignments of traffic, reports, keys, and usage by the minute."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

from controlplane.store.stored import StoredJson


class TrafficAssignmentRow(SQLModel, table=True):
    """The desired split of one model's traffic. A gateway applies it and reports the generation."""

    __tablename__ = "traffic_assignment"

    model: str = Field(primary_key=True)
    generation: int
    """Rises by one with every change."""
    format: int
    weights: dict[str, Any] = Field(sa_column=Column(StoredJson, nullable=False))
    """Thousandths by version."""
    updated_at: float
    updated_by: str
    mirror: dict[str, Any] | None = Field(default=None, sa_column=Column(StoredJson, nullable=True))
    """Thousandths of the requests of which a version gets copies, by version. None: no copies."""


class GatewayRow(SQLModel, table=True):
    """One gateway and its last report."""

    __tablename__ = "gateway"

    name: str = Field(primary_key=True)
    incarnation: str
    """Differs for each start of the process."""
    seen_at: float
    """Unix seconds on the database's clock."""
    has_left: bool
    """Whether it ended in order."""
    format: int
    report: dict[str, Any] = Field(sa_column=Column(StoredJson, nullable=False))


class GatewayKeyRow(SQLModel, table=True):
    """One API key of the gateway. Rows stay after revocation: usage and the audit trail name them."""

    __tablename__ = "gateway_key"

    id: str = Field(primary_key=True)
    name: str
    tenant: str = Field(index=True)
    role: str
    digest: str
    """SHA-256 of the secret, hex."""
    format: int
    settings: dict[str, Any] = Field(sa_column=Column(StoredJson, nullable=False))
    """Allowed models, limits, priority."""
    created_at: float
    created_by: str
    expires_at: float | None = None
    revoked_at: float | None = None


class UsageMinuteRow(SQLModel, table=True):
    """Usage of one tenant, key, model, version and outcome within a minute, or within an hour or day when it is old."""

    __tablename__ = "usage_minute"

    at: float = Field(primary_key=True)
    """Start of the period in unix seconds."""
    period_s: int = Field(primary_key=True)
    tenant: str = Field(primary_key=True)
    key_id: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    outcome: str = Field(primary_key=True)
    requests: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)
    cached_tokens: int = Field(sa_type=BigInteger)
    estimated: int = Field(sa_type=BigInteger)
    """Number of requests whose tokens were estimated."""
    usd: float | None = None
    """None: the model had no price."""
    duration_s: float
    """Sum over the requests."""
    first_s: float
    """Sum of the times to the first event."""
    streams: int = Field(sa_type=BigInteger)
    """Number of requests in `first_s`."""


class UsageCursorRow(SQLModel, table=True):
    """The last record of a gateway's journal that is in the minutes: each record counts exactly once."""

    __tablename__ = "usage_cursor"

    journal: str = Field(primary_key=True)
    """`GATEWAY/EPOCH`. The row `*` is the lock of everything that changes usage."""
    sequence: int = Field(sa_type=BigInteger)
    updated_at: float
