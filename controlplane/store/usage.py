"""Usage of the models through gateways: sums by the minute, by the hour after two days, by the day after two months.

A gateway sends sums of ranges of its journals. The sequence number up to which a journal is in the sums is written in
the same transaction as the sums, so each record counts exactly once, whatever is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, case, cast, delete, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import Session, col

from controlplane.store.database import Database, database_now
from controlplane.store.tables.gateway import UsageCursorRow, UsageMinuteRow

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
HOURS_AFTER_S = 2 * DAY_S
"""Age of minutes that become hours. Chosen: an incident is looked at within two days."""
DAYS_AFTER_S = 62 * DAY_S
"""Age of hours that become days: two whole months are kept by the hour, for bills."""
KEEP_S = 400 * DAY_S
"""Age of rows that are deleted: a year can be compared with the year before it."""
KEEP_CURSORS_S = 90 * DAY_S
"""Age of a journal's place that is deleted. A gateway that was away for longer could send a batch twice. Chosen."""
MINUTE_ROWS = 1000
"""Most rows of one minute. Keys beyond them are summed as OTHER, one row for each outcome. Chosen: two days of such
minutes are 3 million rows."""
OTHER = "other"
AHEAD_S = HOUR_S
"""A record from further in the future has the minute of its arrival: its gateway's clock is wrong."""
_LOCK = "*"


@dataclass(frozen=True)
class UsageSums:
    """Sums of one minute. `at` is the start of the minute in unix seconds, durations are in seconds."""

    at: int
    tenant: str
    key_id: str
    model: str
    version: str
    outcome: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    estimated: int
    duration_s: float
    first_s: float
    streams: int


@dataclass(frozen=True)
class UsageBatch:
    """The sums of the records `first` to `last` of one journal of a gateway."""

    gateway: str
    journal: str
    first: int
    last: int
    rows: Sequence[UsageSums]


class UsageReport(NamedTuple):
    """Usage by some of the names and times, the largest first."""

    rows: list[dict[str, Any]]
    """Each with the names and times that were asked, and the sums. `usd` None: no model among them had a price."""
    truncated: bool
    """Whether there are more rows than were asked."""


