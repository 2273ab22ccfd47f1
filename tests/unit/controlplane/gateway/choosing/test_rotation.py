"""The split of requests, and the place of sessions."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.choosing.lane import Lane
from controlplane.gateway.choosing.rotation import bounds, newest_first, point, rotation
from tests.fakes.choosing_world import TESTER, USER, World, ask, model, version

weights = st.lists(st.integers(0, 1000), min_size=1, max_size=5).filter(any)


def test_the_rotation_is_smooth() -> None:
    assert rotation((3, 1)) == (0, 0, 1, 0)
    assert rotation((5, 1, 1)) == (0, 0, 1, 0, 2, 0, 0)  # nginx's own example
    assert rotation((1000, 0)) == (0,)


def test_five_percent_come_at_every_twentieth_request() -> None:
    places = [place for place, which in enumerate(rotation((950, 50)) * 50) if which == 1]
    assert len(places) == 50
    assert {after - before for before, after in pairwise(places)} == {20}


@given(weights)
def test_the_rotation_holds_exactly_the_weights(weights: list[int]) -> None:
    table = rotation(tuple(weights))
    counts = Counter(table)
    whole = sum(weights)
    assert all(counts[place] * whole == weight * len(table) for place, weight in enumerate(weights))


@given(weights, st.integers(0, 3000), st.integers(1, 1500))
def test_any_stretch_of_the_rotation_is_close_to_the_weights(weights: list[int], start: int, length: int) -> None:
    table = rotation(tuple(weights))
    counts = Counter(table[place % len(table)] for place in range(start, start + length))
    for place, weight in enumerate(weights):
        assert abs(counts[place] - length * weight / sum(weights)) <= len(weights)


def which(names: list[str], weights: dict[str, int], session: str) -> str:
    able = newest_first(name for name in names if weights[name])
    at = point("team", session)
    return next(name for name, end in zip(able, bounds([weights[name] for name in able]), strict=True) if at < end)


@given(
    st.lists(st.sampled_from(["v1", "v2", "v10", "canary", "b-7"]), min_size=2, max_size=5, unique=True),
    st.data(),
)
def test_a_growing_canary_moves_no_session_back(names: list[str], data: st.DataObject) -> None:
    canary, *others = names
    before = {name: data.draw(st.integers(0, 300)) for name in names}
    before[others[0]] += 1000 - sum(before.values()) if sum(before.values()) < 1000 else 0
    whole = sum(before.values())
    after = {name: data.draw(st.integers(0, before[name])) for name in others}
    after[canary] = whole - sum(after.values())
    for session in map(str, range(300)):
        if which(names, before, session) == canary:
            assert which(names, after, session) == canary


def test_a_share_of_sessions_is_the_weight() -> None:
    counts = Counter(which(["v1", "v2"], {"v1": 750, "v2": 250}, str(n)) for n in range(10_000))
    assert 2_350 < counts["v2"] < 2_650


def test_names_of_versions_are_in_a_fixed_order() -> None:
    assert newest_first(["v9", "v10", "v1", "a"]) == ["v10", "v9", "v1", "a"]
    assert newest_first(reversed(["v9", "v10", "v1", "a"])) == ["v10", "v9", "v1", "a"]
    assert newest_first(["7", "x", "", "٣", "2024-01", "2024-1"])  # any text has a place


def test_sessions_of_different_tenants_do_not_move_together() -> None:
    assert point("a", "s") != point("b", "s")
    assert point("a", "s") == point("a", "s")


def test_the_new_split_holds_from_the_next_request_on() -> None:
    def at(share: int) -> object:
        return model("chat", version("v1", 1000 - share, "a"), version("v2", share, "b"))

    world = World(at(50))  # type: ignore[arg-type]
    for share in (50, 250, 1000, 0, 500):
        world.apply(at(share))  # type: ignore[arg-type]
        counts = Counter(world.choose().version for _ in range(1000))
        assert counts["v2"] == share


def test_sessions_and_testers_take_no_tickets() -> None:
    world = World(model("chat", version("v1", 500, "a"), version("v2", 500, "b")))
    plain = []
    for n in range(100):
        world.choose(ask(session=f"s{n}"))
        world.choose(ask(version="v2"), TESTER)
        plain.append(world.choose(caller=USER).version)
    assert Counter(plain) == {"v1": 50, "v2": 50}


def test_a_lane_without_versions_has_none() -> None:
    world = World()
    lane = Lane("chat", "", world.chooser._memory)
    lane.apply([])
    assert lane.way("t", "s") is None
    assert not lane.is_free(0.0)
