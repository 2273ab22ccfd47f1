"""Stored silences: created, changed, ended, read, and what a decision on messages needs of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, text
from sqlmodel import Session, col, select

from alerts.errors import MatcherError, NotReadable
from alerts.holds import Silence
from alerts.routing.matchers import Matcher, Op
from alerts.stored import Upgrade, checked, items, only, reading, upgraded
from controlplane.errors import Conflict, NotFound, Unreadable
from controlplane.store.audit import audit
from controlplane.store.database import Database
from controlplane.store.revision import touch
from controlplane.store.tables.holds import SilenceRow

SILENCES = "silence"
"""Name of the table, and kind of the revisions that wake the dispatch of alerts."""
MOST_OPEN = 1000
"""Maximum number of silences that are not over. Each is compared with every firing alert at every decision."""
MOST_LISTED = 2000
_UPGRADES: tuple[Upgrade, ...] = (lambda before_formats_were_counted: before_formats_were_counted,)
FORMAT = len(_UPGRADES)
_COLUMNS = ("id", "starts_at", "ends_at", "created_by", "comment", "updated_at")
_CHANGED = text("SELECT max(id), max(CASE WHEN kind = 'silence' THEN id END) FROM revision WHERE id > :seen")


class SilenceState(StrEnum):
    """State of a silence at one moment."""

    ACTIVE = "active"
    PENDING = "pending"
    EXPIRED = "expired"


@dataclass(frozen=True)
class StoredSilence:
    """A silence and what is kept beside it. Times are unix seconds."""

    silence: Silence
    owner: str
    """Name of the token or the person that made it."""
    created_at: float
    reminders: int = 0
    reminded_at: float | None = None

    def state(self, at: float) -> SilenceState:
        """Return its state at unix second `at`."""
        if at >= self.silence.ends_at:
            return SilenceState.EXPIRED
        return SilenceState.PENDING if at < self.silence.starts_at else SilenceState.ACTIVE


@dataclass(frozen=True)
class Act:
    """The actor, the words of the audit trail, and the time."""

    actor: str
    action: str
    """`silence.create`, `silence.extend`, `silence.update` or `silence.expire`."""
    detail: str
    at: float


Change = Callable[[Session, StoredSilence], Silence]
"""Returns a silence as it is to be. Raises what speaks against it."""


class SilenceStore:
    """Reads and writes silences. Synchronous; every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, silence_id: str) -> StoredSilence:
        """Return a silence. Raises NotFound, and Unreadable for a damaged row."""
        with self._db.reading() as session:
            return _stored(_row(session, silence_id))

    def list(self, at: float, *, expired: bool) -> list[StoredSilence]:
        """Return silences: those that are not over by their ends, then expired ones, the last one to end first."""
        open_ones = select(SilenceRow).where(col(SilenceRow.ends_at) > at).order_by(col(SilenceRow.ends_at))
        over = select(SilenceRow).where(col(SilenceRow.ends_at) <= at).order_by(col(SilenceRow.ends_at).desc())
        with self._db.reading() as session:
            rows = list(session.exec(open_ones.limit(MOST_LISTED)))
            if expired:
                rows += session.exec(over.limit(MOST_LISTED))
            return self._db.unread.readable(SILENCES, rows, lambda row: row.id, _stored)

    def by_key(self, key: str) -> tuple[StoredSilence, str] | None:
        """Return the silence that was made with an idempotency key, and the request that the key is bound to."""
        with self._db.reading() as session:
            row = session.exec(select(SilenceRow).where(SilenceRow.idempotency_key == key)).first()
            return None if row is None else (_stored(row), row.request)

    def add(self, silence: Silence, owner: str, act: Act, *, key: str | None = None, request: str = "") -> None:
        """Store a new silence. Raises Conflict for a used key and beyond MOST_OPEN, and NotStorable."""
        with self._db.transaction() as session:
            put_new(session, silence, owner, act, key=key, request=request)

    def change(self, silence_id: str, act: Act, change: Change) -> StoredSilence:
        """Replace a silence by what `change` makes of it, in one transaction. Raises NotFound and `change`'s errors."""
        with self._db.transaction() as session:
            row = _row(session, silence_id)
            before = _stored(row)
            after = change(session, before)
            if after == before.silence:
                return before
            row.starts_at, row.ends_at, row.updated_at = after.starts_at, after.ends_at, after.updated_at
            row.matchers, row.comment, row.created_by = _documents(after), after.comment, after.created_by
            row.format = FORMAT
            if after.ends_at > before.silence.ends_at:
                row.reminded_at = None  # another end is another reminder
            _note(session, silence_id, act)
            return _stored(row)

    def changed_since(self, seen: int) -> tuple[int, bool]:
        """Return the newest revision after `seen`, and whether a silence or an acknowledgement changed in between."""
        found = self._db.first(_CHANGED, seen=seen)
        newest, of_holds = (None, None) if found is None else tuple(found)
        return (seen if newest is None else int(newest)), of_holds is not None

    def prune(self, before: float) -> int:
        """Delete silences that ended before a time. Return how many."""
        with self._db.transaction() as session:
            gone = delete(SilenceRow).where(col(SilenceRow.ends_at) < before).returning(col(SilenceRow.id))
            return len(session.execute(gone).all())


