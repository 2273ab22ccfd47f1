from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.desired.document import LimitSpec
from controlplane.gateway.limits.shares import FLOOR, OTHERS, shares
from tests.fakes.limits import World, document

RATE = LimitSpec(requests_per_minute=60)
BUDGET = LimitSpec(daily_tokens=1000)


def test_one_gateway_has_everything() -> None:
    assert shares({"a": {"key/x": 0.7}}, {"key/x": RATE}) == {"a": {}}
    assert shares({}, {"key/x": RATE}) == {}


def test_without_demand_all_have_the_same() -> None:
    assert shares({"a": {}, "b": {}}, {"key/x": RATE}) == {"a": {OTHERS: 0.5}, "b": {OTHERS: 0.5}}


def test_what_nobody_wants_is_divided_evenly() -> None:
    divided = shares({"a": {"key/x": 0.3}, "b": {"key/x": 0.1}}, {"key/x": RATE})
    assert (divided["a"]["key/x"], divided["b"]["key/x"]) == pytest.approx((0.6, 0.4))


def test_too_much_demand_is_cut_in_proportion_and_an_idle_gateway_keeps_a_floor() -> None:
    divided = shares({"a": {"key/x": 3.0}, "b": {"key/x": 1.0}, "c": {}}, {"key/x": RATE})
    floor = FLOOR / 3
    expected = (floor + 0.9 * 0.75, floor + 0.9 * 0.25, floor)
    assert tuple(divided[name]["key/x"] for name in "abc") == pytest.approx(expected)


def test_a_budget_that_was_spent_elsewhere_is_not_given_out_again() -> None:
    """`a` spent 800 of 1000 in the morning. In the evening only `b` has requests: it gets a part of 200."""
    divided = shares({"a": {"key/x/daily_tokens": 800.0}, "b": {"key/x": 5000.0}}, {"key/x": BUDGET})
    assert divided["a"]["key/x/daily_tokens"] == pytest.approx(0.8 + 0.2 * 0.05)
    assert divided["b"]["key/x/daily_tokens"] == pytest.approx(0.2 * 0.95)


def test_a_budget_that_is_overspent_leaves_nothing_to_anybody() -> None:
    divided = shares({"a": {"key/x/daily_tokens": 900.0}, "b": {"key/x/daily_tokens": 300.0}}, {"key/x": BUDGET})
    assert 1000 * divided["a"]["key/x/daily_tokens"] <= 900
    assert 1000 * divided["b"]["key/x/daily_tokens"] <= 300


def test_limits_that_no_longer_exist_are_left_out() -> None:
    assert "key/gone" not in shares({"a": {"key/gone": 1.0}, "b": {}}, {})["a"]


amounts = st.floats(0, 1e6, allow_nan=False)


@given(st.lists(st.tuples(amounts, amounts), min_size=2, max_size=12))
def test_shares_never_sum_up_to_more_than_one(reports: list[tuple[float, float]]) -> None:
    spec = LimitSpec(requests_per_minute=60, daily_tokens=1000)
    demands = {
        f"gateway-{number}": {"key/x": wanted, "key/x/daily_tokens": spent}
        for number, (wanted, spent) in enumerate(reports)
    }
    divided = shares(demands, {"key/x": spec})
    for limit_id in ("key/x", "key/x/daily_tokens", OTHERS):
        assert sum(of_one.get(limit_id, 0.0) for of_one in divided.values()) <= 1.0 + 1e-9
    assert all(of_one["key/x"] >= FLOOR / len(reports) - 1e-12 for of_one in divided.values())


def test_gateways_converge_on_the_demand_and_admit_the_limit_together() -> None:
    """120 requests a minute for a limit of 60, 5 of 6 of them at one of two gateways; reports once a second."""
    limits = LimitSpec(requests_per_minute=60)
    busy, calm = World(document(limits, shares={"*": 0.5})), World(document(limits, shares={"*": 0.5}))
    admitted = {"busy": 0, "calm": 0}
    for second in range(360):
        if second == 300:
            admitted = {"busy": 0, "calm": 0}
        for name, world, every in (("busy", busy, 6), ("calm", calm, 30)):
            for tenth in range(10):
                if (second * 10 + tenth) % every == 0:
                    found = world.ask(0)
                    admitted[name] += not hasattr(found, "kind")
                world.sleep(0.1)
        demands = {"busy": busy.keeper.demand(busy.now), "calm": calm.keeper.demand(calm.now)}
        for name, world in (("busy", busy), ("calm", calm)):
            divided = shares(demands, {"key/ab12": limits})[name]
            world.keeper.apply(document(limits, shares=divided), world.now)
    assert 58 <= sum(admitted.values()) <= 61
    assert 46 <= admitted["busy"] <= 49  # floor of 3, and 5/6 of the 54 beside the floors
