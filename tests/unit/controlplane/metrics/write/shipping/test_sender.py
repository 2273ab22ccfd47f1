"""The sender's reaction to each answer, as timelines on a virtual clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from controlplane.errors import Unavailable
from controlplane.metrics.write.shipping.segments import Position
from controlplane.metrics.write.shipping.sender import HEADERS, Policy, RowSender
from controlplane.metrics.write.shipping.window import Window, WindowRequest
from controlplane.remote_client import Reply

START = 1_700_000_000.0
Answer = Callable[[], Reply]


class World:
    """A clock, and a server that answers by its script: each request gets its own, which ends in taking it."""

    name = "http://mimir/push"

    def __init__(self, script: dict[bytes, list[Answer]] | None = None) -> None:
        self.time = START
        self.script = script or {}
        self.got: list[tuple[float, bytes]] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        until = self.time + seconds
        await asyncio.sleep(0)
        self.time = max(self.time, until)

    async def request(self, method: str, path: str, timeout_s: float, *, body: bytes, headers: dict[str, str]) -> Reply:
        assert (method, path, timeout_s, headers) == ("POST", "", 30.0, HEADERS)
        self.got.append((round(self.time - START, 3), body))
        await asyncio.sleep(0)
        answers = self.script.get(body, [])
        return answers.pop(0)() if answers else Reply(204, "", b"")

    def sender(self, **policy: float) -> RowSender:
        return RowSender("mimir", self, Policy(**policy), self, sleep=self.sleep, jitter=lambda: 0.0)


def status(code: int, words: str = "", retry_after: str = "") -> Answer:
    return lambda: Reply(code, "text/plain", words.encode(), retry_after)


def hanging() -> Reply:
    raise TimeoutError("http://mimir/push did not answer within 30s")


def away() -> Reply:
    raise Unavailable("http://mimir/push cannot be reached: connection refused")


def window(*shards: tuple[bytes, ...], samples: int = 10, at: float = START) -> Window:
    made = tuple(tuple(WindowRequest(body, samples, round(at * 1000)) for body in shard) for shard in shards)
    return Window(made, samples * sum(map(len, made)), 0, round(at * 1000), Position(1, 99))


async def test_requests_of_a_shard_go_one_after_the_other_and_shards_side_by_side() -> None:
    world = World({b"a1": [status(500)]})
    sender = world.sender(min_backoff_s=1)
    await sender.send(window((b"a1", b"a2"), (b"b1", b"b2")))
    # a2 waits for a1's second try; b2 does not.
    assert [body for _, body in world.got] == [b"a1", b"b1", b"b2", b"a1", b"a2"]
    assert (sender.stats.sent, sender.stats.retried, sender.stats.bytes) == (40, 10, 8)


async def test_what_may_pass_is_tried_again_ever_later() -> None:
    world = World({b"a": [hanging, away, status(500), status(502), status(503), status(429)]})
    sender = world.sender(min_backoff_s=1, max_backoff_s=6)
    await sender.send(window((b"a",)))
    assert [at for at, _ in world.got] == [0, 1, 3, 7, 13, 19, 25]
    assert (sender.stats.sent, sender.stats.dropped, sender.stats.failing) == (10, {}, "")


async def test_retry_after_is_honoured_as_seconds_and_as_a_date() -> None:
    later = "Tue, 14 Nov 2023 22:14:20 GMT"  # 60 s after the start
    world = World(
        {b"a": [status(429, retry_after="7"), status(503, retry_after=later), status(503, retry_after="soon")]}
    )
    await world.sender(min_backoff_s=1).send(window((b"a",)))
    assert [at for at, _ in world.got] == [0, 7, 60, 64]


@pytest.mark.parametrize("code", [301, 400, 401, 403, 404, 408, 413, 422])
async def test_what_is_refused_is_dropped_counted_and_said_once(code: int, caplog: pytest.LogCaptureFixture) -> None:
    world = World({body: [status(code, "out of\norder")] for body in (b"a", b"b", b"c")})
    sender = world.sender()
    await sender.send(window((b"a", b"b"), (b"c", b"d")))
    assert sender.stats.dropped == {f"status_{code}": 30}
    assert sender.stats.sent == 10
    assert len(world.got) == 4
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"samples are dropped: http://mimir/push answered {code}: out oforder" in record.getMessage()


async def test_another_kind_of_refusal_is_said_too(caplog: pytest.LogCaptureFixture) -> None:
    world = World({b"a": [status(400)], b"b": [status(404)], b"c": [status(400)]})
    await world.sender().send(window((b"a", b"b", b"c")))
    assert [r.getMessage().count("said once") for r in caplog.records] == [1, 1]


async def test_a_request_is_given_up_when_its_newest_sample_is_too_old() -> None:
    world = World({b"a": [status(500)] * 100})
    sender = world.sender(min_backoff_s=10, max_backoff_s=10, age_limit_s=60)
    await sender.send(window((b"a",), at=START - 25))
    assert [at for at, _ in world.got] == [0, 10, 20, 30, 40]
    assert (sender.stats.sent, sender.stats.dropped, sender.stats.retried) == (0, {"age": 10}, 40)
    assert sender.stats.failing == ""


async def test_trouble_is_said_when_it_begins_and_when_all_of_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World({b"a": [away, away, away], b"b": [status(500)]})
    sender = world.sender(min_backoff_s=1)
    sending = asyncio.create_task(sender.send(window((b"a",), (b"b", b"c"))))
    seen = set()
    while not sending.done():
        seen.add(sender.stats.failing)
        await asyncio.sleep(0)
    assert seen == {"", "http://mimir/push cannot be reached: connection refused"}
    assert [r.getMessage() for r in caplog.records] == [
        "remote write mimir: http://mimir/push cannot be reached: connection refused; samples wait on disk",
        "remote write mimir: no sample waits for another try any more",
    ]


async def test_what_was_in_flight_at_a_crash_may_be_refused_as_taken_and_is_not_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    world = World({b"a": [status(400, "out of order sample")], b"b": [status(401)]})
    sender = world.sender()
    await sender.send(window((b"a", b"b", b"c"))._replace(again=True))
    assert (sender.stats.sent, sender.stats.dropped) == (10, {"status_401": 10})
    assert "what was in flight at the last stop had arrived" in caplog.records[0].getMessage()
