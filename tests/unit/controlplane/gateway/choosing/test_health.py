"""Ejection, probes and return of backends, second by second."""

from __future__ import annotations

from collections import Counter

import pytest

from controlplane.gateway.choosing.health import Health, Verdict
from controlplane.gateway.desired.document import ModelSpec
from controlplane.gateway.request import Outcome
from tests.fakes.choosing_world import World, ask, backend, model, name_of, version


def fleet(*names: str, **changes: object) -> ModelSpec:
    return model("chat", version("v1", 1000, *names, **changes))


def fail(world: World, name: str, times: int, outcome: Outcome = Outcome.ERROR, *, connected: bool = False) -> None:
    """Let requests to one backend fail. Those that go elsewhere are good."""
    while times:
        held = world.choose()
        if name_of(held) == name:
            held.release(outcome, world.now, connected=connected)
            times -= 1
        else:
            # Load on the others brings the next request to the failing one.
            open_ones.append(held)
    for held in open_ones:
        held.release(Outcome.OK, world.now)
    open_ones.clear()


open_ones: list = []  # type: ignore[type-arg]


def out(world: World) -> list[str]:
    return [one.backend.removeprefix("http://") for one in world.report().backends if one.ejected]


def test_three_failures_to_connect_eject_a_backend() -> None:
    world = World(fleet("a", "b"))
    fail(world, "a", 2)
    assert out(world) == []
    fail(world, "a", 1)
    assert out(world) == ["a"]
    assert {name_of(world.choose()) for _ in range(20)} == {"b"}
    assert world.counters.out == {("chat", "v1", "http://a"): 1}


def test_a_success_between_failures_to_connect_starts_the_count_anew() -> None:
    health = Health()
    for verdict in (Verdict.UNREACHED, Verdict.UNREACHED, *[Verdict.GOOD] * 4) * 3:
        assert not health.judge(verdict, 100.0, 0.0)
    assert not health.judge(Verdict.UNREACHED, 100.0, 0.0)


def test_half_of_the_recent_requests_failing_ejects_a_backend() -> None:
    health = Health()
    assert [health.judge(Verdict.GOOD, 1.0, 0.0) for _ in range(5)] == [False] * 5
    assert [health.judge(Verdict.FAILED, 1.0, 0.0) for _ in range(5)] == [False] * 4 + [True]


def test_old_failures_fade() -> None:
    health = Health()
    for second in range(0, 600, 10):
        assert not health.judge(Verdict.FAILED, 1.0, float(second))  # at most two count at any time
    # Exactly 1 + 1/2 + 1/4 …, which never reaches 5.
    assert health._bad == pytest.approx(2.0)


def test_aborts_invalid_requests_and_full_engines_eject_nothing() -> None:
    world = World(fleet("a", "b"))
    for outcome in (Outcome.ABORTED, Outcome.INVALID, Outcome.REJECTED):
        fail(world, "a", 20, outcome, connected=True)
        assert out(world) == []


def test_an_ejected_backend_is_probed_by_one_request() -> None:
    world = World(fleet("a", "b"))
    fail(world, "a", 3)
    world.go(4.9)
    assert {name_of(world.choose()) for _ in range(5)} == {"b"}
    world.go(0.2)
    probe = world.choose()
    assert (name_of(probe), probe.probe) == ("a", 1)
    assert {name_of(world.choose()) for _ in range(5)} == {"b"}
    probe.first_byte(world.now)
    assert out(world) == []
    assert name_of(world.choose()) == "a"
    assert world.counters.out == {("chat", "v1", "http://a"): 0}


def test_each_failed_probe_doubles_the_ejection() -> None:
    world = World(fleet("a", "b"))
    fail(world, "a", 3)
    for pause in (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0):
        world.go(pause - 0.1)
        assert name_of(world.choose()) == "b"
        world.go(0.1)
        probe = world.choose()
        assert name_of(probe) == "a"
        probe.release(Outcome.ERROR, world.now, connected=False)
    assert out(world) == ["a"]


def test_a_good_minute_forgives() -> None:
    world = World(fleet("a", "b"))
    for _ in range(2):
        fail(world, "a", 3)
        world.go(5.0)
        probe = world.choose()
        assert name_of(probe) == "a"
        probe.release(Outcome.OK, world.now)
        world.go(60.0)
        for held in [world.choose() for _ in range(4)]:
            held.release(Outcome.OK, world.now)


def test_a_probe_that_says_nothing_is_followed_by_another_one() -> None:
    world = World(fleet("a", "b"))
    fail(world, "a", 3)
    world.go(5.0)
    for outcome in (Outcome.ABORTED, Outcome.INVALID):
        probe = world.choose()
        assert name_of(probe) == "a"
        probe.release(outcome, world.now)
        assert out(world) == ["a"]
    assert name_of(world.choose()) == "a"


def test_a_probe_on_its_way_ends_nothing_that_has_ended_already() -> None:
    for outcome in (Outcome.OK, Outcome.ERROR):
        world = World(fleet("a", "b"))
        fail(world, "a", 3)
        world.go(5.0)
        probe = world.choose()
        assert name_of(probe) == "a"
        world.apply(fleet("a"))  # the last one cannot stay ejected
        assert world.counters.out == {("chat", "v1", "http://a"): 0}
        probe.release(outcome, world.now)
        assert out(world) == []
        assert world.counters.out == {("chat", "v1", "http://a"): 0}


