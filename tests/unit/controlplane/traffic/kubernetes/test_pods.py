"""Pods of the versions: which are read, and what counts since the weights changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from controlplane.errors import Unavailable
from controlplane.traffic.engines.counters import Counted
from controlplane.traffic.kubernetes.pods import AGAIN_S, COUNT_S, MOST_PODS, Endpoints, Pods, endpoints_in
from controlplane.traffic.kubernetes.resource import Resource

Json = dict[str, Any]
ONE, SPLIT = {"v1": 1.0}, {"v1": 0.9, "v2": 0.1}


class Cluster:
    """Endpoints of Services, the counts of their servers, and a clock. A server without a count does not answer."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.places: dict[str, list[str]] = {"chat-v1": ["10.0.0.1"], "chat-v2": ["10.0.0.2"]}
        self.counts: dict[str, int] = {"10.0.0.1": 100, "10.0.0.2": 50}
        self.open: dict[str, int | None] = {}
        self.reads: list[str] = []
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def pods(self) -> Pods:
        counters: Any = {"v1": self, "v2": self}
        schemes = {"v1": "http", "v2": "https"}
        services = {"v1": "chat-v1", "v2": "chat-v2"}
        return Pods(self, "llm", services, counters, schemes, monotonic=lambda: self.now)  # type: ignore[arg-type]

    async def listed(self, resource: Resource, query: Mapping[str, str]) -> Json:
        assert resource.collection == "/apis/discovery.k8s.io/v1/namespaces/llm/endpointslices"
        if self.fault:
            raise self.fault
        service = query["labelSelector"].removeprefix("kubernetes.io/service-name=")
        return {"items": [sliced(*self.places[service])]}

    async def read(self, base: str, timeout_s: float) -> Counted | None:
        place = base.partition("://")[2].removesuffix(":8000")
        self.reads.append(base)
        await self.gate.wait()
        count = self.counts.get(place)
        return None if count is None else Counted(count, self.open.get(place, 0))

    async def counted(
        self, pods: Pods, weights: Mapping[str, float], after_s: float = AGAIN_S
    ) -> dict[str, int] | None:
        """Return the totals `after_s` seconds later."""
        self.now += after_s
        totals = (await pods.counted(weights)).totals
        return None if totals is None else dict(totals)


def sliced(*addresses: str, port: object = 8000, ready: object = True, family: str = "IPv4") -> Json:
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses]
    return {"addressType": family, "endpoints": endpoints, "ports": [{"port": port}]}


async def test_requests_count_from_the_first_reading() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    assert await cluster.counted(pods, SPLIT) == {"v1": 0, "v2": 0}
    cluster.counts = {"10.0.0.1": 109, "10.0.0.2": 51}
    assert await cluster.counted(pods, SPLIT) == {"v1": 9, "v2": 1}
    assert cluster.reads[:2] == ["http://10.0.0.1:8000", "https://10.0.0.2:8000"]


async def test_pods_are_not_read_more_often_than_a_scrape() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    await cluster.counted(pods, SPLIT)
    cluster.counts["10.0.0.1"] = 109
    assert await cluster.counted(pods, SPLIT, AGAIN_S - 0.1) == {"v1": 0, "v2": 0}
    assert len(cluster.reads) == 2
    assert await cluster.counted(pods, SPLIT, 0.1) == {"v1": 9, "v2": 0}


async def test_engine_that_starts_anew_counts_from_zero() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    await cluster.counted(pods, SPLIT)
    cluster.counts["10.0.0.1"] = 110
    assert await cluster.counted(pods, SPLIT) == {"v1": 10, "v2": 0}
    cluster.counts["10.0.0.1"] = 3
    assert await cluster.counted(pods, SPLIT) == {"v1": 13, "v2": 0}


async def test_pod_that_goes_takes_no_count_away_and_a_new_one_brings_none() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    await cluster.counted(pods, SPLIT)
    cluster.counts["10.0.0.1"] = 110
    await cluster.counted(pods, SPLIT)
    cluster.places["chat-v1"] = ["10.0.0.9"]
    cluster.counts["10.0.0.9"] = 5000
    assert await cluster.counted(pods, SPLIT) == {"v1": 10, "v2": 0}
    cluster.counts["10.0.0.9"] = 5001
    assert await cluster.counted(pods, SPLIT) == {"v1": 11, "v2": 0}


async def test_pod_that_was_not_read_at_the_change_does_not_bring_what_came_before_it() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    await cluster.counted(pods, ONE)
    del cluster.counts["10.0.0.1"]  # its metrics hang while the weights change
    assert await cluster.counted(pods, SPLIT) == {"v1": 0, "v2": 0}
    cluster.counts["10.0.0.1"] = 190
    assert await cluster.counted(pods, SPLIT) == {"v1": 0, "v2": 0}
    cluster.counts["10.0.0.1"] = 191
    assert await cluster.counted(pods, SPLIT) == {"v1": 1, "v2": 0}


async def test_change_is_read_at_once_and_counts_never_fall() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    await cluster.counted(pods, ONE)
    cluster.counts["10.0.0.1"] = 120
    assert await cluster.counted(pods, ONE) == {"v1": 20, "v2": 0}
    cluster.counts["10.0.0.1"] = 125
    assert await cluster.counted(pods, SPLIT, 0.0) == {"v1": 20, "v2": 0}
    cluster.counts["10.0.0.1"] = 126
    assert await cluster.counted(pods, SPLIT) == {"v1": 21, "v2": 0}


