"""Several workers of one gateway: what they share, and what is left of one that died."""

from __future__ import annotations

from collections import Counter

import pytest

from controlplane.gateway.choosing import memory as shared
from controlplane.gateway.choosing.line import Line
from controlplane.gateway.choosing.locks import try_lock, unlock
from controlplane.gateway.choosing.memory import Directory, Memory, clear_column, key_of
from controlplane.gateway.desired.document import ModelSpec, QueueSpec
from controlplane.gateway.patience import Patience
from controlplane.gateway.refusal import RefusalKind
from controlplane.gateway.request import Outcome
from controlplane.gateway.seams import Area
from tests.fakes.choosing_world import World, ask, model, name_of, new_area, version

SPEC = model("chat", version("v1", 950, "a", "b"), version("v2", 50, "c"))


def workers(count: int, *models: ModelSpec) -> list[World]:
    area = new_area()
    return [World(*models, area=area, column=column) for column in range(count)]


def test_the_split_holds_over_all_workers() -> None:
    worlds = workers(4, SPEC)
    versions = [worlds[n * n % 4].choose().version for n in range(3000)]
    for start in range(2001):
        assert Counter(versions[start : start + 1000])["v2"] == 50


def test_a_new_split_holds_over_all_workers_that_apply_it() -> None:
    worlds = workers(3, SPEC)
    for n in range(700):
        worlds[n % 3].choose()
    for world in worlds:
        world.apply(model("chat", version("v1", 750, "a", "b"), version("v2", 250, "c")))
    assert Counter(worlds[n % 3].choose().version for n in range(1000)) == {"v1": 750, "v2": 250}


def test_workers_see_each_others_outstanding_work() -> None:
    one, other = workers(2, model("chat", version("v1", 1000, "a", "b")))
    held = one.choose(ask(prompt_bytes=40_000))
    assert {name_of(other.choose()) for _ in range(20)} == {"a", "b"} - {name_of(held)}
    held.release(Outcome.OK, one.now)
    other.go(0.01)
    assert name_of(other.choose()) == name_of(held)


def test_a_worker_that_came_later_is_seen() -> None:
    one = World(model("chat", version("v1", 1000, "a", "b")))
    one.choose().release(Outcome.OK, one.now)
    other = World(model("chat", version("v1", 1000, "a", "b")), area=one.area, column=5)
    busy = {name_of(other.choose(ask(prompt_bytes=40_000)))}
    one.go(0.01)
    assert {name_of(one.choose()) for _ in range(10)} == {"a", "b"} - busy


def test_the_limit_of_a_backend_holds_over_all_workers() -> None:
    worlds = workers(3, model("chat", version("v1", 1000, "a", max_in_flight=5)))
    requests = [worlds[n % 3].request() for n in range(12)]
    assert sum(one.answer is not None for one in requests) == 5
    assert sum(sum(world.open().values()) for world in worlds) == 5


def test_a_worker_that_holds_all_places_leaves_some_to_the_others() -> None:
    one, other = workers(2, model("chat", version("v1", 1000, "a", max_in_flight=4)))
    held = [one.choose() for _ in range(4)]
    mine = [one.request() for _ in range(8)]
    theirs = [other.request() for _ in range(8)]
    for _ in range(4):
        held.pop(0).release(Outcome.OK, one.now)
        one.turn()
        held += [request.held for request in mine if request.answer is not None and request.answer not in held]
        other.go(0.1)
        one.go(0.1)
    # Both want more than there is: each has half.
    assert (one.open(), other.open()) == ({"a": 2}, {"a": 2})
    assert sum(request.answer is not None for request in mine + theirs) == 4


def test_the_length_of_the_queue_holds_over_all_workers() -> None:
    worlds = workers(2, model("chat", version("v1", 1000, "a", max_in_flight=1), queue=QueueSpec(max_waiting=4)))
    requests = [worlds[n % 2].request() for n in range(8)]
    refusals = [one for one in requests if one.answer is not None][1:]
    assert len(refusals) == 3
    assert {one.refusal.kind for one in refusals} == {RefusalKind.OVERLOADED}


