from __future__ import annotations

from controlplane.traffic.proxies.counting import Counts
from controlplane.traffic.proxies.routing import InstanceSeen


def seen(name: str, life: str, **totals: int) -> InstanceSeen:
    return InstanceSeen(name, {"v1": 1.0}, totals=totals, life=life)


def test_requests_count_from_the_first_sight_of_the_weights() -> None:
    counts, half = Counts(), {"v1": 0.5, "v2": 0.5}
    assert counts.since(half, [seen("a", "1", v1=10, v2=3)]) == {"v1": 0, "v2": 0}
    assert counts.since(half, [seen("a", "1", v1=12, v2=4)]) == {"v1": 2, "v2": 1}
    assert counts.since({"v2": 1.0}, [seen("a", "1", v1=12, v2=9)]) == {"v1": 0, "v2": 0}


def test_counters_of_another_process_begin_at_zero_and_instances_add_up() -> None:
    counts, whole = Counts(), {"v1": 1.0}
    counts.since(whole, [seen("a", "1", v1=10), seen("b", "1", v1=100)])
    assert counts.since(whole, [seen("a", "2", v1=3), seen("b", "1", v1=101)]) == {"v1": 4}
    assert counts.since(whole, [seen("a", "2", v1=5)]) == {"v1": 5}
    assert counts.since(whole, [InstanceSeen("a", whole)]) is None
