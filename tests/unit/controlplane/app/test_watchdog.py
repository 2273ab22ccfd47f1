"""Dead man's switches: when a request is sent, when it is withheld, and which heartbeats are expected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web

from alerts.errors import DeliveryFailed
from alerts.rules import RuleGroup
from controlplane.app.notifying.ping import ping
from controlplane.app.parts.part import Configuration
from controlplane.app.parts.watchdog import Watchdog, WatchdogSettings, trouble
from controlplane.config.loader import load_fleet
from controlplane.errors import Unavailable
from controlplane.store.alerting.heartbeats import Heartbeat, HeartbeatStore
from controlplane.store.database import Database
from controlplane.store.outbox import Stuck
from tests.fakes.migrated import write_migrated


@dataclass
class FakeClock:
    """A clock that the test moves."""

    time: float

    def now(self) -> float:
        return self.time


class Service:
    """The service that expects requests, the state of alerting, and the clock."""

    def __init__(self, store: HeartbeatStore) -> None:
        self.clock, self.store = FakeClock(1000.0), store
        self.asked: list[tuple[float, str]] = []
        self.failure: BaseException | None = None
        self.leading, self.fault = True, ""
        self.watchdog = Watchdog(
            store, self.clock, self.ping, lambda: self.leading, self.trouble, lambda: self.clock.now()
        )

    async def ping(self, url: str) -> None:
        self.asked.append((self.clock.now(), url))
        if self.failure:
            raise self.failure

    def trouble(self) -> str:
        if self.fault == "gone":
            raise Unavailable("the database is gone")
        return self.fault

    async def seconds(self, count: int) -> list[float]:
        """Let `count` seconds pass; return the seconds of the requests among them."""
        before = len(self.asked)
        for _ in range(count):
            await self.watchdog.beat()
            self.clock.time += 1
        return [at for at, _ in self.asked[before:]]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    database = Database(write_migrated(tmp_path / "a.db"))
    yield Service(HeartbeatStore(database))
    database.close()


def configured(folder: Path, section: str) -> WatchdogSettings:
    (folder / "url").write_text("http://beat.example/s3cret\n")
    (folder / "fleet.yaml").write_text(f"fleet: {{name: t}}\nnotifications: {section}\n")
    loaded = load_fleet(folder / "fleet.yaml")
    part = Watchdog(None, None, None, None, None, None)  # type: ignore[arg-type]  # settings need none of them
    return part.settings(Configuration(loaded, "127.0.0.1:1"))


async def test_a_request_at_each_interval_from_the_process_that_evaluates(service: Service, tmp_path: Path) -> None:
    settings = configured(tmp_path, "{watchdog: {url_file: url, interval: 30s}}")
    assert await service.watchdog.configure(settings) == ()
    assert await service.seconds(100) == [1000, 1030, 1060, 1090]
    assert service.asked[0][1] == "http://beat.example/s3cret"
    service.leading = False
    assert await service.seconds(100) == []
    service.leading = True
    assert await service.seconds(2) == [1200]
    assert service.watchdog.report == (5, 0, 0, 1200, "")


async def test_nothing_is_sent_while_alerting_does_not_work(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await service.watchdog.configure(configured(tmp_path, "{watchdog: {url_file: url, interval: 10s}}"))
    with caplog.at_level(logging.INFO):
        for fault in ("2 message(s) wait", "gone", ""):
            service.fault = fault
            await service.seconds(20)
    assert [at for at, _ in service.asked] == [1040, 1050]
    assert service.watchdog.report.withheld == 4
    assert [record.getMessage() for record in caplog.records] == [
        "watchdog: no request is sent, because 2 message(s) wait",
        "watchdog: no request is sent, because the database is gone",
        "watchdog: requests are sent again",
    ]


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (DeliveryFailed("it answered 500"), "it answered 500"),
        (TimeoutError(), "no answer within 10 s"),
    ],
)
async def test_a_failed_request_is_told_without_the_address_and_repeated(
    service: Service, tmp_path: Path, failure: BaseException, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    await service.watchdog.configure(configured(tmp_path, "{watchdog: {url_file: url, interval: 10s}}"))
    service.failure = failure
    assert await service.seconds(11) == [1000, 1010]
    assert service.watchdog.report.fault == f"the request failed: {told}"
    assert "s3cret" not in caplog.text


async def test_a_secret_that_is_missing_is_a_fault_of_the_request(service: Service, tmp_path: Path) -> None:
    await service.watchdog.configure(configured(tmp_path, "{watchdog: {url_env: NOT_SET_ANYWHERE}}"))
    await service.seconds(1)
    assert (service.asked, service.watchdog.report.failed) == ([], 1)
    assert "environment variable NOT_SET_ANYWHERE is not set" in service.watchdog.report.fault


async def test_heartbeats_are_expected_from_their_declaration_on(service: Service, tmp_path: Path) -> None:
    one = configured(tmp_path, "{heartbeats: [{name: backup, within: 1d}, {name: batch, within: 10m}]}")
    await service.watchdog.configure(one)
    await service.seconds(5)
    service.store.beat("backup", "ann", 1003.0)
    two = replace(one, heartbeats=one.heartbeats[:1])
    assert await service.watchdog.configure(two) == ["expects backup"]
    await service.seconds(1)
    assert service.store.all() == [Heartbeat("backup", 1003.0, "ann", 1)]


async def test_heartbeats_that_are_declared_while_others_are_stored_are_expected(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = configured(tmp_path, "{heartbeats: [{name: backup, within: 1d}]}")
    second = configured(tmp_path, "{heartbeats: [{name: batch, within: 1d}]}")
    loop, expect = asyncio.get_running_loop(), service.store.expect

    def reload_meanwhile(names: Sequence[str], at: float) -> None:
        expect(names, at)
        if "backup" in names:
            asyncio.run_coroutine_threadsafe(service.watchdog.configure(second), loop).result(5)

    monkeypatch.setattr(service.store, "expect", reload_meanwhile)
    await service.watchdog.configure(first)
    await service.seconds(2)
    assert [one.name for one in service.store.all()] == ["batch"]


def test_trouble() -> None:
    group = RuleGroup("f.yml", "g", ())
    assert trouble("", [(group, 900.0)], 15.0, Stuck(), 960.0) == ""
    assert trouble("", [(group, 900.0)], 15.0, Stuck(), 961.0) == "rule group f.yml;g was not evaluated for 1m"
    slow = replace(group, interval_s=600.0)
    assert trouble("", [(slow, 0.0)], 15.0, Stuck(), 2400.0) == ""
    assert trouble("the disk is full", [], 15.0, Stuck(), 0.0) == "alert states cannot be stored: the disk is full"
    assert trouble("", [], 15.0, Stuck(2, 1), 0.0) == "2 message(s) wait for longer than 15m"
    assert trouble("", [], 15.0, Stuck(0, 1), 0.0) == "the last message of 1 group(s) was given up"


@pytest.mark.parametrize(("status", "fault"), [(200, ""), (204, ""), (302, "answered 302"), (500, "answered 500")])
async def test_ping(status: int, fault: str) -> None:
    got: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        got.append(request.method)
        return web.Response(status=status, headers={"Location": "http://elsewhere.example/"} if status == 302 else {})

    app = web.Application()
    app.router.add_route("*", "/s3cret", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        if fault:
            with pytest.raises(DeliveryFailed, match=fault):
                await ping(f"http://127.0.0.1:{port}/s3cret")
        else:
            await ping(f"http://127.0.0.1:{port}/s3cret")
        assert got == ["POST"]
    finally:
        await runner.cleanup()
    with pytest.raises(DeliveryFailed) as refused:
        await ping(f"http://127.0.0.1:{port}/s3cret")
    assert "s3cret" not in str(refused.value)
    with pytest.raises(DeliveryFailed, match="the address is no address"):
        await asyncio.wait_for(ping("ftp://s3cret"), 5)
