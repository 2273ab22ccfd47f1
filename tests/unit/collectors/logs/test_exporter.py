"""The exporter as a control plane scrapes it: logs on a real disk, answers over HTTP."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collectors.catalogue.mapping import canonical_layout, missing
from collectors.catalogue.model import load_catalogue
from collectors.exposition.parser import parse
from collectors.http.exporter import run_exporter
from collectors.logs import reader
from collectors.logs.exporter import LogSource, routes
from collectors.logs.patterns import LogCatalogue, load_patterns
from collectors.logs.places import LogPlace
from collectors.logs.settings import LogSettings
from collectors.logs.sink import Fault
from collectors.logs.tally import STALLED_S, Shown, Tally
from collectors.target import Target

SLOW_S = 20.0
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 50.00 MiB. GPU 0 has a total capacity of 79.19 GiB\n"
)


@pytest.fixture(scope="module")
def known() -> LogCatalogue:
    return load_patterns()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "a.log").write_text("")
    return tmp_path / "a.log"


def write(log: Path, text: str) -> None:
    log.write_text(text)


def settings(log: Path, name: str = "chat", **labels: str) -> LogSettings:
    return LogSettings(name, "vllm", files=(str(log),), labels=tuple(sorted(labels.items())))


@pytest.fixture
async def source(log: Path, known: LogCatalogue, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LogSource]:
    monkeypatch.setattr(reader, "TURN_S", 0.01)
    made = LogSource([settings(log, model="chat"), LogSettings("broken", "any", command=("/nowhere/kubectl",))], known)
    yield made
    await made.close()


async def samples(source: LogSource) -> dict[tuple[str, str, str], float]:
    """Return values by name, log, and event, reason or kind."""
    body = parse(await source.read(1.0))
    found = {}
    for series, value in zip(body.series, body.values, strict=True):
        labels = dict(series.labels)
        apart = labels.get("event") or labels.get("reason") or labels.get("kind") or ""
        found[series.name, labels["log"], apart] = value
    return found


async def until(source: LogSource, key: tuple[str, str, str], value: float) -> dict[tuple[str, str, str], float]:
    end = time.monotonic() + SLOW_S
    while (found := await samples(source)).get(key) != value:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.01)
    return found


async def test_every_event_is_0_from_the_start_and_counts_its_lines(source: LogSource, log: Path) -> None:
    ready = await until(source, ("log_exporter_files", "chat", ""), 1.0)
    assert {value for (name, _, _), value in ready.items() if name == "llm_log_events_total"} == {0.0}
    assert ("llm_log_last_event_timestamp_seconds", "chat", "cuda_out_of_memory") not in ready
    write(log, "INFO all is well\n" + OOM)
    found = await until(source, ("llm_log_events_total", "chat", "cuda_out_of_memory"), 1.0)
    assert found["log_exporter_lines_total", "chat", ""] == 2
    assert found["llm_log_events_total", "chat", "engine_died"] == 0
    assert abs(found["llm_log_last_event_timestamp_seconds", "chat", "cuda_out_of_memory"] - time.time()) < SLOW_S


async def test_a_control_plane_stores_the_counts_with_the_engines_own_labels(log: Path, known: LogCatalogue) -> None:
    source = LogSource([settings(log, model="chat", engine_instance="10.0.0.1:8000", zone="a")], known)
    body, catalogue = parse(await source.read(1.0)), load_catalogue()
    await source.close()
    target = Target("logs", "http://a:9402/metrics", "logs", "a:9402")
    layout = canonical_layout(body.series, body.metadata, target, catalogue)
    stored = [dict(series.labels) for series in layout.raw if series.name == "llm_log_up"]
    assert stored == [
        {
            "engine": "logs",
            "engine_instance": "10.0.0.1:8000",
            "instance": "a:9402",
            "job": "logs",
            "log": "chat",
            "log_engine": "vllm",
            "model": "chat",
            "node": "a",
            "source": "log",
            "zone": "a",
        }
    ]
    assert missing(layout, catalogue, "logs") == ()


async def test_a_log_that_cannot_be_read_is_told_and_holds_up_no_other(
    source: LogSource, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = await until(source, ("llm_log_up", "broken", ""), 0.0)
    write(log, OOM)
    found = await until(source, ("llm_log_events_total", "chat", "cuda_out_of_memory"), 1.0)
    assert found["llm_log_up", "chat", ""] == 1
    assert found["log_exporter_errors_total", "broken", "ended"] == 1

    def records() -> list[logging.LogRecord]:
        return [*caplog.get_records("setup"), *caplog.records]  # the source begins to read before the test does

    wait_for(records)  # a fault counts before it is logged
    told = [record.getMessage() for record in records() if record.levelno == logging.WARNING]
    assert told == ["log broken: /nowhere/kubectl: cannot be started: No such file or directory"]


async def get(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await (answer.json() if answer.content_type == "application/json" else answer.text())


async def test_events_shows_the_last_lines_masked(source: LogSource, log: Path) -> None:
    stop, url = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(run_exporter("127.0.0.1:0", source, stop, url.set_result, routes(source)))
    metrics = await url
    await until(source, ("llm_log_up", "broken", ""), 0.0)
    await until(source, ("log_exporter_files", "chat", ""), 1.0)
    write(log, OOM.rstrip() + " key sk-0123456789abcdef\n")
    await until(source, ("llm_log_events_total", "chat", "cuda_out_of_memory"), 1.0)
    status, body = await get(metrics)
    assert (status, body.count("# TYPE llm_log_events_total counter")) == (200, 1)
    status, story = await get(metrics.replace("/metrics", "/events"))
    assert status == 200
    assert story["logs"][1] == {
        "log": "broken",
        "log_engine": "any",
        "faults": ["/nowhere/kubectl: cannot be started: No such file or directory"],
    }
    (event,) = story["events"]
    assert event.pop("time").endswith("Z")
    assert event == {
        "log": "chat",
        "log_engine": "vllm",
        "events": ["cuda_out_of_memory"],
        "place": str(log),
        "line": OOM.rstrip() + " key ***",
        "means": ["The engine asked for more GPU memory than the GPU has free."],
    }
    stop.set()
    await serving


def test_only_the_last_hundred_lines_are_kept(known: LogCatalogue) -> None:
    shown = Shown()
    tally = Tally(LogSettings("a", "any"), known, shown)
    for number in range(1000):
        tally.line("a.log", f"RuntimeError: CUDA error: out of memory {number}")
    kept = shown.newest_first()
    assert (len(kept), kept[0]["line"][-3:], kept[-1]["line"][-3:]) == (100, "999", "900")


def test_a_fault_counts_once_while_it_lasts_and_again_when_it_returns(known: LogCatalogue) -> None:
    clock = [0.0]
    tally = Tally(LogSettings("a", "any"), known, Shown(), monotonic=lambda: clock[0])
    fault = Fault("unreadable", "a.log: cannot be read: Permission denied")

    def errors() -> float:
        return next(v for n, labels, v in tally.samples() if labels.get("kind") == "unreadable")

    for faults, count in (([fault], 1), ([fault], 1), ([], 1), ([fault], 2)):
        tally.turned(1, faults)
        assert (errors(), tally.faults()) == (count, tuple(faults))


def test_a_reader_that_hangs_on_its_disk_is_told_and_the_answer_does_not_wait(known: LogCatalogue) -> None:
    clock = [0.0]
    tally = Tally(LogSettings("a", "any"), known, Shown(), monotonic=lambda: clock[0])
    tally.turned(1)
    clock[0] = STALLED_S
    assert tally.faults() == ()
    clock[0] = STALLED_S + 1
    assert tally.faults() == (Fault("stalled", "the reader has waited for 61 s; look at the disk"),)
    assert next(value for name, _, value in tally.samples() if name == "llm_log_up") == 0


def test_a_bug_in_a_reader_does_not_end_it(known: LogCatalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    class Buggy:
        files, faults, polls, closed = 1, (), 0, 0

        def poll(self, now: float) -> bool:
            self.polls += 1
            if self.polls == 1:
                raise ZeroDivisionError
            return False

        def place(self) -> LogPlace:
            return LogPlace()

        def stop(self) -> None: ...

        def close(self) -> None:
            self.closed += 1

    monkeypatch.setattr(reader, "_MEND_S", 0.0)
    monkeypatch.setattr(reader, "TURN_S", 0.01)
    following = Buggy()
    tally = Tally(LogSettings("a", "any"), known, Shown())
    running = reader.Reader(following, tally)
    running.start()
    wait_for(lambda: following.polls > 2)
    running.stop()
    running.join(time.monotonic() + SLOW_S)
    assert following.closed == 1
    assert next(v for _, labels, v in tally.samples() if labels.get("kind") == "internal") == 1


def wait_for(done: Callable[[], object]) -> None:
    end = time.monotonic() + SLOW_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_signal_ends_the_exporter_at_once_and_its_programs_with_it(tmp_path: Path) -> None:
    child = tmp_path / "child"
    words = ["/bin/sh", "-c", f"trap '' TERM; echo $$ > {child}; while :; do sleep 1; done"]
    script = (
        "from collectors.logs.exporter import serve_logs\n"
        "from collectors.logs.settings import LogSettings\n"
        f"log = LogSettings('a', 'any', command=tuple({words!r}))\n"
        "serve_logs([log], '127.0.0.1:0', lambda url: print(url, flush=True), write=lambda path, data: None)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        wait_for(lambda: child.exists() and child.read_text().strip() != "")
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=SLOW_S) == 0
        assert time.monotonic() - started < SLOW_S / 2
    assert not Path(f"/proc/{child.read_text().strip()}").exists()
