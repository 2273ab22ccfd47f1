from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.traffic.driver import EngineRefused, Preparation
from controlplane.traffic.proxies.shares import PRECISION, least_share, near, shares_of, whole_weights


@pytest.mark.parametrize(
    ("share", "servers", "weights"),
    [
        (0.05, (1, 1), (1, 19)),
        (0.5, (1, 1), (1, 1)),
        (0.05, (1, 3), (3, 19)),
        (1.0, (1, 1), (100, 0)),
        (0.25, (2, 1), (1, 6)),
    ],
)
def test_servers_of_one_version_share_its_part(
    share: float, servers: tuple[int, int], weights: tuple[int, int]
) -> None:
    counts = {"v2": servers[0], "v1": servers[1], "v0": 4}
    found = whole_weights({"v2": share, "v1": 1 - share}, counts, 256)
    assert found.weights == {"v2": weights[0], "v1": weights[1], "v0": 0}


@given(st.floats(0.005, 0.995), st.integers(1, 8), st.integers(1, 8))
def test_a_share_is_within_the_precision_or_refused(share: float, mine: int, others: int) -> None:
    counts = {"v2": mine, "v1": others}
    try:
        found = whole_weights({"v2": share, "v1": 1 - share}, counts, 256)
    except EngineRefused:
        return
    assert all(1 <= weight <= 256 for weight in found.weights.values())
    assert abs(found.shares(counts)["v2"] - share) <= PRECISION + 1e-9


def test_a_share_below_the_least_is_refused_with_the_least() -> None:
    with pytest.raises(EngineRefused, match=r"v2 cannot get 0.1% .* its smallest share is 0.39%; choose a larger"):
        whole_weights({"v2": 0.001, "v1": 0.999}, {"v1": 1, "v2": 1}, 256)
    assert round(least_share(1, 1, 256), 4) == 0.0039
    assert shares_of({"v1": 0, "v2": 0}) == {}


def test_planning_refuses_shares_that_the_backends_do_not_take() -> None:
    assert Preparation("", whole_only="h: static").unfit([0.0, 1.0]) == ()
    assert Preparation("", whole_only="h: static").unfit([0.05, 1.0]) == (
        "5% of the requests cannot be set: h: static",
    )
    assert Preparation("", least_share=0.01).unfit([0.001]) == ("0.1% of the requests cannot be set: the least is 1%",)
    assert Preparation("", least_share=0.01).unfit([0.05]) == ()


@pytest.mark.parametrize(
    ("found", "wanted", "result"),
    [
        ({"v1": 0.9, "v2": 0.1}, {"v1": 0.9, "v2": 0.1}, True),
        ({"v1": 0.9004, "v2": 0.0996}, {"v1": 0.9, "v2": 0.1}, True),
        ({"v1": 0.901, "v2": 0.099}, {"v1": 0.9, "v2": 0.1}, False),
        ({"v1": 1.0}, {"v1": 1.0, "v2": 0.0}, True),
        ({"v1": 0.9999, "v2": 0.0001}, {"v1": 1.0}, False),
        ({"v1": 1.0}, {"v1": 0.9999, "v2": 0.0001}, False),
        ({}, {"v1": 1.0}, False),
        ({}, {}, True),
    ],
)
def test_shares_are_near_where_the_same_versions_have_none(
    found: dict[str, float], wanted: dict[str, float], result: bool
) -> None:
    assert near(found, wanted) is result
