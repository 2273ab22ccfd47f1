"""Assignments of traffic and the gateways' reports: the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import text

from controlplane.errors import LeaseLost
from controlplane.store import gateways as stored
from controlplane.store.assignments import Assignment, AssignmentStore
from controlplane.store.database import Database
from controlplane.store.gateways import GatewayStore, ModelReport, Report
from controlplane.store.lease import LeaseStore
from controlplane.store.revision import RevisionStore

NOW = 1_000_000.0
NOON = 1_773_144_000.0
"""2026-03-10, 12:00 UTC."""
REPORT = Report("g1", "i1", "1.2.3", "127.0.0.1:8400", 2, True, "abc", {"chat": ModelReport(3, {"v1": 7}, {"v1": 1})})


def kinds(database: Database) -> list[tuple[str, str]]:
    return [(revision.kind, revision.ref) for revision in RevisionStore(database).since(0)]


def test_every_change_of_weights_is_a_generation_that_replicas_see(database: Database, replica: Database) -> None:
    store = AssignmentStore(database)
    assert (store.all(), store.get("chat")) == ({}, None)
    first = store.assign("chat", {"v1": 1000, "v2": 0}, None, "rollout r-1", NOW)
    assert first == Assignment("chat", 1, {"v1": 1000}, NOW, "rollout r-1")
    second = AssignmentStore(replica).assign("chat", {"v2": 50, "v1": 950}, None, "rollout r-2", NOW + 1)
    assert second == Assignment("chat", 2, {"v1": 950, "v2": 50}, NOW + 1, "rollout r-2")
    assert store.all() == {"chat": second}
    assert store.get("chat") == second
    assert kinds(database) == [("traffic", "chat"), ("models", "chat")] * 2


def test_equal_weights_are_one_generation(database: Database) -> None:
    store = AssignmentStore(database)
    first = store.assign("chat", {"v1": 950, "v2": 50}, None, "rollout r-1", NOW)
    assert store.assign("chat", {"v2": 50, "v1": 950, "v3": 0}, None, "rollout r-2", NOW + 1) == first
    assert kinds(database) == [("traffic", "chat"), ("models", "chat")]


def test_copies_are_part_of_an_assignment(database: Database, replica: Database) -> None:
    store, weights = AssignmentStore(database), {"v1": 1000}
    store.assign("chat", weights, None, "rollout r-1", NOW)
    copied = store.assign("chat", weights, None, "rollout r-1", NOW, {"v2": 100, "v3": 0})
    assert copied == Assignment("chat", 2, weights, NOW, "rollout r-1", {"v2": 100})
    assert AssignmentStore(replica).get("chat") == copied
    assert store.assign("chat", weights, None, "rollout r-2", NOW, {"v2": 100}) == copied
    ended = store.assign("chat", weights, None, "rollout r-1", NOW + 1)
    assert (ended.generation, ended.mirror) == (3, {})
    for wrong in ({"v2": 1, "v3": 1}, {"v2": 1001}, {"v2": -1}):
        with pytest.raises(ValueError, match="at most one version of chat gets copies"):
            store.assign("chat", weights, None, "rollout r-1", NOW, wrong)


@pytest.mark.parametrize("weights", [{}, {"v1": 999}, {"v1": 1001}, {"v1": 1500, "v2": -500}])
def test_weights_that_are_no_split_are_refused(database: Database, weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be 0 to 1000 and add up to 1000"):
        AssignmentStore(database).assign("chat", weights, None, "rollout r-1", NOW)


def test_a_process_that_lost_its_lease_moves_no_traffic(database: Database, run_out: Callable[[str], None]) -> None:
    store, leases = AssignmentStore(database), LeaseStore(database)
    lease = leases.acquire("rollouts", "a", 30)
    assert lease
    before = store.assign("chat", {"v1": 1000}, lease, "rollout r-1", NOW)
    run_out("rollouts")
    assert leases.acquire("rollouts", "b", 30)
    with pytest.raises(LeaseLost):
        store.assign("chat", {"v2": 1000}, lease, "rollout r-1", NOW + 1)
    assert store.get("chat") == before


@pytest.mark.parametrize(
    "damage",
    [
        *(
            "weights = '[1]'",
            "weights = '{\"v1\": 999}'",
            'weights = \'{"v1": "1000"}\'',
            "weights = '7'",
            "format = 2",
        ),
        *("mirror = '[1]'", "mirror = '{\"v2\": 1.5}'", 'mirror = \'{"v2": 1, "v3": 1}\''),
    ],
)
def test_a_damaged_assignment_is_reported_kept_and_can_be_replaced(database: Database, damage: str) -> None:
    store = AssignmentStore(database)
    store.assign("other", {"v1": 1000}, None, "rollout r-1", NOW)
    store.assign("chat", {"v1": 1000}, None, "rollout r-1", NOW)
    with database.transaction() as session:
        session.execute(text(f"UPDATE traffic_assignment SET {damage} WHERE model = 'chat'"))
    assert (list(store.all()), store.get("chat")) == (["other"], None)
    assert [(row.table, row.key) for row in database.unread.rows()] == [("traffic_assignment", "chat")]
    assert store.assign("chat", {"v2": 1000}, None, "rollout r-2", NOW).generation == 2
    with database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM unreadable")).scalar_one() == 1


def test_a_report_is_read_as_it_came_and_makes_the_gateway_live(database: Database, replica: Database) -> None:
    GatewayStore(database).report(REPORT, leaving=False)
    (gateway,) = GatewayStore(replica).all()
    assert (gateway.report, gateway.live, gateway.has_left) == (REPORT, True, False)
    assert 0 <= gateway.age_s < stored.LIVE_S
    GatewayStore(database).report(replace(REPORT, name="g0"), leaving=False)
    assert [gateway.report.name for gateway in GatewayStore(replica).all()] == ["g0", "g1"]


def test_a_gateway_that_left_or_is_silent_is_not_live(database: Database) -> None:
    store = GatewayStore(database)
    store.report(REPORT, leaving=True)
    assert [(g.live, g.has_left) for g in store.all()] == [(False, True)]
    store.report(replace(REPORT, incarnation="i2"), leaving=False)
    assert [(g.live, g.has_left, g.report.incarnation) for g in store.all()] == [(True, False, "i2")]
    for moved in (-stored.LIVE_S - 5, 2 * (stored.LIVE_S + 5)):  # silent, and seen by a clock that was set back
        with database.transaction() as session:
            session.execute(text("UPDATE gateway SET seen_at = seen_at + :by"), {"by": moved})
        assert [g.live for g in store.all()] == [False]


def test_two_processes_with_one_name_are_told_from_restarts(
    database: Database, replica: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [NOON]
    monkeypatch.setattr(stored, "database_now", lambda session: now[0])
    store, other = GatewayStore(database), GatewayStore(replica)

    def after(*incarnations: str) -> int:
        for incarnation in incarnations:
            now[0] += 0.5
            store.report(replace(REPORT, incarnation=incarnation), leaving=False)
        (gateway,) = other.all()
        return gateway.processes

    assert after("i1", "i2", "i2", "i3", "i3") == 1, "restarts"
    assert after("i2", "i3", "i3") == 1, "a report that the successor overtook"
    now[0] += 20.0
    assert after("a", "b", "a", "b") == 1
    assert after("a") == 2
    assert after("b", "c", "a", "b", "c") == 3
    assert after(*["a"] * 20) == 1, "the others have been silent for ten seconds"


def test_the_last_report_of_a_process_does_not_end_its_successor(database: Database) -> None:
    store = GatewayStore(database)
    store.report(REPORT, leaving=False)
    store.report(replace(REPORT, incarnation="i2"), leaving=False)
    store.report(REPORT, leaving=True)
    assert [(g.live, g.has_left, g.report.incarnation) for g in store.all()] == [(True, False, "i2")]


def test_a_start_that_lost_its_disk_owes_what_it_had_spent(
    database: Database, replica: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "database_now", lambda session: NOON)
    store, other = GatewayStore(database), GatewayStore(replica)
    day, month, usd = "key/a/daily_tokens", "key/a/monthly_tokens", "tenant/t/daily_usd"
    spent = replace(REPORT, demand={"key/a": 0.5, day: 100.0, month: 900.0, usd: 1.5})
    assert store.report(spent, leaving=False) == {}
    assert store.report(replace(spent, demand={day: 120.0, month: 920.0, usd: 1.5}), leaving=False) == {}
    fresh = replace(spent, incarnation="i2", demand={"key/a": 0.1})
    owed = {day: 120.0, month: 920.0, usd: 1.5}
    assert store.report(fresh, leaving=False) == owed
    assert other.report(fresh, leaving=False) == owed, "the answer may have been lost"
    assert store.report(replace(fresh, demand={day: 130.0, usd: 1.5}), leaving=False) == {month: 920.0}
    assert [gateway.report.owed for gateway in store.all()] == [{month: 920.0}]
    third = replace(fresh, incarnation="i3", demand={})
    assert store.report(third, leaving=False) == {day: 130.0, usd: 1.5, month: 920.0}
    caught_up = {day: 130.0, usd: 1.5, month: 920.0}
    assert store.report(replace(third, demand=caught_up), leaving=False) == {}
    assert store.report(replace(third, demand={}), leaving=False) == {}, "a new day, by the gateway's clock"


@pytest.mark.parametrize(
    ("seen", "now", "budgets"),
    [
        ("2026-03-10 12:00:00", "2026-03-10 23:59:59", {"d", "m"}),
        ("2026-03-10 12:00:00", "2026-03-11 00:00:00", {"m"}),
        ("2026-03-11 00:00:30", "2026-03-11 09:00:00", {"m"}),
        ("2026-03-11 00:01:01", "2026-03-11 09:00:00", {"d", "m"}),
        ("2026-03-31 12:00:00", "2026-04-01 00:00:00", set()),
        ("2026-04-01 00:00:30", "2026-04-01 09:00:00", set()),
        ("2025-04-01 12:00:00", "2026-04-01 12:00:00", set()),
    ],
)
def test_the_periods_of_what_is_owed(seen: str, now: str, budgets: set[str]) -> None:
    before = replace(REPORT, demand={"k/daily_tokens": 1.0, "k/monthly_usd": 2.0, "k": 0.5})
    at = [datetime.fromisoformat(f"{each}+00:00").timestamp() for each in (seen, now)]
    found = stored._owed(stored.Gateway(before, at[0], 0.0, False), replace(REPORT, incarnation="i2"), at[1])
    assert {budget.partition("/")[2][0] for budget in found} == budgets


def test_only_facts_for_people_are_revisions(database: Database) -> None:
    store = GatewayStore(database)
    store.report(REPORT, leaving=False)
    counted = replace(REPORT, models={"chat": ModelReport(3, {"v1": 8})}, open_streams=4, demand={"key/a": 1.0})
    store.report(counted, leaving=False)
    assert kinds(database) == [("gateways", "g1")]
    for changed in (
        replace(counted, models={"chat": ModelReport(4)}),
        replace(counted, workers=3),
        replace(counted, ready=False),
        replace(counted, revision="def"),
    ):
        store.report(changed, leaving=False)
    store.report(counted, leaving=True)
    assert kinds(database) == [("gateways", "g1")] * 6


def test_a_gateway_that_is_long_gone_is_forgotten(database: Database) -> None:
    store = GatewayStore(database)
    store.report(REPORT, leaving=False)
    with database.transaction() as session:
        session.execute(text("UPDATE gateway SET seen_at = seen_at - :by"), {"by": stored.FORGET_S + 1})
    assert store.all() == []
    assert (store.prune(), store.prune()) == (1, 0)


def test_the_number_of_gateways_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MAX_GATEWAYS", 2)
    store = GatewayStore(database)
    for name in ("g1", "g2", "g3"):
        store.report(replace(REPORT, name=name), leaving=False)
    assert [gateway.report.name for gateway in store.all()] == ["g2", "g3"]


@pytest.mark.parametrize(
    "damage", ["report = '[1]'", "report = '{}'", 'report = \'{"models": {"chat": {}}}\'', "format = 2"]
)
def test_a_damaged_report_is_replaced_by_the_next(database: Database, damage: str) -> None:
    store = GatewayStore(database)
    store.report(REPORT, leaving=False)
    with database.transaction() as session:
        session.execute(text(f"UPDATE gateway SET {damage}"))
    assert store.all() == []
    store.report(REPORT, leaving=False)
    assert [gateway.report for gateway in store.all()] == [REPORT]