def test_a_place_that_another_worker_frees_is_found_within_a_tenth_of_a_second() -> None:
    one, other = workers(2, model("chat", version("v1", 1000, "a", max_in_flight=1)))
    held = one.choose()
    waiting = other.request()
    other.go(0.5)
    assert waiting.answer is None
    held.release(Outcome.OK, one.now)
    other.go(0.1)
    assert waiting.held.held


def test_what_a_dead_worker_held_counts_no_more() -> None:
    spec = model("chat", version("v1", 1000, "a", max_in_flight=2))
    one, dead = workers(2, spec)
    dead.choose()
    dead.choose()
    waiting = one.request()
    dead.request()
    one.go(0.2)
    assert waiting.answer is None
    clear_column(one.area, 1)
    one.go(0.2)
    assert waiting.held.held
    assert one.choose().held  # the dead worker's request in the queue does not contend either


def test_the_next_worker_of_a_column_starts_from_nothing() -> None:
    spec = model("chat", version("v1", 1000, "a", max_in_flight=2))
    one, dead = workers(2, spec)
    dead.choose()
    dead.choose()
    dead.request()
    World(spec, area=one.area, column=1)
    assert one.choose().held
    assert one.choose().held  # nobody else waits, so it may have every place


def test_a_queue_without_a_row_is_counted_by_all_as_soon_as_it_has_one() -> None:
    area = new_area()
    one, other = Line("chat", "v1", Memory(area, 0)), Line("chat", "v1", Memory(area, 1))
    one.publish(3)
    other.want(True)
    assert (other.others(), other.contenders()) == (0, 0)
    one.want(True)
    other._memory.look()
    assert (other.others(), other.contenders()) == (3, 1)
    one.want(False)
    assert (other.others(), other.contenders()) == (0, 0)


def test_rows_are_agreed_on_and_used_again() -> None:
    area = new_area()
    one, other = Memory(area, 0), Memory(area, 1)
    rows = [one.backends.hold(key_of(str(n))) for n in range(100)]
    assert [other.backends.hold(key_of(str(n))) for n in reversed(range(100))] == rows[::-1]
    assert len(set(rows)) == 100


def test_rows_that_nobody_holds_are_given_away_when_all_are_used() -> None:
    area = new_area()
    one, other = Memory(area, 0), Memory(area, 1)
    for n in range(shared.BACKENDS):
        assert one.backends.hold(key_of(str(n))) is not None
    shared_row = other.backends.hold(key_of("7"))
    assert one.backends.hold(key_of("new")) is None
    assert shared_row is not None
    one.backends.drop(shared_row)
    assert one.backends.hold(key_of("new")) is None  # the other worker holds it yet
    other.backends.drop(shared_row)
    assert one.backends.hold(key_of("new")) == shared_row


def test_a_backend_without_a_row_is_counted_by_its_worker_alone_until_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    area = new_area()
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "hold", lambda self, key: None)  # as while a stopped worker holds its lock
        one = World(SPEC, area=area, column=0)
        held = [one.choose() for _ in range(40)]
        assert Counter(each.version for each in held) == {"v1": 38, "v2": 2}
        one.go(5.0)
    other = World(SPEC, area=area, column=1)
    assert name_of(other.choose()) == "a"
    one.go(5.0)
    # Now the rows are there, and hold what was open all the time.
    work = {report.backend: report.work for report in one.report().backends}
    assert sum(work.values()) == sum(each.outstanding for each in held)
    other.go(1.0)
    busy = other.chooser._pools["chat"].versions["v1"].replicas
    other.choose()
    assert [replica.others for replica in busy] == [19, 19]
    other_tickets = other.chooser._pools["chat"]._lane._tickets
    assert one.chooser._pools["chat"]._lane._tickets.row == other_tickets.row is not None


def test_the_lock_of_a_directory_is_free_after_a_search() -> None:
    area = new_area()
    memory = Memory(area, 0)
    assert memory.lanes.hold(1) is not None
    assert try_lock(area.fd, area.offset, Patience())
    unlock(area.fd, area.offset)


def test_an_area_may_begin_anywhere_in_its_file() -> None:
    whole = new_area()
    part = Area(whole.view, whole.fd, 4096)
    one = World(SPEC, area=part)
    assert Counter(one.choose().version for _ in range(1000)) == {"v1": 950, "v2": 50}
