"""The supervisor's side: dead workers, restarts, shares."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.gateway.desired.document import LimitSpec
from controlplane.gateway.limits.spent import SpentFile, SpentUnreadable
from controlplane.gateway.refusal import Refusal
from tests.fakes.limits import NOON, World, document, key, new_area, used

DAY = 86_400.0


def test_a_dead_worker_s_requests_are_closed_and_its_holds_released() -> None:
    limits = LimitSpec(concurrent=4, daily_tokens=100)
    world = World(document(limits, limits, limits), workers=2)
    for _ in range(2):
        world.admit(10, 10, worker=0)
        world.admit(10, 20, worker=1)
    world.refused()
    world.keeper.clear_column(1)
    for _ in range(2):
        world.admit(10, 20, worker=0)
    assert isinstance(world.ask(0, 1, worker=0), Refusal)


def test_what_a_dead_worker_settled_stays_spent() -> None:
    world = World(document(LimitSpec(daily_tokens=100)), workers=2)
    world.admit(50, worker=1).settle(used(50, 0), world.now)
    world.keeper.clear_column(1)
    world.workers[1] = world.new_worker(1)
    assert isinstance(world.ask(51), Refusal)
    world.admit(50, worker=1).settle(used(50, 0), world.now)
    assert isinstance(world.ask(1), Refusal)


def test_a_settlement_after_the_limit_vanished_touches_no_other_limit() -> None:
    desired = document(LimitSpec(concurrent=1, tokens_per_minute=100))
    world = World(desired)
    held = world.admit(10, 40)
    world.apply(replace(desired, revision="2", keys=()))
    other = replace(desired, revision="3", keys=(key(LimitSpec(concurrent=1, tokens_per_minute=100)),))
    world.apply(other)
    held.settle(used(10, 1000), world.now)
    held.cancel(world.now)
    world.admit(100)
    world.refused(0)


def test_a_worker_with_the_document_before_holds_on_to_its_limits() -> None:
    desired = document(LimitSpec(requests_per_minute=1))
    world = World(desired)
    world.admit()
    world.keeper.apply(replace(desired, revision="2", keys=()), world.now)
    world.admit()  # of a new slot
    world.refused()
    world.keeper.apply(replace(desired, revision="3"), world.now)
    world.workers[1].apply(replace(desired, revision="3"), world.now)
    world.refused(worker=1)


def test_budgets_survive_the_end_of_all_processes(tmp_path: Path) -> None:
    limits = LimitSpec(daily_tokens=100, monthly_tokens=1000, daily_usd=1.0)
    world = World(document(limits))
    world.admit(10, 50).settle(used(10, 50), world.now)
    file = SpentFile(tmp_path / "limits.json")
    data = world.keeper.save()
    assert data is not None
    file.write(data)
    assert (tmp_path / "limits.json").stat().st_mode & 0o777 == 0o600

    world.area = new_area()
    world.keeper = world.new_keeper()
    file.restore(world.keeper.restore)
    world.apply(document(limits, revision="2"))
    world.workers = [world.new_worker(0)]
    assert isinstance(world.ask(41), Refusal)
    world.admit(40).settle(used(40, 0), world.now)
    world.sleep(DAY)
    world.admit(100)


def test_buckets_survive_a_restart_and_drain_meanwhile() -> None:
    world = World(document(LimitSpec(requests_per_minute=60)))
    assert world.admitted() == 60
    data = world.keeper.save()
    assert data is not None
    world.sleep(20.0)
    world.area, world.now = new_area(), 5.0  # another boot of the machine
    world.keeper = world.new_keeper()
    world.keeper.restore(data)
    world.apply(document(LimitSpec(requests_per_minute=60), revision="2"))
    world.workers = [world.new_worker(0)]
    assert world.admitted() == 20


def test_nothing_is_saved_while_nothing_changes() -> None:
    world = World(document(LimitSpec(daily_tokens=100)))
    world.keeper.save()
    world.sleep(1.0)
    assert world.keeper.save() is None
    world.admit(1).settle(used(1, 0), world.now)
    assert world.keeper.save() is not None
    assert world.keeper.save() is None


def test_open_requests_are_not_saved_as_spent() -> None:
    world = World(document(LimitSpec(daily_tokens=100)))
    world.admit(90)
    data = world.keeper.save()
    assert data is not None and json.loads(data) == {"format": 1, "limits": {}}


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 2, "limits": {}}',
        b'{"format": 1}',
        b'{"format": 1, "limits": {"key/a": {"day": 1}}}',
        b'{"format":1,"limits":{"key/a":{"at":0,"day":1,"month":1,"spent":[1,2],"requests":0,"tokens":0}}}',
        b'{"format":1,"limits":{"key/a":{"at":0,"day":1,"month":1,"spent":["x",0,0,0],"requests":0,"tokens":0}}}',
    ],
)
def test_a_damaged_file_is_kept_and_said(damaged: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(document())
    with pytest.raises(SpentUnreadable):
        world.keeper.restore(damaged)
    path = tmp_path / "limits.json"
    path.write_bytes(damaged)
    with caplog.at_level(logging.ERROR):
        SpentFile(path).restore(world.keeper.restore)
    assert "budgets start at zero" in caplog.text
    assert (tmp_path / "limits.json.unreadable").read_bytes() == damaged and not path.exists()
    SpentFile(path).restore(world.keeper.restore)  # no file: nothing to restore


def test_a_share_scales_requests_tokens_and_concurrency() -> None:
    shares = {"key/ab12": 0.25}
    world = World(document(LimitSpec(requests_per_minute=60), shares=shares))
    assert world.admitted() == 15
    world.sleep(4.0)
    assert world.admitted() == 1
    world.sleep(60.0)

    world.apply(document(LimitSpec(tokens_per_minute=100), revision="2", shares=shares))
    world.admit(25)
    world.refused(1)

    world.apply(document(LimitSpec(concurrent=8), revision="3", shares=shares))
    world.admit()  # one is open
    world.refused()


def test_a_share_changes_at_once_for_all_workers_without_a_new_document() -> None:
    limits = LimitSpec(requests_per_minute=60)
    world = World(document(limits), workers=2)
    world.keeper.apply(document(limits, shares={"key/ab12": 0.5}), world.now)
    assert world.admitted(worker=0) + world.admitted(worker=1) == 30
    world.keeper.apply(document(limits), world.now)
    assert world.admitted(worker=1) == 30


def test_a_limit_that_is_not_named_has_the_share_of_the_others() -> None:
    world = World(document(LimitSpec(requests_per_minute=60), shares={"*": 0.5, "tenant/acme": 0.1}))
    assert world.admitted() == 30


def test_the_smallest_share_of_concurrency_is_one_request() -> None:
    world = World(document(LimitSpec(concurrent=2), shares={"*": 0.0}))
    world.admit()
    world.refused()


def test_a_small_share_lets_single_requests_through() -> None:
    world = World(document(LimitSpec(requests_per_minute=10), shares={"*": 0.05}))
    assert world.admitted() == 1
    world.sleep(119.0)
    assert world.admitted() == 0
    world.sleep(1.1)
    assert world.admitted() == 1


def test_budgets_have_shares_of_their_own() -> None:
    world = World(document(LimitSpec(daily_tokens=100), shares={"key/ab12": 0.1, "key/ab12/daily_tokens": 0.6}))
    world.admit(60)
    world.refused(1)


def test_demand_counts_refused_requests_and_forgets_old_ones() -> None:
    limits = LimitSpec(requests_per_minute=60)
    world = World(document(limits, shares={"*": 0.5}))
    world.keeper.demand(world.now)
    for _ in range(60):
        for _ in range(2):
            world.ask()
        world.sleep(1.0)
        demand = world.keeper.demand(world.now)
    assert demand["key/ab12"] == pytest.approx(2.0, abs=0.01)
    for _ in range(100):
        world.sleep(1.0)
        demand = world.keeper.demand(world.now)
    assert demand == {}


def test_demand_of_tokens_and_concurrency_is_that_of_the_scarcest() -> None:
    world = World(
        document(LimitSpec(requests_per_minute=6000, tokens_per_minute=6000, concurrent=10), shares={"*": 0.5})
    )
    world.keeper.demand(world.now)
    for _ in range(5):
        world.admit(10)
    for _ in range(100):
        world.sleep(1.0)
        demand = world.keeper.demand(world.now)
    assert demand["key/ab12"] == pytest.approx(0.5, abs=0.01)


def test_a_limit_of_this_gateway_alone_reports_what_it_spent_and_no_demand() -> None:
    world = World(document(LimitSpec(requests_per_minute=60, daily_tokens=1000, daily_usd=1.0)))
    world.admit(100).settle(used(100, 100), world.now)
    world.keeper.save()
    assert world.keeper.demand(world.now) == {"key/ab12/daily_tokens": 200.0, "key/ab12/daily_usd": 0.0005}


def test_totals_of_the_control_plane_raise_what_was_spent_and_never_lower_it() -> None:
    world = World(document(LimitSpec(daily_tokens=100, daily_usd=1.0)))
    world.admit(50).settle(used(50, 0), world.now)
    world.keeper.raise_spent({"key/ab12/daily_tokens": 10.0, "key/unknown/daily_tokens": 99.0})
    world.admit(50).cancel(world.now)
    world.keeper.raise_spent({"key/ab12/daily_tokens": 80.0})
    assert isinstance(world.ask(21), Refusal)
    world.admit(20).cancel(world.now)
    world.keeper.raise_spent({"key/ab12/daily_usd": 1.0})
    refusal = world.refused(1)
    assert "$1.00 of $1.00" in refusal.message


def test_a_worker_that_joins_later_counts() -> None:
    world = World(document(LimitSpec(concurrent=2, daily_tokens=1000)), workers=1)
    world.admit(worker=0)
    world.workers.append(world.new_worker(70))
    world.admit(100, worker=1).settle(used(100, 0), world.now)
    world.admit(worker=1)
    world.refused(worker=0)
    world.keeper.save()
    assert world.keeper.demand(world.now) == {"key/ab12/daily_tokens": 100.0}
    assert world.unix == NOON
