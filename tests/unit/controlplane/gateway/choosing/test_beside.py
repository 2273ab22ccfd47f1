"""What is decided beside a request: second attempts, copies, answers from the cache."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from controlplane.gateway.choosing.cache import ResponseCache
from controlplane.gateway.choosing.hedging import FirstEvents, HedgeBudget, Portion
from controlplane.gateway.desired.document import CacheSpec, HedgeSpec, MirrorSpec, ModelSpec
from controlplane.gateway.request import Outcome, TokenCounts
from controlplane.gateway.seams import StoredAnswer
from tests.fakes.choosing_world import EMBED, TESTER, USER, World, ask, model, name_of, version


def test_the_quantile_of_first_events() -> None:
    first = FirstEvents()
    for _ in range(99):
        first.note(0.1)
    assert first.quantile(0.95) is None  # too few
    first.note(2.0)
    assert first.quantile(0.95) == pytest.approx(0.1, rel=0.1)
    assert first.quantile(0.995) == pytest.approx(2.0, rel=0.1)
    for _ in range(20):
        first.note(5.0)
    assert first.quantile(0.95) == pytest.approx(5.0, rel=0.1)
    first.note(0.0)
    first.note(1e9)
    for _ in range(10_000):
        first.note(0.01)
    assert first.quantile(0.95) == pytest.approx(0.01, rel=0.1)


def test_no_more_than_the_share_is_hedged() -> None:
    budget, spec = HedgeBudget(), HedgeSpec(share=0.02)
    hedged = 0
    for _ in range(100_000):
        budget.request()
        if budget.allows(spec):
            budget.hedge()
            hedged += 1
    assert hedged == 2000


def test_a_portion_is_exact() -> None:
    for share in (0.1, 0.25, 1 / 3, 0.7, 1.0):
        portion = Portion()
        assert sum(portion.take(share) for _ in range(3000)) == pytest.approx(3000 * share, abs=1)
    portion = Portion()
    assert [portion.take(0.25) for _ in range(8)] == [False, False, False, True] * 2


def hedged(*names: str, **changes: object) -> ModelSpec:
    return model("chat", version("v1", 1000, *names), hedge=HedgeSpec(share=0.2), **changes)


def warm(world: World, seconds: float, count: int = 100) -> None:
    for _ in range(count):
        held = world.choose()
        held.first_byte(world.now + seconds)
        held.release(Outcome.OK, world.now + seconds)


def test_a_late_first_event_deserves_a_second_attempt_elsewhere() -> None:
    world = World(hedged("a", "b"))
    assert world.chooser.hedge_after(world.choose()) is None  # nothing is known yet
    warm(world, 0.5)
    first = world.choose()
    assert world.chooser.hedge_after(first) == pytest.approx(0.5, rel=0.1)
    second = world.chooser.hedge(ask(), first, world.now)
    assert second is not None
    assert name_of(second) != name_of(first)
    third = world.chooser.hedge(ask(), second, world.now)
    assert third is None  # no backend is left
    for one in (first, second):
        one.release(Outcome.ABORTED, world.now)


def test_streams_and_whole_answers_are_told_apart() -> None:
    world = World(hedged("a", "b"))
    warm(world, 0.5)
    assert world.chooser.hedge_after(world.choose(ask(stream=False))) is None


def test_hedges_stop_while_the_model_is_under_pressure() -> None:
    spec = model("chat", version("v1", 1000, "a", "b", max_in_flight=2), hedge=HedgeSpec(share=0.2))
    world = World(spec)
    warm(world, 0.5)
    held = [world.choose() for _ in range(4)]
    waiting = world.request()
    held[0].release(Outcome.OK, world.now)
    world.turn()
    assert waiting.answer is not None
    held[1].release(Outcome.OK, world.now)
    assert world.chooser.hedge(ask(), held[2], world.now) is None  # one waited just now
    world.go(10.0)
    assert world.chooser.hedge(ask(), held[2], world.now) is not None


def test_hedging_is_off_unless_given_and_needs_two_backends() -> None:
    world = World(hedged("a"), model("other", version("v1", 1000, "a", "b")))
    warm(world, 0.5)
    assert world.chooser.hedge_after(world.choose()) is None
    for _ in range(200):
        held = world.choose(ask("other"))
        held.first_byte(world.now + 1.0)
        held.release(Outcome.OK, world.now)
    held = world.choose(ask("other"))
    assert world.chooser.hedge_after(held) is None
    assert world.chooser.hedge(ask("other"), held, world.now) is None


def test_the_share_of_hedges_is_bounded() -> None:
    world = World(model("chat", version("v1", 1000, "a", "b"), hedge=HedgeSpec(share=0.02)))
    count = 0
    for _ in range(500):
        first = world.choose()
        second = world.chooser.hedge(ask(), first, world.now)
        if second is not None:
            count += 1
            second.release(Outcome.ABORTED, world.now)
        first.release(Outcome.OK, world.now)
    assert count == 10


def test_a_share_of_requests_is_copied_to_another_version() -> None:
    world = World(
        model("chat", version("v1", 1000, "a"), version("v2", 0, "b"), mirror=MirrorSpec("v2", 0.25)),
    )
    copies = []
    for _ in range(40):
        copy = world.chooser.mirror(ask(), world.choose(), world.now)
        if copy is not None:
            copies.append(copy)
    assert Counter(one.version for one in copies) == {"v2": 10}
    assert world.open() == {"a": 40, "b": 10}
    assert world.chooser.mirror(ask(), world.choose(ask(version="v2"), TESTER), world.now) is None


def test_copies_never_wait_and_cost_no_tenant_anything() -> None:
    world = World(
        model(
            "chat",
            version("v1", 1000, "a"),
            version("v2", 0, "b", max_in_flight=1),
            version("v3", 0),
            mirror=MirrorSpec("v2", 1.0),
        ),
    )
    held = world.choose()
    fairness = world.chooser._pools["chat"].context.fairness
    served = fairness.served("team")
    copy = world.chooser.mirror(ask(), held, world.now)
    assert copy is not None
    assert world.chooser.mirror(ask(), held, world.now) is None  # full
    copy.release(Outcome.OK, world.now)
    assert fairness.served("team") == served
    world.apply(model("chat", version("v1", 1000, "a"), version("v3", 0), mirror=MirrorSpec("v3", 1.0)))
    assert world.chooser.mirror(ask(), held, world.now) is None  # no backend


def answer(body: bytes, status: int = 200) -> StoredAnswer:
    return StoredAnswer(status, [(b"content-type", b"application/json")], body, TokenCounts(1, 2), "http://a")


def test_the_cache_answers_equal_requests_for_a_time() -> None:
    cache = ResponseCache(CacheSpec(ttl_s=60.0))
    key = cache.key(ask(), USER, "v1", b"/v1/chat/completions", b"{}")
    cache.put(key, answer(b"hello"), 100.0)
    assert cache.get(key, 159.9) == answer(b"hello")
    assert cache.get(key, 160.0) is None
    assert (len(cache), cache.size) == (0, 0)


def test_what_makes_two_requests_equal() -> None:
    cache = ResponseCache(CacheSpec())
    keys = {
        cache.key(ask(), USER, "v1", b"/a", b"{}"),
        cache.key(ask(), TESTER, "v1", b"/a", b"{}"),  # another key of the same tenant
        cache.key(ask(), USER, "v2", b"/a", b"{}"),
        cache.key(ask("adapter"), USER, "v1", b"/a", b"{}"),
        cache.key(ask(), USER, "v1", b"/b", b"{}"),
        cache.key(ask(), USER, "v1", b"/a", b"{ }"),
        cache.key(ask(operation=EMBED), USER, "v1", b"/a", b"{}"),
        cache.key(ask(), USER, "v1/", b"a", b"{}"),
    }
    keys.add(cache.key(ask(), replace(USER, tenant="other"), "v1", b"/a", b"{}"))
    assert (
        len(keys) == 7
    )  # the tenant, the model, the version, the target and the body tell apart; key and operation do not


def test_the_cache_is_bounded_in_bytes() -> None:
    cache = ResponseCache(CacheSpec(max_bytes=100_000))
    for n in range(1000):
        cache.put(n.to_bytes(4, "big"), answer(bytes(4000)), 0.0)
        cache.get(bytes(4), 0.0)  # the first one is used again and again, so it stays
        assert cache.size <= 100_000
    assert 15 < len(cache) < 25
    assert cache.get(bytes(4), 0.0) is not None
    assert cache.get((1).to_bytes(4, "big"), 0.0) is None
    cache.put(b"large", answer(bytes(20_000)), 0.0)
    cache.put(b"bad", answer(b"", 500), 0.0)
    assert cache.get(b"large", 0.0) is None
    assert cache.get(b"bad", 0.0) is None
    size = cache.size
    cache.put(bytes(4), answer(bytes(3000)), 0.0)
    assert cache.size == size - 1000


def test_a_model_has_a_cache_if_it_says_so() -> None:
    spec = model("chat", version("v1", 1000, "a"), cache=CacheSpec())
    world = World(spec)
    cache = world.chooser.cache(spec)
    assert cache is not None
    cache.put(b"k", answer(b"x"), world.now)
    world.apply(model("chat", version("v1", 1000, "a"), cache=CacheSpec(ttl_s=5.0)))
    assert world.chooser.cache(spec) is cache
    assert world.report().models[0].cached_bytes > 0
    assert cache.get(b"k", world.now + 5.0) is None
    world.apply(model("chat", version("v1", 1000, "a")))
    assert world.chooser.cache(spec) is None