Money = Callable[[UsageSums], float | None]
"""Returns the price of sums in US dollars; None: their model has no price."""
NAMES = ("tenant", "key", "model", "version", "outcome")
TIMES = {"hour": HOUR_S, "day": DAY_S}
_KEY = ("at", "period_s", "tenant", "key_id", "model", "version", "outcome")
_ADDED = (
    *("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "estimated"),
    *("duration_s", "first_s", "streams"),
)


class UsageStore:
    """Usage on a database. Blocking. Methods raise Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def take(self, batch: UsageBatch, money: Money) -> int:
        """Add a batch to the sums, and return the sequence number up to which its journal is in them.

        Nothing is added when a part of the batch is there already. The returned number is then below `last` if the
        gateway has to send the rest, and at least `last` if everything is there.
        """
        with self._db.transaction() as session:
            _lock(session)
            now = database_now(session)
            name = f"{batch.gateway}/{batch.journal}"
            cursor = session.get(UsageCursorRow, name)
            if cursor is not None and batch.first <= cursor.sequence:
                return cursor.sequence
            rows = [(sums, money(sums)) for sums in _dated(batch.rows, now)]
            self._add(session, _bounded(session, rows))
            if cursor is None:
                cursor = UsageCursorRow(journal=name, sequence=0, updated_at=now)
            cursor.sequence, cursor.updated_at = batch.last, now
            session.add(cursor)
            return batch.last

    def report(
        self, by: Sequence[str], since: float, until: float, limit: int | None, only: Mapping[str, str] | None = None
    ) -> UsageReport:
        """Return the usage of the periods that overlap [since, until), unix seconds, summed by `by`.

        `by` are names of NAMES and TIMES. Rows with a time are in its order, others have the largest number of tokens
        first. `limit` None: all rows. `only` keeps the usage with these values of NAMES.
        """
        row = UsageMinuteRow
        columns: list[Any] = [_by(word).label(word) for word in by]
        times = [c for c in columns if c.name in TIMES]
        order = [*times, (func.sum(row.prompt_tokens) + func.sum(row.completion_tokens)).desc(), *columns]
        query = (
            select(*columns, *_sums())
            .where(
                col(row.at) >= since - DAY_S,
                col(row.at) + col(row.period_s) > since,
                col(row.at) < until,
                *(_by(name) == value for name, value in (only or {}).items()),
            )
            .group_by(*columns)
            .having(func.count() > 0)
            .order_by(*order)
            .limit(None if limit is None else limit + 1)
        )
        with self._db.reading() as session:
            found = [dict(line) for line in session.execute(query).mappings()]
        for line in found:
            line.update({name: int(line[name]) for name in _ADDED if name not in ("duration_s", "first_s")})
        return UsageReport(found[:limit], limit is not None and len(found) > limit)

    def last_used(self) -> dict[str, float]:
        """Return the start of the newest period with usage of each API key, in unix seconds, by the key's id."""
        newest = select(col(UsageMinuteRow.key_id), func.max(UsageMinuteRow.at)).group_by(col(UsageMinuteRow.key_id))
        with self._db.reading() as session:
            return {key: float(at) for key, at in session.execute(newest)}

    def roll_up(self, now: float) -> int:
        """Make hours of old minutes and days of old hours, delete what is older than it is kept, and return the number
        of periods that were made. Each period is a transaction of its own, so that gateways never wait for long."""
        made = 0
        for period, size, age_s in ((MINUTE_S, HOUR_S, HOURS_AFTER_S), (HOUR_S, DAY_S, DAYS_AFTER_S)):
            end = (now - age_s) // size * size
            while (start := self._oldest(period, end, size)) is not None:
                self._merge(period, size, start)
                made += 1
        with self._db.transaction() as session:
            _lock(session)
            session.execute(delete(UsageMinuteRow).where(col(UsageMinuteRow.at) < now - KEEP_S))
            old = (col(UsageCursorRow.updated_at) < now - KEEP_CURSORS_S, col(UsageCursorRow.journal) != _LOCK)
            session.execute(delete(UsageCursorRow).where(*old))
        return made

    def _oldest(self, period: int, end: float, size: int) -> int | None:
        oldest = select(func.min(UsageMinuteRow.at)).where(
            col(UsageMinuteRow.period_s) == period, col(UsageMinuteRow.at) < end
        )
        with self._db.reading() as session:
            at = session.execute(oldest).scalar_one()
        return None if at is None else int(at // size * size)

    def _merge(self, period: int, size: int, start: int) -> None:
        row = UsageMinuteRow
        names: list[Any] = [getattr(row, name) for name in _KEY[2:]]
        inside = (col(row.period_s) == period, col(row.at) >= start, col(row.at) < start + size)
        query = select(*names, *_sums()).where(*inside).group_by(*names)
        with self._db.transaction() as session:
            _lock(session)
            lines = [{"at": start, "period_s": size, **line} for line in session.execute(query).mappings()]
            _upsert(session, lines)
            session.execute(delete(row).where(*inside))

    def _add(self, session: Session, rows: Iterable[tuple[UsageSums, float | None]]) -> None:
        merged: dict[tuple[Any, ...], dict[str, Any]] = {}
        for sums, usd in rows:
            line = {**asdict(sums), "period_s": MINUTE_S, "usd": usd}
            known = merged.setdefault(tuple(line[name] for name in _KEY), line)
            if known is not line:
                known.update({name: known[name] + line[name] for name in _ADDED})
                if usd is not None:
                    known["usd"] = (known["usd"] or 0.0) + usd
        _upsert(session, list(merged.values()))


def _lock(session: Session) -> None:
    """Let one transaction at a time change usage: the bound of a minute counts rows, and periods are merged."""
    if session.get_bind().dialect.name == "sqlite":
        return  # BEGIN IMMEDIATE has the database
    row = {"journal": _LOCK, "sequence": 0, "updated_at": 0.0}
    session.execute(postgresql.insert(UsageCursorRow).values(row).on_conflict_do_nothing())
    session.execute(select(col(UsageCursorRow.journal)).where(col(UsageCursorRow.journal) == _LOCK).with_for_update())


def _dated(rows: Sequence[UsageSums], now: float) -> Iterable[UsageSums]:
    minute = int(now // MINUTE_S * MINUTE_S)
    for row in rows:
        at = row.at // MINUTE_S * MINUTE_S
        yield replace(row, at=minute if at > now + AHEAD_S else at)


def _bounded(
    session: Session, rows: Sequence[tuple[UsageSums, float | None]]
) -> Iterable[tuple[UsageSums, float | None]]:
    """Yield the rows, with OTHER for the names of those that no longer fit into their minute."""
    minutes = sorted({sums.at for sums, _ in rows})
    row = UsageMinuteRow
    names = ("at", *_KEY[2:])
    columns: list[Any] = [getattr(row, name) for name in names]
    query = select(*columns).where(col(row.at).in_(minutes), col(row.period_s) == MINUTE_S)
    known = {(int(at), *key) for at, *key in session.execute(query)}
    number = {at: sum(key[0] == at for key in known) for at in minutes}
    for sums, usd in rows:
        key = tuple(getattr(sums, name) for name in names)
        if key in known:
            yield sums, usd
        elif number[sums.at] < MINUTE_ROWS:
            known.add(key)
            number[sums.at] += 1
            yield sums, usd
        else:
            yield replace(sums, tenant=OTHER, key_id=OTHER, model=OTHER, version=OTHER), usd


def _upsert(session: Session, lines: Sequence[dict[str, Any]]) -> None:
    """Add lines to the rows of the same key."""
    if not lines:
        return
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = UsageMinuteRow
    statement = insert(row)
    more = statement.excluded
    changes: dict[str, Any] = {name: getattr(row, name) + more[name] for name in _ADDED}
    changes["usd"] = case((more["usd"].is_(None), row.usd), else_=func.coalesce(row.usd, 0.0) + more["usd"])
    session.execute(statement.on_conflict_do_update(index_elements=list(_KEY), set_=changes), list(lines))


def _sums() -> list[Any]:
    row = UsageMinuteRow
    added = [func.sum(getattr(row, name)).label(name) for name in _ADDED]
    return [*added, func.sum(row.usd).label("usd")]


def _by(word: str) -> ColumnElement[Any]:
    row = UsageMinuteRow
    if word in TIMES:
        # A literal, no parameter: for PostgreSQL two parameters make two expressions, and GROUP BY needs one.
        return cast(row.at, BigInteger) - cast(row.at, BigInteger) % literal_column(str(TIMES[word]))
    column: ColumnElement[Any] = getattr(row, "key_id" if word == "key" else word)
    return column
