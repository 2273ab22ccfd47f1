"""The queue of a model: who waits, who is served, who is shed, and what a refusal says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.choosing.overload.fairness import Fairness
from controlplane.gateway.choosing.overload.pressure import Drain, shed_chance
from controlplane.gateway.desired.document import ModelSpec, QueueSpec, TenantSpec
from controlplane.gateway.refusal import RefusalKind
from controlplane.gateway.request import Caller, Outcome
from tests.fakes.choosing_world import TESTER, USER, Request, World, ask, backend, model, name_of, version


def narrow(name: str = "chat", **changes: object) -> ModelSpec:
    """Return a model of one backend that takes one request at a time."""
    return model(name, version("v1", 1000, name[0], max_in_flight=1), **changes)


def caller(tenant: str, priority: int = 0) -> Caller:
    return Caller(tenant, tenant, priority=priority)


def drain(world: World, waiting: dict[str, Request]) -> list[str]:
    """Serve one request after the other, and return their names in the order in which they were served."""
    order: list[str] = []
    while True:
        held = [name for name, one in waiting.items() if one.answer is not None and name not in order]
        if not held:
            return order
        assert len(held) == 1
        order += held
        one = waiting[held[0]].held
        one.first_byte(world.now)
        one.progress(one.outstanding)  # as long as was expected, so that nothing is given back to the tenant
        one.release(Outcome.OK, world.now)
        world.turn()


def queue_up(world: World, *names: str, priority: dict[str, int] | None = None, **changes: Any) -> dict[str, Request]:
    """Occupy the backend, and let requests wait that are named TENANT+NUMBER. The first is the one in service."""
    return {
        name: world.request(ask(**changes), caller(name.rstrip("0123456789"), (priority or {}).get(name, 0)))
        for name in names
    }


def test_a_full_backend_makes_requests_wait() -> None:
    world = World(narrow())
    waiting = queue_up(world, "t0", "t1", "t2", "t3")
    assert [one.answer is not None for one in waiting.values()] == [True, False, False, False]
    assert world.counters.waits == {"chat": 3}
    assert drain(world, waiting) == ["t0", "t1", "t2", "t3"]
    assert world.counters.waits == {"chat": 0}
    assert world.open() == {}


def test_higher_priorities_are_served_first() -> None:
    world = World(narrow())
    waiting = queue_up(world, "t0", "t1", "t2", "t3", priority={"t2": 5, "t3": 1})
    assert drain(world, waiting) == ["t0", "t2", "t3", "t1"]


def test_a_low_priority_ages() -> None:
    world = World(narrow())
    waiting = queue_up(world, "t0", "old1")
    world.go(9.9)
    waiting |= queue_up(world, "t1", "t2", priority={"t1": 1, "t2": 2})
    world.go(0.1)
    # Ten seconds are two levels: it is level with the request of priority 2, and its tenant was served less.
    assert drain(world, waiting) == ["t0", "old1", "t2", "t1"]


def test_tenants_take_turns_by_the_tokens_that_they_were_served() -> None:
    world = World(narrow())
    waiting = queue_up(world, "big0", "big1", "big2", "big3", "small1", "small2", max_tokens=100)
    # The one in service was charged to big. Each then waits with the same work.
    assert drain(world, waiting) == ["big0", "big1", "small1", "big2", "small2", "big3"]


def test_a_tenant_of_twice_the_weight_is_served_twice_as_much() -> None:
    world = World(narrow(), tenants=(TenantSpec("gold", weight=2.0),))
    names = ["other"] + [f"gold{n}" for n in range(8)] + [f"iron{n}" for n in range(8)]
    order = drain(world, queue_up(world, *names, max_tokens=100))
    assert [name.rstrip("0123456789") for name in order[1:10]].count("gold") == 6


def test_an_idle_tenant_saves_nothing_up() -> None:
    fairness = Fairness({})
    fairness.charge("busy", 1000.0)
    fairness.join("busy", [])
    fairness.join("idle", ["busy"])
    assert fairness.served("idle") == 1000.0
    fairness.charge("idle", 500.0)
    fairness.join("new", [])
    assert fairness.served("new") == 1500.0  # nobody waits: that of the tenant that was served last


def test_the_number_of_tenants_is_bounded() -> None:
    fairness = Fairness({})
    for n in range(10_000):
        fairness.join(f"t{n}", [])
        fairness.charge(f"t{n}", 1.0)
    assert len(fairness._served) <= 4097


def test_unserved_tokens_are_given_back() -> None:
    world = World(narrow())
    fairness = world.chooser._pools["chat"].context.fairness
    for outcome, tokens, started, cost in [
        (Outcome.ERROR, 0, False, 0.0),
        (Outcome.OK, 10, True, 100 + 2 * 10),
        (Outcome.OK, 400, True, 100 + 2 * 400),
        (Outcome.ABORTED, 0, True, 100.0),
    ]:
        before = fairness.served("team")
        held = world.choose()
        if started:
            held.first_byte(world.now)
        held.progress(tokens)
        held.release(outcome, world.now)
        assert fairness.served("team") - before == pytest.approx(cost)


def test_a_request_waits_up_to_its_deadline() -> None:
    world = World(narrow(queue=QueueSpec(max_wait_s=2.0)))
    first = world.choose()
    late = world.request()
    world.go(1.9)
    assert late.answer is None
    world.go(0.2)
    assert late.refusal.kind is RefusalKind.OVERLOADED
    assert late.refusal.message == (
        "The model `chat` is overloaded: the request waited 2 s in the queue. Retry after 2 s."
    )
    assert world.counters.waits["chat"] == 0
    first.release(Outcome.OK, world.now)
    world.turn()
    assert world.open() == {}


def test_retry_after_is_the_time_to_drain_the_queue() -> None:
    world = World(narrow(queue=QueueSpec(max_waiting=3)))
    held = world.choose()
    for _ in range(20):  # one request in half a second
        world.go(0.5)
        held.release(Outcome.OK, world.now)
        held = world.choose()
    waiting = [world.request() for _ in range(3)]
    refusal = world.refused()
    assert refusal.kind is RefusalKind.OVERLOADED
    assert refusal.retry_after_s == pytest.approx(2.0, rel=0.05)  # four requests at two in a second
    assert refusal.message.endswith("3 requests wait already. Retry after 2 s.")
    assert all(one.answer is None for one in waiting)


def test_the_drain_rate_is_unknown_at_first_and_forgets() -> None:
    drain = Drain()
    assert drain.rate(0.0) is None
    for n in range(100):
        drain.note(n / 10)
    assert drain.rate(10.0) == pytest.approx(10.0, rel=0.02)
    assert drain.rate(20.0) == pytest.approx(10 * 0.63 * 0.37 / 0.86, rel=0.05)
    assert drain.rate(1000.0) is None
    assert Drain().retry_after(5, 30.0, 0.0) == 30.0
    assert Drain().retry_after(5, 300.0, 0.0) == 60.0
    assert Drain().retry_after(5, 0.1, 0.0) == 1.0


def test_low_priorities_are_shed_along_the_curve() -> None:
    assert [round(shed_chance(waiting, 4), 2) for waiting in range(8)] == [0.0, 0.0, 0.0, 0.02, 0.1, 0.29, 0.73, 1.0]
    assert shed_chance(1, 0) == pytest.approx(300 * 0.2**5)


@pytest.mark.parametrize(("draw", "shed"), [(0.09, True), (0.1, False)])
def test_a_request_below_zero_is_shed_first(draw: float, shed: bool) -> None:
    world = World(narrow(), draws=iter([0.99, draw]))
    world.choose()
    world.request(caller=caller("bulk", -1))  # nobody waits: it is never shed
    later = world.request(caller=caller("bulk", -1))  # one waits: s = 0.2, p = 0.096
    plain = world.request()
    assert (later.answer is not None) is shed
    assert plain.answer is None
    if shed:
        assert "low priority" in later.refusal.message


def test_a_full_queue_gives_the_lowest_priority_up_for_a_higher_one() -> None:
    world = World(narrow(queue=QueueSpec(max_waiting=2)), draws=iter([0.99] * 10))
    world.choose()
    low, lower = world.request(caller=caller("a", -1)), world.request(caller=caller("b", -2))
    refused = world.request(caller=caller("c", -2))
    assert refused.refusal.kind is RefusalKind.OVERLOADED
    plain = world.request()
    assert lower.answer is None  # told in the next turn, not within the other's call
    world.turn()
    assert lower.refusal.message.startswith(
        "The model `chat` is overloaded: the queue is full, and a request of a higher"
    )
    world.request()
    world.turn()
    assert low.refusal.kind is RefusalKind.OVERLOADED
    assert world.refused().kind is RefusalKind.OVERLOADED
    assert plain.answer is None
    assert world.counters.waits["chat"] == 2


def test_a_queue_of_length_zero_refuses_at_once() -> None:
    world = World(narrow(queue=QueueSpec(max_waiting=0)))
    world.choose()
    assert world.refused().kind is RefusalKind.OVERLOADED


def test_a_client_that_leaves_leaves_the_queue() -> None:
    world = World(narrow())
    waiting = queue_up(world, "t0", "t1", "t2", "t3")
    place = waiting["t2"].place
    assert place is not None
    place.cancel()
    place.cancel()
    assert world.counters.waits["chat"] == 2
    assert drain(world, waiting) == ["t0", "t1", "t3"]
    place = waiting["t3"].place
    assert place is not None
    place.cancel()  # granted before: nothing happens
    assert world.counters.waits["chat"] == 0


def test_a_client_that_leaves_between_the_release_and_the_grant_is_not_granted() -> None:
    world = World(narrow())
    waiting = queue_up(world, "t0", "t1", "t2")
    waiting["t0"].held.release(Outcome.OK, world.now)
    waiting["t1"].place.cancel()  # type: ignore[union-attr]
    world.turn()
    assert waiting["t1"].answer is None
    assert waiting["t2"].held.held


def test_a_request_that_comes_now_does_not_overtake_those_that_wait() -> None:
    world = World(narrow())
    waiting = queue_up(world, "t0", "t1")
    waiting["t0"].held.release(Outcome.OK, world.now)
    late = world.request()  # the place is free, but t1 was not told yet
    assert late.answer is None
    world.turn()
    assert waiting["t1"].held.held
    assert late.answer is None


def test_a_fault_of_one_request_does_not_keep_the_others_waiting() -> None:
    world = World(narrow())
    first = world.choose()
    spec = world.chooser.named("chat", USER)
    assert spec is not None

    def broken(_: object) -> None:
        raise ValueError("no")

    world.chooser.choose(ask(), TESTER, spec, world.now, broken)
    good = world.request()
    first.release(Outcome.OK, world.now)
    world.turn()
    assert good.held.held


def test_a_queue_of_one_version_does_not_stop_another() -> None:
    world = World(
        model("chat", version("v1", 500, "a", max_in_flight=1), version("v2", 500, "b", max_in_flight=10)),
    )
    requests = [world.request() for _ in range(8)]
    assert sum(one.answer is not None for one in requests) == 5  # one of v1, four of v2
    assert world.open() == {"a": 1, "b": 4}


def test_a_full_backend_of_an_adapter_does_not_stop_the_others() -> None:
    world = World(
        model(
            "chat", version("v1", 1000, backend("a", max_in_flight=1, adapters=("law",)), backend("b", max_in_flight=2))
        )
    )
    world.choose(ask("law"))
    law = world.request(ask("law"))
    plain = [world.request() for _ in range(2)]
    world.turn()
    assert law.answer is None
    assert [name_of(one.held) for one in plain] == ["b", "b"]
    more = world.request()
    plain[0].held.release(Outcome.OK, world.now)
    world.turn()
    assert name_of(more.held) == "b"


def test_a_full_model_degrades_to_a_smaller_one() -> None:
    world = World(narrow("large", degrade_to="small"), narrow("small"))
    assert world.choose(ask("large")).degraded_from == ""
    held = world.choose(ask("large"))
    assert (held.model.name, held.degraded_from, name_of(held)) == ("small", "large", "s")
    waits = world.request(ask("large"))  # both are full: it waits for the model that it asked for
    assert waits.answer is None
    assert world.report().models[0].waiting == 1
    held.release(Outcome.ERROR, world.now)
    again = world.chooser.again(ask("large"), held, world.now)
    assert again.degraded_from == "large"  # type: ignore[union-attr]


@pytest.mark.parametrize("why", ["continued", "pinned", "adapter", "not allowed", "no such model"])
def test_some_requests_are_never_degraded(why: str) -> None:
    large = model(
        "large",
        version("v1", 1000, "l", max_in_flight=1, adapters=("law",)),
        degrade_to="missing" if why == "no such model" else "small",
    )
    world = World(large, model("small", version("v1", 1000, "s")))
    world.choose(ask("large"))
    changes = {"continued": why == "continued", "version": "v1" if why == "pinned" else ""}
    who = replace(TESTER, models=frozenset({"large"}) if why == "not allowed" else None)
    assert world.request(ask("law" if why == "adapter" else "large", **changes), who).answer is None


@pytest.mark.parametrize("listed", [True, False])
def test_a_path_passes_to_a_smaller_model_only_if_that_lists_it(listed: bool) -> None:
    small = model("small", version("v1", 1000, "s"), paths=("/custom",) if listed else ())
    world = World(narrow("large", degrade_to="small", paths=("/custom",)), small)
    world.choose(ask("large"))
    assert (world.request(ask("large", listed_path="/custom")).answer is not None) == listed


def test_degrading_takes_no_tickets_of_a_small_model_that_is_full() -> None:
    small = model(
        "small",
        version("v1", 500, "a"),
        version("v2", 500, "b", max_in_flight=1),
    )
    world = World(narrow("large", degrade_to="small"), small)
    world.choose(ask("large"))
    world.choose(ask("small"))
    world.choose(ask("small"))
    before = world.chooser._pools["small"]._lane._tickets.take()
    for _ in range(5):
        assert world.request(ask("large")).answer is None
    assert world.chooser._pools["small"]._lane._tickets.take() == before + 1


def test_a_backend_that_comes_back_serves_the_queue() -> None:
    world = World(model("chat", version("v1", 1000, "a", "b", max_in_flight=2)))
    held = [world.choose() for _ in range(4)]
    for one in [one for one in held if name_of(one) == "a"]:
        one.release(Outcome.ERROR, world.now, connected=False)
    held.append(world.choose())
    held[-1].release(Outcome.ERROR, world.now, connected=False)  # the third: a is out
    waiting = world.request()
    world.turn()
    assert waiting.answer is None
    world.go(5.2)  # the ejection ends: the waiting request is the probe
    assert name_of(waiting.held) == "a"


def test_new_backends_serve_the_queue() -> None:
    world = World(narrow())
    waiting = queue_up(world, "t0", "t1", "t2", "t3")
    world.apply(model("chat", version("v1", 1000, "c", "d", max_in_flight=1)))
    world.turn()
    assert [one.answer is not None for one in waiting.values()] == [True, True, False, False]
    world.apply(model("chat", version("v1", 1000, "c", "d")))  # no limit any more
    world.turn()
    assert all(one.answer is not None for one in waiting.values())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 2), st.floats(0.0, 3.0)), max_size=25))
def test_everyone_who_waits_is_answered_once(arrivals: list[tuple[str, int, float]]) -> None:
    world = World(narrow(queue=QueueSpec(max_waiting=10, max_wait_s=20.0)))
    held = [world.request()]
    for tenant, priority, pause in arrivals:
        held.append(world.request(caller=caller(tenant, priority)))
        world.go(pause)
        for one in held:
            if one.answer is not None and hasattr(one.answer, "held") and one.answer.held and pause > 1.5:
                one.held.release(Outcome.OK, world.now)
        assert sum(world.open().values()) <= 1
    world.go(30.0)
    for _ in held:
        for one in held:
            if hasattr(one.answer, "held") and one.answer.held:  # type: ignore[union-attr]
                one.held.release(Outcome.OK, world.now)
        world.turn()
    assert all(one.answer is not None for one in held)
    assert world.open() == {}
    assert world.counters.waits["chat"] == 0
