"""The gateways and their last reports. A gateway is live while it reported within the last ten seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from sqlalchemy import delete
from sqlmodel import Session, col, select

from alerts.errors import NotReadable
from alerts.stored import checked, only, reading
from controlplane.store.database import Database, database_now
from controlplane.store.gateway_lives import Lives
from controlplane.store.revision import touch
from controlplane.store.tables.gateway import GatewayRow
from controlplane.store.unreadable import preserve

FORMAT = 1
"""Format number of the stored reports."""
LIVE_S = 10.0
"""Seconds after a report for which a gateway is live. It reports every second. Chosen: its network may pause."""
FORGET_S = 24 * 3600.0
"""Seconds after which a silent gateway is no longer listed. Chosen: a machine that is repaired within a day is back."""
CLOCKS_S = 60.0
"""Seconds by which clocks of a gateway and the database may differ. In the first minute of a day a report may hold what
was spent the day before. Chosen."""
MAX_GATEWAYS = 1000
"""Maximum number of gateways. Chosen: far above a fleet's. A token of role gateway cannot fill the database."""
_TABLE = "gateway"
_LIVES = "lives"


@dataclass(frozen=True)
class ModelReport:
    """One model at a gateway."""

    generation: int
    """The generation that all workers of the gateway apply."""
    requests: Mapping[str, int] = field(default_factory=dict)
    """Requests by version since the generation was applied."""
    open: Mapping[str, int] = field(default_factory=dict)
    """Open requests by version."""


@dataclass(frozen=True)
class Report:
    """A report of a gateway about itself."""

    name: str
    incarnation: str
    """Differs for each start of the process."""
    version: str
    """Release."""
    listen: str
    workers: int
    ready: bool
    revision: str
    """Revision of the desired state that all workers apply; "" before the first."""
    models: Mapping[str, ModelReport] = field(default_factory=dict)
    open_streams: int = 0
    demand: Mapping[str, float] = field(default_factory=dict)
    """Demand of each shared limit, by the limit's id, and what was spent of each budget, by the budget's id."""
    owed: Mapping[str, float] = field(default_factory=dict)
    """Amounts that it had spent before its last start and does not report any more, by the budget's id."""
    fault: str = ""
    """Why the newest desired state is not applied; "" when it is."""


@dataclass(frozen=True)
class Gateway:
    """One gateway as stored."""

    report: Report
    seen_at: float
    """Unix seconds of the last report, on the database's clock."""
    age_s: float
    """Seconds since then, by the database's clock."""
    has_left: bool
    """It ended in order."""
    lives: Lives = field(default_factory=Lives)
    """Other processes that reported under its name."""

    @property
    def processes(self) -> int:
        """Number of processes that report under its name. More than 1: what each of them applies is unknown."""
        return self.lives.processes(self.seen_at + self.age_s) if self.live else 1

    @property
    def live(self) -> bool:
        """Whether it takes part in decisions: it reported within LIVE_S and has not left."""
        return not self.has_left and self.age_s <= LIVE_S


