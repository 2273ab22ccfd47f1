"""API keys of the gateways' clients: `cpk_<id>_<secret>`. Only the SHA-256 of the secret is stored.

Gateways get the keys with the desired state, and check them without the database. Every change is noted as a revision
of kind KEYS, which ends the gateways' long polls.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, func, or_, text
from sqlmodel import Session, col, select

from alerts.errors import NotReadable
from alerts.stored import checked, items, only, reading
from controlplane.access.tokens import digest
from controlplane.errors import Conflict, NotFound, Unreadable
from controlplane.gateway.desired.document import KeySpec, LimitSpec
from controlplane.store.audit import audit
from controlplane.store.database import Database
from controlplane.store.revision import touch
from controlplane.store.tables.gateway import GatewayKeyRow

KEYS = "keys"
"""Kind of the revisions of keys."""
FORMAT = 1
"""Format number of the stored settings."""
MOST_KEYS = 5000
"""Most live keys. Chosen: a gateway can hold 8192 limits, of keys, tenants and models together."""
FORGET_S = 7 * 86400.0
"""Seconds after its expiry for which gateways still have a key, so that its owner is told why it is refused. Chosen."""
NO_LIMITS = LimitSpec()
_TABLE = "gateway_key"
_SETTINGS = ("limits", "models", "priority")
_ORDER_LOCK = 0x63705F6B6579
"""Key of the PostgreSQL advisory lock of those who make keys ("cp_key"): names and the number of keys are checked."""


class KeyRole(StrEnum):
    """The rights of a key at a gateway."""

    USER = "user"
    TESTER = "tester"
    """May choose a version by `x-version`."""


@dataclass(frozen=True)
class KeyProperties:
    """The properties that an administrator gives a new key."""

    name: str
    """Unique among the live keys of the tenant."""
    tenant: str
    role: KeyRole = KeyRole.USER
    models: tuple[str, ...] | None = None
    """Models that the key may ask. None: all."""
    limits: LimitSpec = NO_LIMITS
    priority: int = 0
    """Higher is served first. Below 0: shed first."""
    expires_at: float | None = None
    """Unix seconds. None: the key never expires."""


@dataclass(frozen=True)
class GatewayKey:
    """A key without its secret. Times are unix seconds."""

    id: str
    name: str
    tenant: str
    role: KeyRole
    models: tuple[str, ...] | None
    limits: LimitSpec
    priority: int
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None

    def live(self, now: float) -> bool:
        """Return whether gateways admit the key at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def prefix(self) -> str:
        """Return the beginning of the key's text, which is no secret."""
        return f"cpk_{self.id}_"


