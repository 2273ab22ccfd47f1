"""Changes of the desired state while requests are open and wait."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.gateway.choosing.memory import BACKENDS
from controlplane.gateway.desired.document import BackendSpec, ModelSpec, TenantSpec, VersionSpec
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Outcome
from controlplane.gateway.seams import COLUMNS
from tests.fakes.choosing_world import TESTER, World, ask, backend, model, name_of, version

ONE = {"max_in_flight": 1}


def test_open_requests_of_a_removed_backend_go_on() -> None:
    world = World(model("chat", version("v1", 1000, "a", "b")))
    held = [world.choose() for _ in range(4)]
    world.apply(model("chat", version("v1", 1000, "b")))
    assert {name_of(world.choose()) for _ in range(4)} == {"b"}
    for one in held:
        one.first_byte(world.now)
        one.progress(10)
        one.release(Outcome.OK, world.now)
    assert world.open() == {"b": 4}


def test_a_backend_that_comes_back_has_its_open_requests_and_its_health() -> None:
    world = World(model("chat", version("v1", 1000, "a", "b")))
    held = [world.choose() for _ in range(6)]
    world.apply(model("chat", version("v1", 1000, "b")))
    world.apply(model("chat", version("v1", 1000, "a", "b")))
    assert world.open() == {"a": 3, "b": 3}
    for one in [one for one in held if name_of(one) == "a"]:
        one.release(Outcome.ERROR, world.now, connected=False)
    world.apply(model("chat", version("v1", 1000, "a", "b", max_in_flight=9)))
    assert [one.ejected for one in world.report().backends] == [True, False]


def test_a_new_specification_of_a_backend_holds_at_once() -> None:
    world = World(model("chat", version("v1", 1000, "a")))
    world.choose()
    world.apply(model("chat", version("v1", 1000, "a", max_in_flight=1)))
    assert world.request().answer is None
    world.apply(model("chat", version("v1", 1000, backend("a", served_model="other"))))
    world.turn()
    assert world.choose().backend.served_model == "other"


def test_a_limit_that_comes_and_goes_charges_no_tenant_wrongly() -> None:
    world = World(model("chat", version("v1", 1000, "a")))
    before, limited = world.choose(), model("chat", version("v1", 1000, "a", max_in_flight=9))
    world.apply(limited)
    fairness = world.chooser._pools["chat"].context.fairness
    before.release(Outcome.ERROR, world.now)
    assert fairness.served("team") == 0.0
    during = world.choose()
    assert fairness.served("team") > 0.0
    world.apply(model("chat", version("v1", 1000, "a")))
    during.release(Outcome.ERROR, world.now)
    assert fairness.served("team") == 0.0


def test_weights_of_tenants_change_without_the_models() -> None:
    spec = model("chat", version("v1", 1000, "a", max_in_flight=9))
    world = World(spec)
    world.apply(spec, tenants=(TenantSpec("team", weight=2.0),))
    world.choose(ask(max_tokens=50))
    assert world.chooser._pools["chat"].context.fairness.served("team") == (100 + 2 * 50) / 2


def test_requests_that_wait_for_a_removed_model_are_refused() -> None:
    world = World(model("chat", version("v1", 1000, "a", **ONE)))
    world.choose()
    waiting = [world.request() for _ in range(3)]
    world.apply()
    assert [one.answer for one in waiting] == [None] * 3  # told in the next turn
    world.turn()
    assert {one.refusal.kind for one in waiting} == {RefusalKind.UNKNOWN_MODEL}
    assert waiting[0].refusal.message.startswith("The model `chat` was removed while the request waited.")
    assert world.counters.waits["chat"] == 0


def test_requests_that_wait_for_a_version_without_weight_get_another_one() -> None:
    world = World(model("chat", version("v1", 1000, "a", **ONE), version("v2", 0, "b", **ONE)))
    world.choose()
    waiting = [world.request() for _ in range(2)]
    tester = [world.request(ask(version="v1"), TESTER) for _ in range(2)]
    world.apply(model("chat", version("v1", 0, "a", **ONE), version("v2", 1000, "b", **ONE)))
    world.turn()
    assert waiting[0].held.version == "v2"
    assert waiting[1].answer is None
    assert tester[0].answer is None  # a tester keeps the version, whatever it weighs
    waiting[0].held.release(Outcome.OK, world.now)
    world.turn()
    assert waiting[1].held.version == "v2"
    world.apply(model("chat", version("v2", 1000, "b", **ONE)))
    world.turn()
    assert tester[0].refusal.kind is RefusalKind.MALFORMED  # now there is no such version
    assert world.counters.waits["chat"] == 0


def test_requests_keep_their_place_when_they_change_the_version() -> None:
    world = World(model("chat", version("v1", 500, "a", **ONE), version("v2", 500, "b", **ONE)))
    first = [world.request() for _ in range(8)]
    world.apply(model("chat", version("v2", 1000, "b", **ONE)))
    order = []
    for _ in range(7):
        world.turn()
        current = next(one for one in first if one.answer is not None and one.held.held and name_of(one.held) == "b")
        order.append(first.index(current))
        current.held.release(Outcome.OK, world.now)
    assert order == sorted(order)


def test_a_version_that_loses_its_backends_refuses_what_waits() -> None:
    world = World(model("chat", version("v1", 1000, "a", **ONE)))
    world.choose()
    waiting = world.request()
    world.apply(model("chat", version("v1", 1000, backend("a", draining=True))))
    world.turn()
    assert waiting.refusal.kind is RefusalKind.NO_CAPACITY


def test_rows_of_what_is_gone_are_given_back() -> None:
    world = World()
    for n in range(3 * BACKENDS // 8):
        names = [f"b{n}-{m}" for m in range(8)]
        world.apply(model("chat", version("v1", 500, *names[:4], **ONE), version("v2", 500, *names[4:], **ONE)))
    assert all(world.chooser._pools["chat"].place() for _ in range(1))
    assert world.chooser._worker.replicas.place()
    world.apply()
    memory = world.chooser._memory
    assert not any(bytes(memory.backends._held))
    assert not any(bytes(memory.lanes._held))


names = st.sampled_from(["a", "b", "c", "d"])
backends = st.lists(
    st.builds(
        lambda name, limit, draining: backend(name, max_in_flight=limit, draining=draining),
        names,
        st.sampled_from([0, 1, 1, 2]),
        st.booleans(),
    ),
    max_size=4,
    unique_by=lambda one: one.url,
)
versions = st.lists(
    st.builds(
        lambda name, weight, found: VersionSpec(name, weight, tuple(found)),
        st.sampled_from(["v1", "v2", "v3"]),
        st.sampled_from([0, 50, 950, 1000]),
        backends,
    ),
    max_size=3,
    unique_by=lambda one: one.name,
)
models = st.lists(
    st.builds(
        lambda name, found, balance: ModelSpec(name, 1, tuple(found), balance=balance),
        st.sampled_from(["chat", "code"]),
        versions,
        st.sampled_from(["least-outstanding", "two-choices", "prefix"]),
    ),
    max_size=2,
    unique_by=lambda one: one.name,
)
steps: st.SearchStrategy[list[tuple[str, Any]]] = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), models),
        st.tuples(st.just("ask"), st.sampled_from(["chat", "code"])),
        st.tuples(st.just("ask"), st.sampled_from(["chat", "code"])),
        st.tuples(st.just("end"), st.sampled_from(list(Outcome))),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(st.just("go"), st.sampled_from([0.0, 0.3, 6.0])),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(models, steps)
def test_no_sequence_of_states_and_requests_loses_or_doubles_a_count(
    first: list[ModelSpec], steps: list[tuple[str, Any]]
) -> None:
    world = World(*first)
    for step, what in steps:
        if step == "apply":
            world.apply(*what)
        elif step == "ask":
            world.request(ask(what, prefix=7))
        elif step == "end":
            held = [one.held for one in world.requests if is_open(one.answer)]
            if held:
                held[len(held) // 2].release(what, world.now, connected=what is not Outcome.ERROR)
        elif step == "leave":
            waiting = [one for one in world.requests if one.answer is None]
            if what < len(waiting):
                waiting[what].place.cancel()
                world.requests.remove(waiting[what])
        else:
            world.go(what)
        world.turn()
        check(world)
    for one in world.requests:
        if is_open(one.answer):
            one.held.release(Outcome.OK, world.now)
    world.go(60.0)
    for one in world.requests:
        while is_open(one.answer):
            one.held.release(Outcome.OK, world.now)
            world.go(60.0)
    assert all(one.answer is not None for one in world.requests)
    world.apply()
    assert sum(world.counters.waits.values()) == 0
    assert sum(world.counters.out.values()) == 0
    memory = world.chooser._memory
    assert not any(memory.requests[row * COLUMNS] for row in range(64))
    assert not any(memory.work[row * COLUMNS] for row in range(64))
    assert not any(bytes(memory.backends._held))


def is_open(answer: Any) -> bool:
    return answer is not None and not isinstance(answer, Refusal) and bool(answer.held)


def check(world: World) -> None:
    """Compare what the chooser counts with the requests that are open and wait."""
    held = [one.held for one in world.requests if is_open(one.answer)]
    replicas = {id(one.replica): one.replica for one in held}
    for replica in replicas.values():
        mine = [one for one in held if one.replica is replica]
        assert replica.requests == len(mine)
        assert replica.work == sum(one.outstanding for one in mine)
        cell = replica._cell
        assert world.chooser._memory.requests[cell] == len(mine)
    assert sum(world.open().values()) <= len(held)
    waiting = sum(one.answer is None for one in world.requests)
    assert sum(report.waiting for report in world.report().models) == waiting
    assert sum(world.counters.waits.values()) == waiting


def test_backends_that_are_listed_twice_are_one() -> None:
    twice: tuple[BackendSpec, ...] = (backend("a"), backend("a"))
    world = World(model("chat", VersionSpec("v1", 1000, twice)))
    world.choose()
    assert [one.requests for one in world.report().backends] == [1]