def put_new(
    session: Session, silence: Silence, owner: str, act: Act, *, key: str | None = None, request: str = ""
) -> None:
    """Store a new silence in the caller's transaction. Raises Conflict beyond MOST_OPEN."""
    open_ones = select(func.count()).select_from(SilenceRow).where(col(SilenceRow.ends_at) > act.at)
    if session.exec(open_ones).one() >= MOST_OPEN:
        raise Conflict(f"{MOST_OPEN} silences are not over yet, which is the most; expire those that nobody needs")
    session.add(
        SilenceRow(
            id=silence.id,
            matchers=_documents(silence),
            starts_at=silence.starts_at,
            ends_at=silence.ends_at,
            created_at=act.at,
            created_by=silence.created_by,
            owner=owner,
            comment=silence.comment,
            updated_at=silence.updated_at,
            idempotency_key=key,
            request=request,
            format=FORMAT,
        )
    )
    _note(session, silence.id, act)


def read_silences(session: Session, db: Database, after: float | None) -> list[Silence]:
    """Return the silences that end after a time (None: all stored ones), in the caller's transaction."""
    query = select(SilenceRow).order_by(col(SilenceRow.ends_at).desc()).limit(MOST_LISTED)
    if after is not None:
        query = query.where(col(SilenceRow.ends_at) > after)
    return db.unread.readable(SILENCES, session.exec(query), lambda row: row.id, silence_of)


def due_reminders(session: Session, at: float, ahead_s: float) -> Sequence[SilenceRow]:
    """Return the rows of silences that end within `ahead_s` and whose owner was not reminded, for the caller."""
    return session.exec(
        select(SilenceRow)
        .where(col(SilenceRow.ends_at) > at, col(SilenceRow.ends_at) <= at + ahead_s)
        .where(col(SilenceRow.starts_at) <= at, col(SilenceRow.reminded_at).is_(None))
        .order_by(col(SilenceRow.ends_at))
    ).all()


def _note(session: Session, silence_id: str, act: Act) -> None:
    audit(session, act.actor, act.action, f"silence/{silence_id}", act.detail, act.at)
    touch(session, SILENCES, silence_id)
    touch(session, "alerts")


def _row(session: Session, silence_id: str) -> SilenceRow:
    row = session.get(SilenceRow, silence_id)
    if row is None:
        raise NotFound(f"there is no silence {silence_id}; `cp silences list --state all` lists them")
    return row


def _documents(silence: Silence) -> list[dict[str, str]]:
    return [{"name": one.name, "op": one.op.value, "value": one.value} for one in silence.matchers]


def silence_of(row: SilenceRow) -> Silence:
    """Return the silence of a row. Raises NotReadable for a damaged row."""
    upgraded({"format": row.format}, _UPGRADES)
    with reading():
        values = {name: getattr(row, name) for name in _COLUMNS}
        return checked(Silence(**values, matchers=tuple(_matcher(one) for one in items(row.matchers))))


def _matcher(document: Mapping[str, Any]) -> Matcher:
    only(document, {"name", "op", "value"})
    try:
        return checked(Matcher(document["name"], Op(document["op"]), document["value"]))
    except MatcherError as error:
        raise NotReadable(str(error)) from error


def _stored(row: SilenceRow) -> StoredSilence:
    try:
        silence = silence_of(row)
        return checked(StoredSilence(silence, row.owner, row.created_at, row.reminders, row.reminded_at))
    except NotReadable as error:
        raise _UnreadableSilenceError(f"silence {row.id} cannot be read: {error}") from error


class _UnreadableSilenceError(Unreadable, NotReadable):
    """A damaged row: a listing leaves it out, and a request for it fails."""