async def test_second_caller_at_a_change_gets_no_count_from_before_it() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    await cluster.counted(pods, ONE)
    cluster.counts["10.0.0.1"] = 120
    await cluster.counted(pods, ONE)
    cluster.gate.clear()
    both = [asyncio.create_task(pods.counted(SPLIT)) for _ in range(2)]
    await asyncio.sleep(0)
    cluster.counts["10.0.0.1"] = 130
    cluster.gate.set()
    first, second = await asyncio.gather(*both)
    assert first is second
    assert len(cluster.reads) == 6


async def test_share_that_has_held_for_long_is_not_counted() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    assert await cluster.counted(pods, ONE) == {"v1": 0, "v2": 0}
    assert await cluster.counted(pods, ONE, COUNT_S) == {"v1": 0, "v2": 0}
    assert await cluster.counted(pods, ONE, 0.1) is None
    assert await cluster.counted(pods, SPLIT, COUNT_S * 2) == {"v1": 0, "v2": 0}
    assert await cluster.counted(pods, SPLIT, COUNT_S * 2) == {"v1": 0, "v2": 0}


async def test_nothing_is_counted_where_no_pod_answers() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    cluster.counts = {}
    assert await cluster.counted(pods, SPLIT) is None
    cluster.fault = Unavailable("the API server does not answer")
    assert await cluster.counted(pods, SPLIT) is None


async def test_most_pods_that_are_read() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    cluster.places["chat-v1"] = [f"10.0.1.{number}" for number in range(MOST_PODS + 9)]
    cluster.counts |= dict.fromkeys(cluster.places["chat-v1"], 7)
    found = await pods.counted(SPLIT)
    assert (found.totals, found.open) == ({"v1": 0, "v2": 0}, None)  # open requests of the others are not known
    assert len(cluster.reads) == MOST_PODS + 1


async def test_open_requests() -> None:
    cluster = Cluster()
    pods = cluster.pods()
    cluster.places["chat-v1"] += ["10.0.0.3"]
    cluster.counts["10.0.0.3"] = 0
    cluster.open = {"10.0.0.1": 2, "10.0.0.3": 3, "10.0.0.2": 4}
    assert (await pods.counted(SPLIT)).open == {"v1": 5, "v2": 4}
    cluster.open["10.0.0.2"] = None  # an engine that tells none
    cluster.now += AGAIN_S
    assert (await pods.counted(SPLIT)).open is None
    cluster.open["10.0.0.2"] = 4
    del cluster.counts["10.0.0.3"]
    cluster.now += AGAIN_S
    assert (await pods.counted(SPLIT)).open is None


async def test_version_without_pods_has_no_open_requests() -> None:
    cluster = Cluster()
    cluster.places["chat-v2"] = []
    assert (await cluster.pods().counted(SPLIT)).open == {"v1": 0, "v2": 0}


async def test_pod_of_a_dual_stack_service_counts_once() -> None:
    cluster = Cluster()
    found = endpoints_in([sliced("10.0.0.1"), sliced("fd00::1", family="IPv6")])
    assert found.ready == {"10.0.0.1:8000", "[fd00::1]:8000"}
    cluster.listed = lambda *_: _both()  # type: ignore[method-assign]
    await cluster.pods().counted(SPLIT)
    assert cluster.reads == ["http://10.0.0.1:8000", "https://10.0.0.1:8000"]


async def _both() -> Json:
    return {"items": [sliced("10.0.0.1"), sliced("fd00::1", family="IPv6")]}


async def test_pod_of_an_ipv6_service_is_read() -> None:
    cluster = Cluster()

    async def listed(*_: object) -> Json:
        return {"items": [sliced("fd00::1", family="IPv6")]}

    cluster.listed = listed  # type: ignore[method-assign,assignment]
    await cluster.pods().counted(SPLIT)
    assert cluster.reads == ["http://[fd00::1]:8000", "https://[fd00::1]:8000"]


@pytest.mark.parametrize(
    ("slices", "found"),
    [
        ([], Endpoints()),
        ([sliced("10.0.0.1")], Endpoints(frozenset({"10.0.0.1:8000"}))),
        ([sliced("10.0.0.1", ready=False)], Endpoints(frozenset(), frozenset({"10.0.0.1:8000"}))),
        ([sliced("10.0.0.1", ready=None)], Endpoints(frozenset({"10.0.0.1:8000"}))),
        (
            [sliced("10.0.0.1"), sliced("10.0.0.1", ready=False), sliced("10.0.0.2", ready=False)],
            Endpoints(frozenset({"10.0.0.1:8000"}), frozenset({"10.0.0.2:8000"})),
        ),
        ([{"addressType": "IPv4", "endpoints": None, "ports": None}], Endpoints()),
        ([sliced("10.0.0.1", port=None)], Endpoints()),
        ([{**sliced(), "endpoints": [{"addresses": ["10.0.0.1"]}]}], Endpoints(frozenset({"10.0.0.1:8000"}))),
        (
            [{**sliced("10.0.0.1"), "ports": [{"name": "grpc", "port": 8001}, {"name": "http", "port": 8000}]}],
            Endpoints(frozenset({"10.0.0.1:8000"})),
        ),
        ([{**sliced(), "endpoints": [{"addresses": None}, "rubbish"]}], Endpoints()),
    ],
)
def test_endpoints(slices: list[Json], found: Endpoints) -> None:
    assert endpoints_in(slices) == found
