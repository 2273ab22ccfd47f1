"""Which backend of a version gets a request."""

from __future__ import annotations

from collections import Counter

from controlplane.gateway.choosing.balance import better_of_two
from controlplane.gateway.choosing.memory import Memory
from controlplane.gateway.choosing.replica import Replica
from controlplane.gateway.choosing.ring import POINTS, Ring
from controlplane.gateway.request import Outcome
from tests.fakes.choosing_world import EMBED, USER, World, ask, backend, model, name_of, new_area, version


def replicas(*names: str) -> list[Replica]:
    memory = Memory(new_area(), 0)
    return [Replica(("m", "v", f"http://{name}", ""), backend(name), memory) for name in names]


def test_idle_backends_take_turns() -> None:
    world = World(model("chat", version("v1", 1000, "a", "b", "c")))
    counts: Counter[str] = Counter()
    for _ in range(9):
        held = world.choose()
        counts[name_of(held)] += 1
        held.release(Outcome.OK, world.now)
    assert counts == {"a": 3, "b": 3, "c": 3}


def test_tokens_rank_and_not_requests() -> None:
    world = World(model("chat", version("v1", 1000, "a", "b")))
    long = world.choose(ask(prompt_bytes=40_000, max_tokens=10))
    short = [name_of(world.choose(ask(prompt_bytes=400, max_tokens=10))) for _ in range(20)]
    assert set(short) == {"b", "a"} - {name_of(long)}
    # Its prompt is done: only the ten expected tokens are outstanding, and 20 short requests are more.
    long.first_byte(world.now)
    assert name_of(world.choose()) == name_of(long)


def test_progress_makes_a_backend_attractive_again() -> None:
    world = World(model("chat", version("v1", 1000, "a", "b")))
    first, second = world.choose(ask(max_tokens=100)), world.choose(ask(max_tokens=100))
    assert {name_of(first), name_of(second)} == {"a", "b"}
    second.first_byte(world.now)
    for _ in range(60):
        second.progress(1)
    report = {one.backend: one.work for one in world.report().backends}
    assert report == {first.backend.url: 200, second.backend.url: 40}
    third = world.choose()
    assert name_of(third) == name_of(second)
    second.progress(100)  # more than was expected: nothing is outstanding, and never less
    second.progress(5)
    report = {one.backend: one.work for one in world.report().backends}
    assert report == {first.backend.url: 200, second.backend.url: third.work}
    second.release(Outcome.OK, world.now)
    first.release(Outcome.OK, world.now)
    assert [one.work for one in world.report().backends if one.requests == 0] == [0]


def test_requests_rank_where_no_tokens_are_known() -> None:
    world = World(model("e", version("v1", 1000, "a", "b", "c")))
    one = ask("e", operation=EMBED, stream=False, prompt_bytes=10**6)
    assert Counter(name_of(world.choose(one)) for _ in range(30)) == {"a": 10, "b": 10, "c": 10}


def test_the_expected_length_follows_the_answers() -> None:
    world = World(model("chat", version("v1", 1000, "a")))
    assert world.choose().work == 100 + 256
    for _ in range(200):
        held = world.choose()
        held.progress(1000)
        held.release(Outcome.OK, world.now)
    assert world.choose().work in range(100 + 980, 100 + 1000)
    assert world.choose(ask(max_tokens=50)).work == 150


def test_two_choices_takes_the_better_of_two_different_backends() -> None:
    one, two, three = replicas("a", "b", "c")
    two.work = 100
    draws = iter([0.0, 0.0, 0.4, 0.9, 0.9, 0.9])
    assert better_of_two([one, two, three], lambda: next(draws), 0.0) is one  # of 0 and 1
    assert better_of_two([one, two, three], lambda: next(draws), 0.0) is one  # of 1 and 0
    assert better_of_two([one, two, three], lambda: next(draws), 0.0) is three  # of 2 and 1
    for first in range(10):
        for second in range(10):
            pair = iter([first / 10, second / 10])
            assert better_of_two([one, two], lambda pair=pair: next(pair), 0.0) is one  # type: ignore[misc]


def test_a_model_chooses_by_two_choices() -> None:
    world = World(model("chat", version("v1", 1000, "a", "b", "c"), balance="two-choices"), draws=iter([0.0, 0.0] * 50))
    # The draws name a and b alone, which share the requests.
    assert Counter(name_of(world.choose()) for _ in range(40)) == {"a": 20, "b": 20}


def test_a_prefix_goes_to_the_same_backend() -> None:
    world = World(model("chat", version("v1", 1000, *"abcdefgh"), balance="prefix"))
    seen = set()
    for prefix in range(1, 40):
        names = set()
        for _ in range(5):
            held = world.choose(ask(prefix=prefix))
            names.add(name_of(held))
            held.release(Outcome.OK, world.now)
        assert len(names) == 1
        seen |= names
    assert seen == set("abcdefgh")


def test_a_hot_prefix_spreads_at_the_load_bound() -> None:
    world = World(model("chat", version("v1", 1000, *"abcd"), balance="prefix"))
    for n in range(1, 201):
        world.choose(ask(prefix=7))
        # A backend is passed over above 1.25 (total + 1) / n, so it holds one more than that at most.
        assert max(world.open().values()) <= 1.25 * n / 4 + 1
    assert set(world.open()) == set("abcd")


def test_another_backend_moves_few_prefixes() -> None:
    old, new = Ring(replicas(*"abcd")), Ring(more := replicas(*"abcde"))
    by_name = {replica.spec.url: replica for replica in more}
    moved = 0
    for prefix in range(1, 1001):
        before = old.pick(prefix, old._owners[:1] + [one for one in old._owners if one.requests == 0])
        after = new.pick(prefix, more)
        assert before is not None
        assert after is not None
        if before.spec.url != after.spec.url:
            moved += 1
            assert after is by_name["http://e"]
    assert 100 < moved < 320


def test_the_ring_passes_over_backends_that_are_out() -> None:
    all_of_them = replicas(*"abc")
    ring = Ring(all_of_them)
    assert len(ring._places) == 3 * POINTS
    for prefix in range(1, 50):
        assert ring.pick(prefix, all_of_them[:1]) is all_of_them[0]
    assert ring.pick(1, replicas("z")) is None


def test_a_request_without_a_prefix_goes_to_the_least_busy() -> None:
    world = World(model("chat", version("v1", 1000, *"abc"), balance="prefix"))
    assert Counter(name_of(world.choose()) for _ in range(6)) == {"a": 2, "b": 2, "c": 2}


def test_a_retry_goes_to_a_backend_that_was_not_tried() -> None:
    world = World(model("chat", version("v1", 1000, *"abc")))
    first = world.choose()
    first.release(Outcome.ERROR, world.now)
    second = world.chooser.again(ask(), first, world.now)
    second.release(Outcome.ERROR, world.now)  # type: ignore[union-attr]
    third = world.chooser.again(ask(), second, world.now)  # type: ignore[arg-type]
    assert {name_of(one) for one in (first, second, third)} == set("abc")  # type: ignore[arg-type]
    third.release(Outcome.OK, world.now)  # type: ignore[union-attr]
    assert world.open() == {}


def test_the_only_backend_is_retried_itself() -> None:
    world = World(model("chat", version("v1", 1000, "a"), version("v2", 0, "b")))
    first = world.choose()
    first.release(Outcome.ERROR, world.now)
    assert name_of(world.chooser.again(ask(), first, world.now)) == "a"  # type: ignore[arg-type]
    assert world.chooser.model(ask(), USER) is not None
