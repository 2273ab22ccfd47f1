"""What an observation says of the traffic."""

from __future__ import annotations

import pytest

from controlplane.traffic.driver import BackendObservation, all_to


@pytest.mark.parametrize(
    ("weights", "serving", "served"),
    [
        (all_to("v1"), "v1", "v1"),
        (all_to(None), None, "no version"),
        ({"v1": 0.0, "v2": 1.0}, "v2", "v2"),
        ({"v1": 0.95, "v2": 0.05}, None, "v1 95% and v2 5%"),
    ],
)
def test_who_serves_is_one_version_or_a_split(weights: dict[str, float], serving: str | None, served: str) -> None:
    backend = BackendObservation("http://a", True, {}, {}, weights)
    assert (backend.serving, backend.served) == (serving, served)
