"""Destinations on real sockets, which misbehave: what they get, and that none holds up another."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectors.http.http_client import exposition_of
from collectors.logs.patterns import load_patterns
from collectors.logs.settings import LogSettings
from collectors.logs.shipping.outlet import Outlet, dialect_of
from collectors.logs.shipping.record import Record
from collectors.logs.shipping.settings import Destination
from collectors.logs.tally import Shown, Tally
from collectors.target import Auth
from tests.fakes.hook_server import HookServer, breaks_off, dies, floods, hangs, lies, status
from tests.fakes.raw_http import Message
from tests.patience import HANG_S
from tests.unit.collectors.logs.shipping.lines import line, write

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 50.00 MiB. key sk-0123456789abcdef"
FAST: dict[str, Any] = {"batch_wait_s": 0.0, "min_backoff_s": 0.01, "max_backoff_s": 0.01, "timeout_s": HANG_S}


def tally(outlet: Outlet) -> Tally:
    log = LogSettings("chat", "vllm", labels=(("model", "chat"), ("node", "gpu-1")))
    return Tally(log, load_patterns(), Shown(), outlet=outlet)


async def until(done: Callable[[], object]) -> None:
    end = time.monotonic() + HANG_S
    while not done():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def body(request: Message) -> str:
    return gzip.decompress(request.body).decode()


async def shipped(destination: Destination, server: HookServer, *lines: str) -> Message:
    outlet = Outlet([destination], write)
    log = tally(outlet)
    for one in lines:
        log.line("/var/log/a.log", one)
    outlet.start()
    await outlet.close(HANG_S)
    return server.requests[-1]


async def test_loki_gets_the_masked_event_with_its_labels_and_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKI_TOKEN", "s3cret")
    async with HookServer([status("204 No Content")]) as server:
        auth = Auth(credentials_env="LOKI_TOKEN")
        url = server.url.replace("/hook", "/base/")
        own = Destination("loki", "loki", url, auth, (("X-Scope-OrgID", "a"),), **FAST)
        request = await shipped(own, server, OOM, "INFO prompt: hello")
    assert request.start == "POST /base/loki/api/v1/push HTTP/1.1"
    headers = request.headers
    assert (headers["x-scope-orgid"], headers["authorization"]) == ("a", "Bearer s3cret")
    (stream,) = json.loads(body(request))["streams"]
    ((at, text),) = stream["values"]
    assert stream["stream"] == {
        "event": "cuda_out_of_memory",
        "filename": "/var/log/a.log",
        "log": "chat",
        "log_engine": "vllm",
        "model": "chat",
        "node": "gpu-1",
    }
    assert text == OOM.replace("sk-0123456789abcdef", "***")
    assert abs(int(at) / 1e9 - time.time()) < HANG_S


async def test_elasticsearch_gets_an_action_and_a_document_for_each_line() -> None:
    async with HookServer([status("200 OK", b'{"errors": false}')]) as server:
        url = server.url.removesuffix("/hook")
        own = Destination("es", "elasticsearch", url, index="llm-logs", everything=True, **FAST)
        request = await shipped(own, server, OOM, "INFO prompt: hello")
    assert request.start.startswith("POST /_bulk?filter_path=errors,items")
    assert request.headers["content-type"] == "application/x-ndjson"
    first, document, second, other = (json.loads(line) for line in body(request).splitlines())
    assert first["create"]["_index"] == "llm-logs"
    assert first["create"]["_id"] != second["create"]["_id"]
    assert (document["events"], document["severity"]) == (["cuda_out_of_memory"], "critical")
    assert (other["message"], other["labels"]["model"]) == ("INFO prompt: ***", "chat")
    assert "events" not in other


async def test_otlp_gets_a_resource_for_each_log() -> None:
    async with HookServer([status("200 OK", b"{}")]) as server:
        url = server.url.removesuffix("/hook")
        request = await shipped(Destination("otlp", "otlp", url, **FAST), server, OOM)
    assert request.start == "POST /v1/logs HTTP/1.1"
    (resource,) = json.loads(body(request))["resourceLogs"]
    attributes = {one["key"]: one["value"]["stringValue"] for one in resource["resource"]["attributes"]}
    assert (attributes["service.name"], attributes["host.name"], attributes["model"]) == ("vllm", "gpu-1", "chat")
    (record,) = resource["scopeLogs"][0]["logRecords"]
    assert (record["severityNumber"], record["severityText"]) == (17, "ERROR")
    assert record["body"] == {"stringValue": OOM.replace("sk-0123456789abcdef", "***")}


@pytest.mark.parametrize(
    "fault",
    [
        hangs,
        dies,
        lies,
        breaks_off,
        floods,
        status("500 Oh"),
        status("429 Slow", b"", "Retry-After: 0"),
        status("302 Found", b"", "Location: http://127.0.0.1:1/"),
        status("200 OK", b"x", "Content-Encoding: br"),
    ],
)
async def test_a_destination_that_misbehaves_gets_the_line_again(fault: Any) -> None:
    async with HookServer([fault, status("204 No Content")]) as server:
        timeout_s = 3.0 if fault is hangs else HANG_S
        await shipped(Destination("loki", "loki", server.url, **{**FAST, "timeout_s": timeout_s}), server, OOM)
    assert len(server.requests) == 2
    assert body(server.requests[0]) == body(server.requests[1])


async def test_a_destination_that_hangs_holds_up_neither_the_reader_nor_another_one() -> None:
    async with HookServer([hangs]) as bad, HookServer([status("204 No Content")]) as good:
        slow = Destination("slow", "loki", bad.url, timeout_s=HANG_S, batch_wait_s=0.0, queue_bytes=2000)
        outlet = Outlet([slow, Destination("good", "loki", good.url, **FAST)], write)
        outlet.start()
        log = tally(outlet)
        log.line("a", OOM)
        await until(lambda: good.requests and bad.requests)
        for _ in range(100):
            log.line("a", OOM)
        await until(lambda: sum(body(request).count("CUDA") for request in good.requests) == 101)
        await outlet.close(0.0)
        page = exposition_of(outlet.families()).decode()
    assert 'log_exporter_shipped_total{destination="good"} 101.0' in page
    assert 'log_exporter_shipped_total{destination="slow"} 0.0' in page
    counts = [
        float(x.split()[-1])
        for x in page.splitlines()
        if x.startswith('log_exporter_ship_dropped_total{destination="slow"')
    ]
    assert sum(counts) == 101


async def test_what_a_spool_kept_is_sent_by_the_next_exporter(tmp_path: Path) -> None:
    async with HookServer([status("503 No")]) as server:
        own = Destination("loki", "loki", server.url, spool=tmp_path / "spool", **FAST)
        outlet = Outlet([own], write)
        outlet.start()
        tally(outlet).line("a", OOM)
        await until(lambda: server.requests)
        await outlet.close(0.0)
        server.answers[:] = [status("204 No Content")]
        before = len(server.requests)
        again = Outlet([own], write)
        again.start()
        await again.close(HANG_S)
    assert [body(request) for request in server.requests[before:]] == [body(server.requests[0])]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("loki", '["1795964400000000007", "x"]'),
        ("elasticsearch", '"@timestamp": "2026-11-29T15:00:00.000000007Z"'),
        ("otlp", '"observedTimeUnixNano": "1000000000000000", "timeUnixNano": "1795964400000000007"'),
    ],
)
def test_a_line_has_the_time_of_its_writing_where_that_is_known(kind: str, told: str) -> None:
    record = line("x")._replace(written_ns=1_795_964_400_000_000_007)
    assert told in dialect_of(Destination(kind, kind, "http://a", index="i")).body([record]).decode()


def test_a_spooled_line_keeps_its_time_and_one_of_an_earlier_release_has_none() -> None:
    record = line("x")._replace(written_ns=7)
    assert Record.from_json(record.to_json()) == record
    assert Record.from_json(json.dumps([*record][:6])) == line("x")
    with pytest.raises(ValueError, match="not a record"):
        Record.from_json(json.dumps([*record[:6], "soon"]))


async def test_a_clock_that_is_ahead_puts_no_line_into_the_future() -> None:
    async with HookServer([status("204 No Content")]) as server:
        outlet = Outlet([Destination("loki", "loki", server.url, **FAST)], write)
        tally(outlet).line("a", OOM, 2 * round(time.time() * 1e9))
        outlet.start()
        await outlet.close(HANG_S)
        (stream,) = json.loads(body(server.requests[-1]))["streams"]
    assert int(stream["values"][0][0]) <= time.time() * 1e9