def test_an_old_stream_neither_returns_a_backend_nor_ejects_it_for_longer() -> None:
    world = World(fleet("a", "b", "c", "d"))
    held = [world.choose() for _ in range(40)]
    on_a = [one for one in held if name_of(one) == "a"]
    for one in on_a[:3]:
        one.release(Outcome.ERROR, world.now, connected=False)
    assert out(world) == ["a"]
    world.go(4.9)
    on_a[3].release(Outcome.OK, world.now)
    assert out(world) == ["a"]
    for one in on_a[4:]:
        one.release(Outcome.CUT, world.now)
    assert world.counters.out == {("chat", "v1", "http://a"): 1}
    world.go(0.1)
    assert world.choose().probe


def test_the_last_requests_of_a_draining_backend_eject_nothing() -> None:
    world = World(fleet("a", "b", "c"))
    held = [world.choose() for _ in range(30)]
    world.apply(model("chat", version("v1", 1000, "b", "c", backend("a", draining=True))))
    for one in held:
        if name_of(one) == "a":
            one.release(Outcome.CUT, world.now)
    assert out(world) == []
    assert not world.counters.out


@pytest.mark.parametrize(("count", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_at_most_half_are_ejected_and_never_the_last(count: int, most: int) -> None:
    world = World(fleet(*"abcde"[:count]))
    for _ in range(60):
        world.choose().release(Outcome.ERROR, world.now, connected=False)
    assert len(out(world)) == most
    # Those that could not be ejected still get requests.
    assert name_of(world.choose()) not in out(world)


def test_draining_backends_do_not_count_as_the_other_half() -> None:
    world = World(model("chat", version("v1", 1000, "a", backend("b", draining=True))))
    for _ in range(10):
        world.choose().release(Outcome.ERROR, world.now, connected=False)
    assert out(world) == []


def test_a_desired_state_that_removes_the_healthy_ones_returns_the_ejected() -> None:
    world = World(fleet("a", "b", "c", "d"))
    fail(world, "a", 3)
    world.go(1.0)
    fail(world, "b", 3)
    assert out(world) == ["a", "b"]
    world.apply(fleet("a", "b", "c"))
    assert out(world) == ["b"]  # a is back first: its ejection would have ended earlier
    world.apply(fleet("b"))
    assert out(world) == []
    assert name_of(world.choose()) == "b"
    assert sum(world.counters.out.values()) == 0


def test_a_backend_that_is_removed_while_it_is_out_is_counted_out_no_more() -> None:
    world = World(fleet("a", "b"))
    fail(world, "a", 3)
    world.apply(fleet("b"))
    assert world.counters.out == {("chat", "v1", "http://a"): 0}
    world.apply(fleet("a", "b"))
    assert out(world) == []


def test_a_backend_that_fails_fast_does_not_look_idle() -> None:
    world = World(fleet("a", "b", "c"))
    first = world.choose()
    bad = name_of(first)
    first.release(Outcome.ERROR, world.now, connected=True)
    # Each failure weighs as the work it refused: the other two are preferred until they carry as much.
    names = [name_of(world.choose()) for _ in range(3)]
    assert names.count(bad) <= 1
    # Ten requests a second for half a minute. The good ones take a second, so five are open at each of b and c.
    world = World(fleet("a", "b", "c"))
    counts: Counter[str] = Counter()
    for _ in range(300):
        held = world.choose()
        counts[name_of(held)] += 1
        if name_of(held) == "a":
            held.release(Outcome.REJECTED, world.now)
        else:
            world.after(1.0, lambda held=held: held.release(Outcome.OK, world.now))  # type: ignore[misc]
        world.go(0.1)
    assert counts["a"] < 20


def test_the_load_of_a_failure_halves_in_ten_seconds() -> None:
    health = Health()
    health.judge(Verdict.FAILED, 400.0, 0.0)
    assert [health.load(at) for at in (0.0, 10.0, 20.0, 30.0)] == [400.0, 200.0, 100.0, 50.0]
    assert health.load(1000.0) == 0.0


def test_vetoes_are_avoided_while_another_backend_is_there() -> None:
    world = World(fleet("a", "b"))
    world.chooser.vetoes.say("http://a", world.now + 1.0)
    assert {name_of(world.choose()) for _ in range(6)} == {"b"}
    world.chooser.vetoes.say("http://b", world.now + 1.0)
    assert {name_of(world.choose()) for _ in range(12)} == {"a", "b"}  # all vetoed: no opinion
    world.chooser.vetoes.say("http://b", 0.0)
    assert name_of(world.choose()) == "b"
    world.go(1.0)
    assert name_of(world.choose()) == "a"  # stale: no opinion


def test_vetoes_of_removed_backends_are_forgotten() -> None:
    world = World(fleet("a", "b"))
    world.chooser.vetoes.say("http://a", world.now + 100.0)
    world.apply(fleet("b"))
    assert world.chooser.vetoes.latest == 0.0


def test_an_adapter_is_asked_at_its_only_backend_even_if_that_is_ejected() -> None:
    world = World(model("chat", version("v1", 1000, backend("a", adapters=("law",)), "b")))
    fail(world, "a", 3)
    assert out(world) == ["a"]
    assert name_of(world.choose(ask("law"))) == "a"
