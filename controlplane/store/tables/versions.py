"""Contents of versions as they were last read, and the approvals of their files."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlmodel import Field, SQLModel


class VersionContentRow(SQLModel, table=True):
    """The content of one place. The meaning of the columns is that of store.version_files.Found."""

    __tablename__ = "version_content"
    __table_args__ = (UniqueConstraint("model", "version", "kind", "place"),)

    id: int | None = Field(default=None, primary_key=True)
    model: str
    version: str
    kind: str
    place: str
    digest: str = ""
    files: int = 0
    bytes: int = Field(default=0, sa_type=BigInteger)
    facts: str = "{}"
    """JSON."""
    fault: str = ""
    seen_at: float
    changed_at: float
    snapshot: str = Field(default="", index=True)
    stored_at: float | None = None
    host: str = ""
    by: str = ""


class VersionApprovalRow(SQLModel, table=True):
    """One approval of a version's files. Rows are only ever added; the newest one counts."""

    __tablename__ = "version_approval"
    __table_args__ = (Index("ix_version_approval_model", "model", "version", "id"),)

    id: int | None = Field(default=None, primary_key=True)
    model: str
    version: str
    digest: str
    base: str = ""
    at: float
    by: str
    reason: str = ""
    rollout_id: str = ""
