"""Leases: one holder at a time, a new epoch for each tenure, late wakers refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlmodel import select

from controlplane.errors import LeaseLost, Unavailable
from controlplane.schedule.factory import TTL_S
from controlplane.store.audit import AuditStore, audit
from controlplane.store.database import Database
from controlplane.store.lease import LEASE_PATIENCE, Lease, LeaseStore, check_lease, process_holder, since_boot
from controlplane.store.tables.lease import LeaseRow


def test_a_free_lease_is_taken_and_others_are_turned_away(database: Database, replica: Database) -> None:
    assert LeaseStore(database).acquire("rules", "a", 60) == Lease("rules", "a", 1)
    assert LeaseStore(replica).acquire("rules", "b", 60) is None
    assert LeaseStore(replica).acquire("outbox", "b", 60) == Lease("outbox", "b", 1)


def test_acquiring_again_is_the_same_tenure(database: Database) -> None:
    leases = LeaseStore(database)

    assert leases.acquire("rules", "a", 60) == leases.acquire("rules", "a", 60) == Lease("rules", "a", 1)


def test_a_lease_that_ran_out_is_taken_over_under_a_new_epoch(
    database: Database, replica: Database, run_out: Callable[[str], None]
) -> None:
    first = LeaseStore(database).acquire("rules", "a", 60)
    assert first is not None

    run_out("rules")

    assert LeaseStore(replica).acquire("rules", "b", 60) == Lease("rules", "b", 2)
    assert LeaseStore(database).acquire("rules", "a", 60) is None
    with pytest.raises(LeaseLost, match=r"a no longer holds lease rules \(epoch 1\)"):
        LeaseStore(database).renew(first, 60)


def test_a_tenure_with_a_gap_is_a_new_one_even_for_the_same_holder(
    database: Database, run_out: Callable[[str], None]
) -> None:
    leases = LeaseStore(database)
    first = leases.acquire("rules", "a", 60)
    assert first is not None
    run_out("rules")

    with pytest.raises(LeaseLost):
        leases.renew(first, 60)
    assert leases.acquire("rules", "a", 60) == Lease("rules", "a", 2)


def test_renewing_prolongs(database: Database) -> None:
    leases = LeaseStore(database)
    lease = leases.acquire("rules", "a", 10)
    assert lease is not None
    (before,) = leases.list()

    leases.renew(lease, 1000)

    (after,) = leases.list()
    assert (after.holder, after.epoch) == ("a", 1)
    assert after.expires_at > before.expires_at + 900


def test_a_released_lease_is_free_at_once_and_a_late_release_frees_nothing(database: Database) -> None:
    leases = LeaseStore(database)
    first = leases.acquire("rules", "a", 60)
    assert first is not None
    leases.release(first)

    second = leases.acquire("rules", "b", 60)
    assert second == Lease("rules", "b", 2)
    leases.release(first)
    assert [(s.holder, s.epoch) for s in leases.list()] == [("b", 2)]


def test_a_paused_process_that_wakes_late_writes_nothing(
    database: Database, replica: Database, run_out: Callable[[str], None]
) -> None:
    paused = LeaseStore(database).acquire("rules", "a", 60)
    run_out("rules")
    taken = LeaseStore(replica).acquire("rules", "b", 60)

    with pytest.raises(LeaseLost), database.transaction() as session:
        check_lease(session, paused)
        audit(session, "a", "late", "rules", "", 1.0)
    with replica.transaction() as session:
        check_lease(session, taken)
        audit(session, "b", "in time", "rules", "", 2.0)

    assert [e.action for e in AuditStore(database).recent(10)] == ["in time"]


def test_an_expired_lease_that_nobody_took_is_lost_too(database: Database, run_out: Callable[[str], None]) -> None:
    lease = LeaseStore(database).acquire("rules", "a", 60)
    run_out("rules")

    with pytest.raises(LeaseLost), database.transaction() as session:
        check_lease(session, lease)


def test_a_lease_of_before_the_clock_was_set_back_holds_nobody_up(database: Database, replica: Database) -> None:
    """An hour ahead on the database's clock; one that is ahead by less runs out by itself, soon."""
    old, others = LeaseStore(database), LeaseStore(replica)
    alive = old.acquire("rules", "a", 3600)
    assert alive is not None
    assert others.acquire("rules", "b", 3000) is None
    taken = others.acquire("rules", "b", 60)
    assert taken == Lease("rules", "b", 2)
    with pytest.raises(LeaseLost):
        old.renew(alive, 60)
    assert old.acquire("rules", "a", 60) is None


