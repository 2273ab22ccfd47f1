"""API tokens, and the console sessions that were opened with them."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class TokenRow(SQLModel, table=True):
    """One token. Rows stay after revocation: the audit trail names them."""

    __tablename__ = "token"

    id: str = Field(primary_key=True)
    name: str
    role: str
    digest: str
    """SHA-256 of the secret, hex."""
    created_at: float
    created_by: str
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


class ConsoleSessionRow(SQLModel, table=True):
    """One signed-in browser."""

    __tablename__ = "console_session"

    digest: str = Field(primary_key=True)
    """SHA-256 of the cookie's secret, hex."""
    token_id: str = Field(foreign_key="token.id", ondelete="CASCADE", index=True)
    created_at: float
    expires_at: float = Field(index=True)