class GatewayKeyStore:
    """Makes, lists, changes and revokes keys. Synchronous; every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, wanted: KeyProperties, now: float, *, by: str) -> tuple[GatewayKey, str]:
        """Make a key. Return it and its text, which is not stored.

        Raises Conflict when a live key of the tenant has this name, and when there are MOST_KEYS live keys.
        """
        secret = secrets.token_hex(32)
        row = GatewayKeyRow(
            id=secrets.token_hex(6),
            name=wanted.name,
            tenant=wanted.tenant,
            role=wanted.role.value,
            digest=digest(secret),
            format=FORMAT,
            settings={
                "limits": _written(wanted.limits),
                "models": None if wanted.models is None else list(wanted.models),
                "priority": wanted.priority,
            },
            created_at=now,
            created_by=by,
            expires_at=wanted.expires_at,
        )
        with self._db.transaction() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ORDER_LOCK})
            same = (GatewayKeyRow.tenant == wanted.tenant, GatewayKeyRow.name == wanted.name)
            if session.exec(select(GatewayKeyRow.id).where(*same, *_live(now))).first() is not None:
                raise Conflict(
                    f"tenant {wanted.tenant} has a key named {wanted.name}: revoke it first, or choose another name"
                )
            if session.exec(select(func.count()).select_from(GatewayKeyRow).where(*_live(now))).one() >= MOST_KEYS:
                raise Conflict(
                    f"there are {MOST_KEYS} live keys, the most that gateways hold: revoke unused ones first"
                )
            session.add(row)
            key = _read(row)
            self._note(session, key, "key.create", f"with role {key.role}; {told(key.limits)}", by, now)
        return key, f"{key.prefix}{secret}"

    def list(self, tenant: str | None = None) -> list[GatewayKey]:
        """Return all keys, or those of a tenant, newest first. Revoked and expired ones are included."""
        newest = select(GatewayKeyRow).order_by(col(GatewayKeyRow.created_at).desc(), col(GatewayKeyRow.id))
        if tenant is not None:
            newest = newest.where(GatewayKeyRow.tenant == tenant)
        with self._db.reading() as session:
            return self._db.unread.readable(_TABLE, session.exec(newest), lambda row: row.id, _read)

    def get(self, key_id: str) -> GatewayKey:
        """Return one key. Raises NotFound and Unreadable."""
        with self._db.reading() as session:
            return _found(session.get(GatewayKeyRow, key_id), key_id)

    def specs(self, now: float) -> tuple[KeySpec, ...]:
        """Return the keys of the desired state of gateways. A key that cannot be read is left out: it opens nothing."""
        wanted = (
            col(GatewayKeyRow.revoked_at).is_(None),
            or_(col(GatewayKeyRow.expires_at).is_(None), col(GatewayKeyRow.expires_at) > now - FORGET_S),
        )
        with self._db.reading() as session:
            rows = session.exec(select(GatewayKeyRow).where(*wanted).order_by(col(GatewayKeyRow.id))).all()
            return tuple(self._db.unread.readable(_TABLE, rows, lambda row: row.id, _spec))

    def change_limits(self, key_id: str, changes: Mapping[str, float | None], now: float, *, by: str) -> GatewayKey:
        """Change limits by their fields of LimitSpec; None removes one. What was used of a limit stays.

        Raises NotFound, Unreadable, and Conflict for a revoked key.
        """
        with self._db.transaction() as session:
            row, key = self._locked(session, key_id)
            if key.revoked_at is not None:
                raise Conflict(f"key {key.name} ({key_id}) was revoked: make another one")
            limits = replace(key.limits, **changes)  # type: ignore[arg-type]
            if limits != key.limits:
                row.settings = {**row.settings, "limits": _written(limits)}
                key = _read(row)
                self._note(session, key, "key.limits", told(limits), by, now)
            return key

    def revoke(self, key_id: str, now: float, *, by: str) -> GatewayKey:
        """Revoke a key: gateways refuse it as soon as they have the next desired state. Again, it changes nothing.

        Raises NotFound and Unreadable.
        """
        with self._db.transaction() as session:
            row, key = self._locked(session, key_id)
            if key.revoked_at is None:
                row.revoked_at = now
                key = _read(row)
                self._note(session, key, "key.revoke", "", by, now)
            return key

    def _locked(self, session: Session, key_id: str) -> tuple[GatewayKeyRow, GatewayKey]:
        row = session.exec(select(GatewayKeyRow).where(GatewayKeyRow.id == key_id).with_for_update()).one_or_none()
        key = _found(row, key_id)
        assert row is not None
        return row, key

    def _note(self, session: Session, key: GatewayKey, action: str, what: str, by: str, now: float) -> None:
        audit(session, by, action, f"key/{key.id}", f"{key.name} of tenant {key.tenant} {what}".rstrip(), now)
        touch(session, KEYS, key.id)


def told(limits: LimitSpec) -> str:
    """Return limits in words, such as `60 requests per minute, 5.0 daily usd`."""
    set_ones = [f"{value:,} {name.replace('_', ' ')}" for name, value in asdict(limits).items() if value is not None]
    return ", ".join(set_ones) or "no limits"


def _live(now: float) -> tuple[ColumnElement[bool], ...]:
    return (
        col(GatewayKeyRow.revoked_at).is_(None),
        or_(col(GatewayKeyRow.expires_at).is_(None), col(GatewayKeyRow.expires_at) > now),
    )


def _found(row: GatewayKeyRow | None, key_id: str) -> GatewayKey:
    if row is None:
        raise NotFound(f"there is no key {key_id}")
    try:
        return _read(row)
    except NotReadable as fault:
        words = f"key {key_id} cannot be read ({fault}), so gateways refuse it"
        raise Unreadable(f"{words}; run the release that made it") from fault


def _spec(row: GatewayKeyRow) -> KeySpec:
    key = _read(row)
    return KeySpec(
        id=key.id,
        digest=row.digest,
        tenant=key.tenant,
        role=key.role.value,
        models=key.models,
        expires_at=key.expires_at,
        limits=key.limits,
        priority=key.priority,
    )


def _read(row: GatewayKeyRow) -> GatewayKey:
    """Return the key of a row. Raises NotReadable."""
    if row.format != FORMAT:
        raise NotReadable(f"it is of format {row.format}, and this release knows {FORMAT}")
    with reading():
        only(row.settings, _SETTINGS)
        models = row.settings["models"]
        key = GatewayKey(
            id=row.id,
            name=row.name,
            tenant=row.tenant,
            role=KeyRole(row.role),
            models=None if models is None else items(models),
            limits=_limits(row.settings["limits"]),
            priority=row.settings["priority"],
            created_at=row.created_at,
            created_by=row.created_by,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )
    return checked(key)


def _limits(stored: Mapping[str, Any]) -> LimitSpec:
    only(stored, [field.name for field in fields(LimitSpec)])
    limits = LimitSpec(**stored)
    for name, value in asdict(limits).items():
        if value is not None and not value > 0:
            raise NotReadable(f"limit {name} is {value!r} and not above zero")
    return limits


def _written(limits: LimitSpec) -> dict[str, Any]:
    return {name: value for name, value in asdict(limits).items() if value is not None}