def test_a_holder_goes_on_after_the_clock_was_set_back(database: Database) -> None:
    leases = LeaseStore(database)
    lease = leases.acquire("rules", "a", 3600)
    assert lease is not None
    leases.renew(lease, 60)
    (after,) = leases.list()
    assert (after.holder, after.epoch) == ("a", 1)
    with database.transaction() as session:
        assert 0 < after.expires_at - database.now(session) <= 60
        check_lease(session, lease)


def test_who_is_alone_takes_over_what_dead_processes_hold(database: Database) -> None:
    leases = LeaseStore(database)
    dead = leases.acquire("rules", "dead", 3600)
    leases.acquire("ledger", "dead", 3600)
    assert dead is not None
    assert leases.take_over() == 2
    assert leases.acquire("rules", "next", 60) == Lease("rules", "next", 2)
    with pytest.raises(LeaseLost), database.transaction() as session:
        check_lease(session, dead)


def test_a_database_in_a_folder_is_told_from_one_elsewhere(database: Database, tmp_path: Path) -> None:
    folder = Path(str(database.engine.url.database)).parent
    assert database.lies_in(folder) is database.is_sqlite
    assert not database.lies_in(tmp_path / "elsewhere")


def test_tools_work_without_a_lease(database: Database) -> None:
    with database.transaction() as session:
        check_lease(session, None)


def test_a_takeover_waits_for_the_transaction_that_checked(database: Database, replica: Database) -> None:
    lease = LeaseStore(database).acquire("rules", "a", 60)

    with database.transaction() as session:
        check_lease(session, lease)
        if database.is_sqlite:
            return  # the only writer: nothing can interleave
        with pytest.raises(Unavailable, match="lock"), replica.transaction() as other:
            other.exec(select(LeaseRow).with_for_update(nowait=True)).all()


def test_of_many_at_once_one_wins(database: Database) -> None:
    leases = LeaseStore(database)
    with ThreadPoolExecutor(8) as pool:
        won = [w for w in pool.map(lambda n: leases.acquire("rules", f"p{n}", 60), range(24)) if w]

    assert len({w.holder for w in won}) == 1
    assert {w.epoch for w in won} == {1}


def test_each_process_names_itself_differently() -> None:
    assert process_holder() != process_holder()


def test_a_deadline_counts_from_when_the_renewal_was_sent(database: Database) -> None:
    seconds = [100.0]
    leases = LeaseStore(database, lambda: seconds[0])
    lease = leases.acquire("rules", "a", 15)
    assert lease is not None
    assert lease.left_s() == 12.0, "a fifth is left unused"
    seconds[0] += 5
    leases.renew(lease, 15)
    assert lease.left_s() == 12.0
    seconds[0] += 12
    assert lease.left_s() == 0.0


def test_an_answer_that_came_late_prolongs_by_less(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [100.0]
    leases = LeaseStore(database, lambda: seconds[0])
    lease = leases.acquire("rules", "a", 15)
    assert lease is not None
    changing = database.changing

    def slow() -> AbstractContextManager[Connection]:
        seconds[0] += 9
        return changing()

    monkeypatch.setattr(database, "changing", slow)
    leases.renew(lease, 15)
    assert lease.left_s() == 3.0


def test_a_renewal_that_failed_prolongs_nothing(database: Database, run_out: Callable[[str], None]) -> None:
    seconds = [100.0]
    leases = LeaseStore(database, lambda: seconds[0])
    lease = leases.acquire("rules", "a", 15)
    assert lease is not None
    run_out("rules")
    seconds[0] += 5
    with pytest.raises(LeaseLost):
        leases.renew(lease, 15)
    assert lease.left_s() == 7.0


def test_seconds_since_boot_pass_and_a_lease_of_a_tool_has_no_deadline() -> None:
    first = since_boot()
    assert 0 < first <= since_boot()
    assert Lease("rules", "a", 1).left_s() == math.inf


def test_leases_are_renewed_within_a_third_of_the_shortest() -> None:
    waits = LEASE_PATIENCE
    for seconds in (waits.statement_s, waits.lock_s, waits.connect_s, waits.connection_s):
        assert seconds < TTL_S / 3