class GatewayStore:
    """Stores and reads reports. Synchronous; every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def report(self, report: Report, *, leaving: bool) -> Mapping[str, float]:
        """Store a gateway's report. Return what it owes: see `Report.owed`, which the store sets.

        The console hears of it only when a fact for people changed: counts change every second. Beyond MAX_GATEWAYS
        the gateway that was silent for longest is forgotten. The last report of a process is left out when another
        process reports under the name already.
        """
        with self._db.transaction() as session:
            now = database_now(session)
            row = session.exec(select(GatewayRow).where(GatewayRow.name == report.name).with_for_update()).one_or_none()
            before = None if row is None else self._before(session, row, now)
            if row is None:
                self._make_room(session, now)
                row = GatewayRow(
                    name=report.name, incarnation="", seen_at=now, has_left=False, format=FORMAT, report={}
                )
            owed = {} if before is None else _owed(before, report, now)
            if leaving and before is not None and before.live and before.report.incarnation != report.incarnation:
                return owed
            content = {**asdict(report), "owed": owed}
            del content["name"], content["incarnation"]
            lives = _lives(before, report, now)
            if lives != Lives():  # an earlier release cannot read a row that has them
                content[_LIVES] = asdict(lives)
            row.incarnation, row.seen_at, row.has_left = report.incarnation, now, leaving
            row.format, row.report = FORMAT, content
            session.add(row)
            if before is None or not before.live or leaving or _facts(before.report) != _facts(report):
                touch(session, "gateways", report.name)
        return owed

    def all(self) -> list[Gateway]:
        """Return the gateways in the order of their names, silent ones included. Unreadable rows are left out."""
        with self._db.reading() as session:
            now = database_now(session)
            rows = session.exec(select(GatewayRow).order_by(col(GatewayRow.name))).all()
        found = self._db.unread.readable(_TABLE, rows, lambda row: row.name, lambda row: _gateway(row, now))
        return [gateway for gateway in found if gateway.age_s <= FORGET_S]

    def prune(self) -> int:
        """Delete the gateways that were silent for FORGET_S. Return how many."""
        with self._db.transaction() as session:
            old = delete(GatewayRow).where(col(GatewayRow.seen_at) < database_now(session) - FORGET_S)
            return len(session.execute(old.returning(col(GatewayRow.name))).all())

    def _before(self, session: Session, row: GatewayRow, now: float) -> Gateway | None:
        try:
            return _gateway(row, now)
        except NotReadable as fault:
            preserve(session, row, row.name, str(fault))
            return None

    def _make_room(self, session: Session, now: float) -> None:
        session.execute(delete(GatewayRow).where(col(GatewayRow.seen_at) < now - FORGET_S))
        names = session.exec(select(GatewayRow.name).order_by(col(GatewayRow.seen_at))).all()
        if len(names) >= MAX_GATEWAYS:  # the one that was silent for longest gives way
            session.execute(delete(GatewayRow).where(col(GatewayRow.name) == names[0]))


def _owed(before: Gateway, report: Report, now: float) -> dict[str, float]:
    """Return what a gateway had spent in the present periods and does not report.

    Within one start it reports everything. A later start may have lost its disk, and owes until it has caught up.
    """
    last = before.report
    known = last.owed if last.incarnation == report.incarnation else {**last.demand, **last.owed}
    seen = before.seen_at - CLOCKS_S
    same = {"daily": _day(seen) == _day(now), "monthly": _month(seen) == _month(now)}
    return {
        budget: spent
        for budget, spent in known.items()
        if same.get(budget.rpartition("/")[2].partition("_")[0]) and spent > report.demand.get(budget, 0.0)
    }


def _lives(before: Gateway | None, report: Report, now: float) -> Lives:
    if before is None:
        return Lives()
    return before.lives.after(before.report.incarnation, before.seen_at, report.incarnation, now).recent(now)


def _day(unix: float) -> int:
    return int(unix // 86400)


def _month(unix: float) -> tuple[int, int]:
    date = datetime.fromtimestamp(unix, UTC)
    return date.year, date.month


def _facts(report: Report) -> tuple[object, ...]:
    """Return the facts of a report that people read and that do not change by themselves."""
    generations = {name: model.generation for name, model in report.models.items()}
    return (
        report.incarnation,
        report.version,
        report.listen,
        report.workers,
        report.ready,
        report.revision,
        report.fault,
        generations,
    )


def _gateway(row: GatewayRow, now: float) -> Gateway:
    """Return the gateway of a row. Raises NotReadable."""
    if row.format != FORMAT:
        raise NotReadable(f"it is of format {row.format}, and this release knows {FORMAT}")
    with reading():
        content = {key: value for key, value in row.report.items() if key not in ("models", _LIVES)}
        only(content, Report.__dataclass_fields__)
        models = {name: ModelReport(**model) for name, model in row.report["models"].items()}
        report = checked(Report(name=row.name, incarnation=row.incarnation, models=models, **content))
        kept = row.report.get(_LIVES, {"others": {}, "returns": ()})
        only(kept, Lives.__dataclass_fields__)
        lives = checked(Lives(kept["others"], tuple(kept["returns"])))
    # A clock that was set back must not make a gateway live for ever.
    return Gateway(report, row.seen_at, abs(now - row.seen_at), row.has_left, lives)
