"""After a restart nothing is seen twice: what is no longer configured has ended, what is configured goes on."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from alerts.interfaces import AlertState
from collectors.samples import Layout, Series
from collectors.scraping.report import report_key
from collectors.target import Target
from controlplane.app.itself import own_target
from controlplane.app.left_over import end_left_over, end_own
from controlplane.app.wiring import ControlPlane, running
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.arrays import STALE_BITS
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.folder import Folder
from controlplane.metrics.write.remote_write_codec import decode
from controlplane.store.alert_log import SqlAlertLog
from tests.patience import until

Write = Callable[[str], LoadedFleet]
T0 = 1_800_000_000.0
OLD, NEW = (Target("vllm", f"http://a:{port}/metrics", "vllm", f"a:{port}") for port in (1, 2))
RULES = """
groups:
  - name: g
    rules:
      - {alert: Hot, expr: "temperature > 85"}
      - {record: "hottest", expr: "max(temperature)"}
"""


class World:
    """A store in files, with a target, a rule, the ledger, a remote writer and the control plane itself."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, T0
        self.store = SeriesStore.in_folder(folder, 86_400.0, None, 86_400.0)

    def write(self, *sources: str) -> None:
        self.now += 15
        for source in sources:
            layout = Layout((Series("x", (("source", source),)),))
            self.store.append(source, layout, round(self.now * 1000), np.array([1.0]))

    def restart(self) -> None:
        assert isinstance(self.store.space, Folder)
        self.store.space.close()
        self.store = SeriesStore.in_folder(self.folder, 86_400.0, None, 86_400.0)

    def end(self, targets: list[Target], rules: set[str]) -> list[str]:
        self.now += 5
        return end_left_over(list(self.store.sources.values()), self.store, targets, rules, self.now)

    def alive(self) -> set[str]:
        value = PromqlEngine(self.store).instant("x", self.now)
        assert isinstance(value, Vector)
        return {dict(sample.labels)["source"] for sample in value.samples}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "metrics")
    yield made
    assert isinstance(made.store.space, Folder)
    made.store.space.close()


def test_what_is_gone_is_ended_at_once_and_the_rest_goes_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    kept = {NEW.key, report_key(NEW), "rule:f;g;kept", "ledger:expected", "write:abc"}
    gone = {OLD.key, report_key(OLD), "rule:f;g;gone"}
    world.write(*kept, *gone)
    world.restart()
    assert world.alive() == kept | gone
    assert set(world.end([NEW], {"f;g;kept"})) == gone
    assert world.alive() == kept
    assert caplog.messages == [f"metrics: ended series of removed targets or rules: {', '.join(sorted(gone))}"]
    assert world.end([NEW], {"f;g;kept"}) == []
    world.write(*kept, OLD.key)  # it came back: a reload has it again
    assert world.alive() == kept | {OLD.key}
    world.restart()
    assert world.end([OLD, NEW], {"f;g;kept"}) == []


def test_a_process_that_stops_says_that_it_is_gone_and_nothing_else(world: World) -> None:
    own = own_target("127.0.0.1:8080", 15, 10)
    world.write(OLD.key, own.key, report_key(own))
    world.now += 1
    end_own(world.store, own, world.now)
    assert world.alive() == {OLD.key}
    world.restart()
    assert world.alive() == {OLD.key}
    world.write(own.key)
    assert world.alive() == {OLD.key, own.key}


