"""`POST /api/v1/write`: headers, statuses, limits, and who may."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Any

import httpx
import pytest
from cramjam import snappy

from collectors.samples import Metadata
from controlplane.access.roles import Role
from controlplane.api import remote_write
from controlplane.api.bodies import MAX_BODY_BYTES
from controlplane.config.model import Fleet
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest, encode
from tests.patience import until

NOW_MS = 1_800_000_000_000
HEADERS = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}


def body(*samples: tuple[int, float], job: str = "a") -> bytes:
    return encode(WriteRequest((TimeSeries((("__name__", "up"), ("job", job)), samples),)))


async def post(client: httpx.AsyncClient, content: bytes, **headers: str) -> httpx.Response:
    return await client.post("/api/v1/write", content=content, headers={**HEADERS, **headers})


async def test_samples_can_be_asked_for_at_once(rig: Any, operator: httpx.AsyncClient) -> None:
    rig.queries = MetricsQuerier(PromqlEngine(rig.series_store))
    async with rig.client(Role.OPERATOR) as client:
        answer = await post(client, body((NOW_MS - 1000, 0.5)))
        assert (answer.status_code, answer.content) == (204, b"")
        found = (await client.get("/api/v1/query?query=up")).json()["data"]["result"]
    assert found == [{"metric": {"__name__": "up", "job": "a"}, "value": [1800000000, "0.5"]}]
    rig.queries.close()


async def test_metadata_is_told_again(rig: Any, operator: httpx.AsyncClient) -> None:
    content = encode(WriteRequest((), (("up", Metadata("gauge", "is it?")),)))
    assert (await post(operator, content)).status_code == 204
    found = (await operator.get("/api/v1/metadata?metric=up")).json()["data"]
    assert found == {"up": [{"type": "gauge", "help": "is it?", "unit": ""}]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 204),
        ({"Content-Type": "application/x-protobuf;proto=prometheus.WriteRequest"}, 204),
        ({"Content-Type": "Application/X-Protobuf"}, 204),
        ({"Content-Type": ""}, 204),
        ({"Content-Encoding": "Snappy"}, 204),
        ({"Content-Encoding": ""}, 204),
        ({"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}, 415),
        ({"Content-Type": "application/json"}, 415),
        ({"Content-Type": "application/x-protobuf; proto=nonsense"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "zstd"}, 415),
    ],
)
async def test_types_and_encodings(operator: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    answer = await post(operator, body((NOW_MS, 1.0)), **headers)
    assert answer.status_code == status
    if status == 415:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "accept" in answer.text or "expected application/x-protobuf" in answer.text


async def test_refused_samples_are_a_400_that_says_what_was_stored(operator: httpx.AsyncClient) -> None:
    assert (await post(operator, body((NOW_MS - 1000, 1.0)))).status_code == 204
    answer = await post(operator, body((NOW_MS - 2000, 1.0), (NOW_MS, 2.0)))
    assert (answer.status_code, answer.text) == (
        400,
        'out of order sample: {__name__="up", job="a"} at 1799999998000, its newest is at 1799999999000; '
        "1 of 2 samples were refused, the others are stored\n",
    )


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(snappy.compress_raw(b"\x0a\x05"))])
async def test_what_cannot_be_read_is_a_400(operator: httpx.AsyncClient, content: bytes) -> None:
    answer = await post(operator, content)
    assert answer.status_code == 400
    assert answer.text.endswith("\n")


async def test_damaged_requests_are_answered_and_never_a_fault_of_ours(operator: httpx.AsyncClient) -> None:
    whole = bytes(snappy.decompress_raw(body((NOW_MS - 1, 1.0), (NOW_MS, 2.0))))
    chance = random.Random(3)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        answer = await post(operator, bytes(snappy.compress_raw(bytes(damaged))))
        assert answer.status_code in (204, 400, 413), (bytes(damaged), answer.text)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_body_bytes": 1024}, "the body is larger than 1024 bytes; the limits are metrics.receive"),
        ({"max_decoded_bytes": 1024}, "the body inflates to"),
        ({"max_series": 1}, "more than the 1 series allowed"),
        ({"max_samples": 30}, "more than the 30 samples allowed"),
    ],
)
async def test_every_limit_of_a_request_is_a_413(
    rig: Any, operator: httpx.AsyncClient, limits: dict[str, int], words: str
) -> None:
    rig.config = Fleet.model_validate({"fleet": {"name": "x"}, "metrics": {"receive": limits}})
    samples = tuple((NOW_MS + n * 7919 % 100_000 - 100_000, n * 0.7071) for n in range(200))
    labels = (("__name__", "up"), ("a", "x"))
    content = encode(WriteRequest((TimeSeries(labels, samples), TimeSeries(labels, ()))))
    answer = await post(operator, content)
    assert (answer.status_code, words in answer.text) == (413, True), answer.text
    assert rig.series_store.stats().samples_appended == 0


async def test_a_request_larger_than_others_may_be_is_taken(rig: Any, operator: httpx.AsyncClient) -> None:
    noise = random.Random(1)
    labels = [(("__name__", "up"), ("x", noise.randbytes(2000).hex())) for _ in range(400)]
    series = [TimeSeries(pairs, ((NOW_MS - 1, 1.0), (NOW_MS, 2.0))) for pairs in labels]
    content = encode(WriteRequest(tuple(series)))
    assert len(content) > MAX_BODY_BYTES
    answer = await post(operator, content)
    assert answer.status_code == 204, answer.text
    assert rig.series_store.stats().samples_appended == 800


async def test_a_stranger_and_a_viewer_may_not_and_their_body_is_not_read(rig: Any) -> None:
    async def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    for role, status in ((None, 401), (Role.VIEWER, 403)):
        async with rig.client(role) as client:
            answer = await client.post("/api/v1/write", content=never(), headers=HEADERS)
        assert (answer.status_code, answer.json()["status"]) == (status, "error")


async def test_where_another_server_is_asked_nothing_is_taken(rig: Any, operator: httpx.AsyncClient) -> None:
    rig.config = Fleet.model_validate(
        {"fleet": {"name": "x"}, "metrics": {"query_url": "http://mimir:8080/prometheus"}}
    )
    answer = await post(operator, body((NOW_MS, 1.0)))
    assert (answer.status_code, answer.text) == (
        404,
        "the samples are stored at metrics.query_url, http://mimir:8080/prometheus: write them there\n",
    )


async def test_get_is_not_allowed(operator: httpx.AsyncClient) -> None:
    answer = await operator.get("/api/v1/write")
    assert (answer.status_code, answer.headers["allow"], answer.json()["status"]) == (405, "POST", "error")


async def test_a_body_that_never_ends_is_given_up(operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.api.bodies.BODY_S", 0.01)

    async def endless() -> Any:
        yield b"x"
        await asyncio.Event().wait()

    answer = await operator.post("/api/v1/write", content=endless(), headers=HEADERS)
    assert (answer.status_code, answer.text) == (408, "the body was not complete within 0.01 s\n")


class Hanging:
    """A body that is asked for and does not come before it is let go."""

    def __init__(self) -> None:
        self.go, self.asked = asyncio.Event(), 0

    async def __call__(self) -> Any:
        self.asked += 1
        await self.go.wait()
        yield body((NOW_MS, 1.0))


async def test_writers_that_hang_leave_room_for_the_others(rig: Any) -> None:
    hanging = Hanging()
    async with rig.client(Role.OPERATOR) as client:
        small = {**HEADERS, "Content-Length": "1000"}
        sent = [client.post("/api/v1/write", content=hanging(), headers=small) for _ in range(20)]
        slow = [asyncio.create_task(one) for one in sent]
        await until(lambda: hanging.asked == 20)
        assert (await post(client, body((NOW_MS, 1.0)))).status_code == 204
        hanging.go.set()
        assert {answer.status_code for answer in await asyncio.gather(*slow)} == {204}


async def test_writers_wait_with_their_bodies_unread_and_too_many_come_back_later(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_write, "WAITING", 1)
    hanging, app = Hanging(), rig.app()
    async with rig.client(Role.OPERATOR, app) as client:

        def send() -> asyncio.Task[httpx.Response]:
            # Of a body whose size is not declared as much as is allowed may come: 16 MiB.
            return asyncio.create_task(client.post("/api/v1/write", content=hanging(), headers=HEADERS))

        first = [send()]
        for count in range(1, 4):
            await until(lambda count=count: hanging.asked == count)  # type: ignore[misc]
            first.append(send())
        await until(lambda: hanging.asked == 4)
        waiting = send()
        await until(lambda: app.state.writers._waiting == 1)
        refused = await post(client, body((NOW_MS, 1.0)))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert hanging.asked == 4
        hanging.go.set()
        assert [answer.status_code for answer in await asyncio.gather(*first, waiting)] == [204] * 5


@pytest.mark.parametrize("full", ["reading", "storing"])
async def test_waiting_has_an_end(rig: Any, monkeypatch: pytest.MonkeyPatch, full: str) -> None:
    monkeypatch.setattr(remote_write, "WAIT_S", 0.01)
    app = rig.app()
    writers = app.state.writers
    async with rig.client(Role.OPERATOR, app) as client:
        async with contextlib.AsyncExitStack() as held:
            if full == "reading":
                await held.enter_async_context(writers.reading(2**40))
            else:
                for _ in range(remote_write.STORING):
                    await held.enter_async_context(writers.storing())
            answer = await post(client, body((NOW_MS, 1.0)))
            assert (answer.status_code, "send this one again later" in answer.text) == (503, True)
        assert (await post(client, body((NOW_MS, 1.0)))).status_code == 204


async def test_large_bodies_never_wait_for_each_other(rig: Any) -> None:
    writers, order = remote_write.Writers(), []

    async def read(name: int) -> None:
        async with writers.reading(40 * 2**20):
            await asyncio.sleep(0)
            order.append(name)

    await asyncio.gather(*(read(n) for n in range(10)))
    assert sorted(order) == list(range(10))
    assert writers._mib._value == remote_write.READING_MIB


async def test_who_wrote_is_told_to_the_log_at_debug_alone(
    operator: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await post(operator, body((NOW_MS, 1.0)))
    await post(operator, body((NOW_MS - 1, 1.0)))
    assert [r for r in caplog.records if r.name.startswith("controlplane")] == []
    caplog.set_level(logging.DEBUG)
    await post(operator, body((NOW_MS + 1, 1.0)))
    told = [r.getMessage() for r in caplog.records if r.name == "controlplane.api.remote_write"]
    assert len(told) == 1
    assert told[0].endswith(": 1 samples stored, 0 refused")


async def test_own_metrics_count_what_was_written(operator: httpx.AsyncClient) -> None:
    await post(operator, body((NOW_MS - 1, 1.0), (NOW_MS, 1.0)))
    await post(operator, body((NOW_MS - 5, 1.0)))
    text = (await operator.get("/metrics")).text
    assert "controlplane_received_samples_total 2.0" in text
    assert 'controlplane_received_samples_refused_total{reason="out_of_order"} 1.0' in text
    assert 'controlplane_received_samples_refused_total{reason="duplicate"} 0.0' in text
