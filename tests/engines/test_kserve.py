"""A real server of KServe, read with its engine recognised. `make test-engines` installs and runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.real_servers import running
from tests.engines.environments import HERE, START_S, needs, program
from tests.engines.reading import fetched, lost, read
from tests.engines.traffic import hang_up, post
from tests.ports import free_address

pytestmark = needs("kserve", "KServe")


@pytest.fixture
def kserve(tmp_path: Path) -> Iterator[str]:
    address, grpc = free_address(), free_address()
    ports = [each.split(":")[1] for each in (address, grpc)]
    command = [str(program("kserve")), str(HERE / "kserve_server.py"), *ports]
    with running(command, tmp_path, f"http://{address}/v2/health/ready", within_s=START_S):
        yield f"http://{address}"


async def test_a_server_without_a_request_is_up_and_not_recognised_yet(kserve: str) -> None:
    seen = await read(f"{kserve}/metrics")
    assert (seen.health.health, seen.health.engine, seen.values) == ("up", "auto", {})
    assert seen.health.remark.startswith("exposes no metrics of an engine yet")

    named = await read(f"{kserve}/metrics", engine="kserve")
    assert named.health.missing == ("llm_requests_total", "llm_request_duration_seconds"), "up but blind"
    assert named.health.instead.startswith("answers with metrics of its process only")


async def test_each_request_that_reached_a_model_is_counted_whatever_became_of_it(kserve: str) -> None:
    v1, v2 = f"{kserve}/v1/models/chat:predict", f"{kserve}/v2/models/chat/infer"
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}
    assert [await post(v1, {"instances": [number]}) for number in range(3)] == [200] * 3
    assert await post(v2, {"id": "1", "inputs": [tensor]}) == 200
    assert await post(v1, {"instances": ["boom"]}) == 500
    assert await post(v1, {"instances": ["bad"]}) == 400
    assert await post(v1, {"no": "instances"}) == 500
    assert await post(f"{kserve}/v1/models/nowhere:predict", {"instances": [1]}) == 404
    assert await post(v1, b"{not json") == 400
    assert await post(f"{kserve}/v1/models/chat-v2:predict", {"instances": [1]}) == 200
    await hang_up(v1, {"instances": [0.5]})

    seen = await read(f"{kserve}/metrics")
    while seen.by("llm_requests_total", "served_model")["chat",] < 8:
        seen = await read(f"{kserve}/metrics")
    assert (seen.health.engine, seen.health.missing, seen.health.unknown_labels) == ("kserve", (), ())
    assert seen.metrics == {"llm_requests_total", "llm_request_duration_seconds"}
    assert seen.by("llm_requests_total", "served_model", "model", "outcome", "source") == {
        ("chat", "chat", "unknown", "engine"): 8,
        ("chat-v2", "chat-v2", "unknown", "engine"): 1,
    }, "also those that failed or were given up, and none that KServe refused itself"
    assert seen.by("llm_request_duration_seconds_count", "model") == {("chat",): 8, ("chat-v2",): 1}
    assert 0.5 <= seen.by("llm_request_duration_seconds_sum", "model")["chat",] < 5


async def test_this_server_still_has_what_is_read_of_the_capture(kserve: str) -> None:
    await post(f"{kserve}/v1/models/chat:predict", {"instances": [1]})
    assert lost(await fetched(f"{kserve}/metrics"), "kserve-0.21.prom", "kserve") == {}