def test_many_are_said_in_one_line(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world.write(*(f"rule:f;g;r{n}" for n in range(8)))
    world.end([], set())
    assert caplog.messages[0].endswith("rule:f;g;r3, rule:f;g;r4 and 3 more")


@asynccontextmanager
async def gpu(temperature: float) -> AsyncIterator[str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=f"temperature {temperature}\n")

    app = web.Application()
    app.router.add_get("/metrics", answer)
    server = TestServer(app)
    await server.start_server()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.close()


class Receiver:
    """A server that takes samples by remote write."""

    def __init__(self) -> None:
        self.last: dict[tuple[str, str], bool] = {}
        """Whether the last sample of a series was a value, by name and instance. It was an end otherwise."""

    async def take(self, request: web.Request) -> web.Response:
        for labels, samples in decode(await request.read()).series:
            named = dict(labels)
            (bits,) = struct.unpack("<Q", struct.pack("<d", samples[-1][1]))
            self.last[named["__name__"], named.get("instance", "")] = bits != STALE_BITS
        return web.Response(status=204)

    def alive(self, name: str) -> set[str]:
        return {instance for (metric, instance), value in self.last.items() if metric == name and value}


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    made, app = Receiver(), web.Application()
    app.router.add_post("/write", made.take)
    server = TestServer(app)
    await server.start_server()
    try:
        yield made, str(server.make_url("/write"))
    finally:
        await server.close()


@asynccontextmanager
async def started(fleet: Write, folder: Path, address: str, listen: str, more: str = "") -> AsyncIterator[ControlPlane]:
    (folder / "rules.yml").write_text(RULES)
    text = (
        "evaluation_interval: 1s\nscrape: {interval: 1s, timeout: 1s}\nrules: [rules.yml]\n"
        f'targets: [{{engine: custom, addresses: ["{address}"]}}]\n' + more
    )
    async with running(fleet(text), folder, None, listen, observe_only=False) as (plane, _):
        plane.watch_itself(lambda: b"controlplane_answer 42\n")
        yield plane


async def test_a_restart_with_other_ports_shows_everything_once(fleet: Write, tmp_path: Path) -> None:
    """The first process sees a hot GPU; the next one is told of another address, where it is cool."""
    async with gpu(90.0) as hot, gpu(50.0) as cool:
        async with started(fleet, tmp_path, hot, "127.0.0.1:8080") as plane:
            log = SqlAlertLog(plane.database)
            await until(lambda: [a.state for a in log.active()] == [AlertState.FIRING])
            await until(lambda: len([t for t in plane.scraping.health() if t.health == "up"]) == 2)
            (fired,) = log.active()
            events = len(log.recent())

        # The same ports: the alert is the same one, and nobody is told that it is over.
        async with started(fleet, tmp_path, hot, "127.0.0.1:8080") as plane:
            log = SqlAlertLog(plane.database)
            await until(lambda: len([t for t in plane.scraping.health() if t.health == "up"]) == 2)
            await until(lambda: all(r.last_evaluation for r in plane.alerting.reports()))
            assert log.active() == [fired]
            assert len(log.recent()) == events

        async with started(fleet, tmp_path, cool, "127.0.0.1:8081") as plane:
            log = SqlAlertLog(plane.database)
            await until(lambda: len([t for t in plane.scraping.health() if t.health == "up"]) == 2)
            seen = {}
            for expr in ("temperature", "up", "controlplane_answer", "hottest"):
                samples = await plane.metrics.querier.instant(expr, plane.clock.now())
                seen[expr] = sorted(dict(s.labels).get("instance", "") for s in samples)
            own = "127.0.0.1:8081"
            assert seen["temperature"] == [cool]
            assert seen["up"] == sorted([cool, own])
            assert seen["controlplane_answer"] == [own]
            await until(lambda: log.active() == [])
            assert "no longer configured" in log.recent()[0].sentence or "removed" in log.recent()[0].sentence


async def test_a_server_that_gets_the_samples_is_told_too(fleet: Write, tmp_path: Path) -> None:
    async with gpu(90.0) as hot, gpu(50.0) as cool, receiver() as (far, url):
        more = f"metrics: {{remote_write: [{{url: '{url}', queue_config: {{batch_send_deadline: 100ms}}}}]}}\n"
        async with started(fleet, tmp_path, hot, "127.0.0.1:8080", more):
            await until(lambda: far.alive("temperature") == {hot} and hot in far.alive("up"))
        async with started(fleet, tmp_path, cool, "127.0.0.1:8080", more):
            await until(lambda: far.alive("temperature") == {cool} and cool in far.alive("up"))
            assert hot not in far.alive("up") | far.alive("target_up")


async def test_a_target_that_a_reload_drops_is_gone_at_once(fleet: Write, tmp_path: Path) -> None:
    async with gpu(50.0) as one, gpu(60.0) as two, started(fleet, tmp_path, one, "127.0.0.1:8080") as plane:
        await until(lambda: len([t for t in plane.scraping.health() if t.health == "up"]) == 2)
        (tmp_path / "fleet.yaml").write_text((tmp_path / "fleet.yaml").read_text().replace(one, two))
        await plane.reload("test")
        plane.loops.wake("discovery")
        await until(
            lambda: (
                [t.target.instance for t in plane.scraping.health() if t.health == "up" and "local" not in t.target.url]
                == [two]
            )
        )
        samples = await plane.metrics.querier.instant("temperature", plane.clock.now())
        assert [(dict(s.labels)["instance"], s.value) for s in samples] == [(two, 60.0)]
