"""Reports on alerting rules: the leader of alerting writes them, and the other replicas read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, select

from alerts.errors import NotReadable
from alerts.evaluate import GroupReport, Told
from alerts.rules import AlertingRule
from alerts.stored import reading
from controlplane.plain_text import plain
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.tables.replica import RuleReportRow


class RuleReports:
    """Writes and reads the reports. There is one row for each rule group, so a large fleet has about ten rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def write(self, lease: Lease, reports: Sequence[GroupReport], at: float) -> None:
        """Replace all reports, in one transaction. `at` is unix seconds.

        Raises LeaseLost, Unavailable and NotStorable: nothing was written.
        """
        rows = [row for report in reports if (row := _row(report, lease.holder, at))]
        insert = sqlite.insert if self._db.is_sqlite else postgresql.insert
        with self._db.transaction() as session:
            check_lease(session, lease)
            groups = [row["rule_group"] for row in rows]
            session.execute(delete(RuleReportRow).where(col(RuleReportRow.rule_group).not_in(groups)))
            if rows:
                new = insert(RuleReportRow).values(rows)
                changed = {name: new.excluded[name] for name in ("holder", "at", "rules")}
                session.execute(new.on_conflict_do_update(index_elements=["rule_group"], set_=changed))

    def read(self) -> dict[str, Told]:
        """Return the report of each rule, by rule id. Raises Unavailable."""
        with self._db.reading() as session:
            heard: dict[str, Told] = {}
            for row in session.exec(select(RuleReportRow)):
                with suppress(NotReadable):  # the next report replaces it
                    heard |= _told(row)
            return heard


def _told(row: RuleReportRow) -> dict[str, Told]:
    """Return the reports in a group's row, by rule id. Raises NotReadable."""
    with reading():
        return {rule: _of(row, said) for rule, said in row.rules.items()}


def _of(row: RuleReportRow, said: Mapping[str, Any]) -> Told:
    evaluated_at = said.get("last_evaluation")
    return Told(
        row.holder,
        row.at,
        str(said.get("health", "unknown")),
        str(said.get("last_error", "")),
        None if evaluated_at is None else float(evaluated_at),
        float(said.get("evaluation_s", 0.0)),
    )


def _row(report: GroupReport, holder: str, at: float) -> dict[str, object] | None:
    said = {
        health.rule.id: {
            "health": health.health,
            "last_error": plain(health.last_error),
            "last_evaluation": health.last_evaluation,
            "evaluation_s": health.evaluation_s,
        }
        for health in report.rules
        if isinstance(health.rule, AlertingRule)
    }
    return {"rule_group": report.group.key, "holder": holder, "at": at, "rules": said} if said else None
