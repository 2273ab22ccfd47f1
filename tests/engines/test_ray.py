"""A real Ray Serve, read with its engine recognised. `make test-engines` installs and runs it.

One server serves all tests, because it starts for a minute: each test tells by how much the numbers grew.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.contract.real_servers import running
from tests.engines.environments import HERE, START_S, needs, program
from tests.engines.reading import Reading, fetched, grown, lost, read
from tests.engines.traffic import hang_up, post
from tests.patience import PROCESS_S
from tests.ports import free_address

pytestmark = needs("ray", "Ray Serve")

REQUESTS = ("llm_requests_total", "model", "outcome", "reason")


class RayServe(NamedTuple):
    """Addresses of a running Ray Serve, and what clients were answered so far."""

    chat: str
    metrics: str
    answered: Counter[tuple[str, str, str]]
    """Numbers of answers as `REQUESTS` has them."""

    async def ask(self, body: object, outcome: str) -> int:
        """Return the status of an answer, after counting it with the outcome that it should have."""
        status = await post(self.chat, body)
        self.answered["chat", outcome, str(status)] += 1
        return status

    async def counted(self) -> Reading:
        """Return the first reading with all answers so far: Ray renews its page every ten seconds."""
        async with asyncio.timeout(PROCESS_S):
            while True:
                seen = await read(self.metrics)
                found = {key: value for key, value in seen.by(*REQUESTS).items() if key[0]}
                if found == self.answered:
                    return seen
                # More than all will never be fewer.
                assert sum(found.values()) <= self.answered.total(), (found, self.answered)
                await asyncio.sleep(0.5)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayServe]:
    address, metrics = free_address(), free_address()
    ports = [each.split(":")[1] for each in (address, metrics)]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    # Ray has sockets below its folder, whose names may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        command = [str(program("ray")), str(HERE / "ray_server.py"), *ports, folder]
        log = tmp_path_factory.mktemp("ray")
        with running(command, log, f"http://{address}/ready", environment, within_s=START_S):
            asked = Counter({("chat", "success", "200"): 1})  # whether it is ready
            yield RayServe(f"http://{address}/v1/chat/completions", f"http://{metrics}/metrics", asked)


async def test_answers_are_counted_by_the_status_that_clients_got(serve: RayServe) -> None:
    before = await serve.counted()
    assert (before.health.health, before.health.engine) == ("up", "ray")
    assert (before.health.missing, before.health.unknown_labels) == ((), ())
    assert [await serve.ask({"model": "chat"}, "success") for _ in range(3)] == [200] * 3
    assert await serve.ask({"model": "chat", "stream": True}, "success") == 200
    assert await serve.ask({"model": "nowhere"}, "invalid") == 404
    assert await serve.ask({"model": "boom"}, "error") == 500
    assert await serve.ask(b"{not json", "error") == 500
    seen = await serve.counted()
    assert seen.by("llm_request_duration_seconds_count", "model")["chat",] == 8
    took = grown(
        before.by("llm_request_duration_seconds_sum", "model"), seen.by("llm_request_duration_seconds_sum", "model")
    )
    assert 10 <= took["chat",] < 60, "the stream takes 10 s"


async def test_requests_beyond_the_queue_are_rejected(serve: RayServe) -> None:
    statuses = await asyncio.gather(*(post(serve.chat, {"model": "slow"}) for _ in range(12)))
    assert set(statuses) == {200, 503}
    for status in statuses:
        serve.answered["chat", "success" if status == 200 else "rejected", str(status)] += 1
    await serve.counted()


async def test_a_stream_runs_while_it_is_sent_and_one_that_is_given_up_is_a_success(serve: RayServe) -> None:
    streams = [asyncio.create_task(serve.ask({"model": "chat", "stream": True}, "success")) for _ in range(2)]
    running_now: set[float] = set()
    while not all(stream.done() for stream in streams):
        running_now |= set((await read(serve.metrics)).by("llm_requests_running", "model").values())
        await asyncio.sleep(0.5)
    await hang_up(serve.chat, {"model": "chat", "stream": True}, after=b"data: 3")
    serve.answered["chat", "success", "200"] += 1
    seen = await serve.counted()
    assert max(running_now) == 2
    assert seen.by("llm_requests_waiting", "model") == {("chat",): 0}


async def test_this_server_still_has_what_is_read_of_the_capture(serve: RayServe) -> None:
    assert lost(await fetched(serve.metrics), "ray-serve-2.60.prom", "ray") == {}
