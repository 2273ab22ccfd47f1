"""Targets whose engine is `auto`, scrape by scrape, with the samples that queries and alerts see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from alerts.packs import EXAMPLE, load_pack
from collectors.catalogue.mapping import canonical_layout, lack
from collectors.catalogue.model import load_catalogue
from collectors.catalogue.recognition import recognition
from collectors.errors import Unreachable
from collectors.exposition.parser import Parsed
from collectors.samples import Layout
from collectors.scraping.scrape import ScrapeManager
from collectors.target import Lack, Target, TargetHealth
from controlplane.app.parts.part import Configuration
from controlplane.app.parts.scraping import Scraping
from controlplane.app.targets.remembered import remembered_engine
from controlplane.clock.system import SystemClock
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.folder import Folder
from controlplane.pools import make_pools
from tests.fakes.recipes import ready
from tests.fakes.scrape_once import scrape_once
from tests.patience import until

Write = Callable[[str], LoadedFleet]
CATALOGUE = load_catalogue()
FIXTURES = Path(__file__).parents[4] / "tests" / "fixtures"
T0 = 1_800_000_000.0
TARGET = Target("auto", "http://a:1/metrics", "serving", "a:1", (("model", "chat"),))
REFUSED = Unreachable("connection refused")
PROCESS = b"process_start_time_seconds 1\npython_info 1\n"
NODE = b"node_load1 1\nnode_cpu_seconds_total 5\ngo_goroutines 9\n"
VLLM = (FIXTURES / "captures/vllm-0.32-cpu.prom").read_bytes()
TRITON = (FIXTURES / "captures/triton-2.51-cache-seq-stream.prom").read_bytes()
SGLANG = (FIXTURES / "captures/sglang-0.5.23-cpu.prom").read_bytes()
RAY = (FIXTURES / "captures/ray-serve-2.60.prom").read_bytes()


class Page:
    """A source that answers with the page that the test sets, or fails."""

    def __init__(self) -> None:
        self.now: bytes | Unreachable = REFUSED
        self.reads = 0

    async def read(self, timeout_s: float) -> bytes:
        self.reads += 1
        if isinstance(self.now, Unreachable):
            raise self.now
        return self.now

    async def close(self) -> None:
        pass


class World:
    """One target, a store in files, and a clock that moves 15 s at a scrape."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.time, self.page = folder, T0, Page()
        self.start()

    def start(self) -> None:
        self.store = SeriesStore.in_folder(self.folder, 86_400.0, None, 86_400.0)
        self.manager = ScrapeManager(
            self.store,
            lambda _target: ready(self.page),
            self._layout,
            self,
            find_lack=self._lack,
            recognise=lambda names, known: recognition(names, CATALOGUE, known),
            remembered=partial(remembered_engine, self.store),
            monotonic=lambda: self.time,
        )

    def now(self) -> float:
        return self.time

    def restart(self) -> None:
        self.close()
        self.start()

    def close(self) -> None:
        assert isinstance(self.store.space, Folder)
        self.store.space.close()

    async def scrape(self, page: bytes | Unreachable, target: Target = TARGET) -> TargetHealth:
        self.time, self.page.now = self.time + 15, page
        return await scrape_once(self.manager, target)

    def query(self, expr: str) -> dict[str, float]:
        """Return the values of a query by the label engine. Two series of one engine are a fault."""
        value = PromqlEngine(self.store).instant(expr, self.time)
        assert isinstance(value, Vector)
        found = [(dict(sample.labels).get("engine", ""), sample.value) for sample in value.samples]
        assert len(dict(found)) == len(found), found
        return dict(found)

    def _layout(self, target: Target, parsed: Parsed) -> Layout:
        return canonical_layout(parsed.series, parsed.metadata, target, CATALOGUE)

    def _lack(self, target: Target, layout: Layout) -> Lack:
        return lack(layout, CATALOGUE, target.engine)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "metrics")
    yield made
    made.close()


async def test_a_server_that_starts_is_unknown_then_recognised_and_stays_so_when_it_is_down(world: World) -> None:
    health = await world.scrape(REFUSED)
    assert (health.engine, health.health, health.remark) == ("auto", "down", "")
    assert world.query("target_up") == {"auto": 0}

    health = await world.scrape(PROCESS)  # its HTTP server is up, its model is not loaded
    assert (health.engine, health.health, health.instead) == ("auto", "up", "")
    assert health.remark == (
        "exposes no metrics of an engine yet, and is recognised once it does; check path: if it never does"
    )
    assert world.query("target_up") == {"auto": 1}

    health = await world.scrape(VLLM)
    assert (health.engine, health.remark, health.missing) == ("vllm", "", ())
    assert world.query("target_up") == {"vllm": 1}
    assert world.query("sum by (engine) (llm_requests_running)") == {"vllm": 0}
    assert world.query("up") == {"": 1}

    health = await world.scrape(REFUSED)
    assert (health.engine, health.health) == ("vllm", "down")
    assert world.query("target_up") == {"vllm": 0}
    assert world.query("llm_requests_running") == {}


async def test_a_server_that_is_down_at_the_start_is_what_it_was_before_the_restart(world: World) -> None:
    await world.scrape(VLLM)
    await world.scrape(REFUSED)
    world.restart()
    health = await world.scrape(REFUSED)
    assert (health.engine, health.health) == ("vllm", "down")
    assert world.query("target_up") == {"vllm": 0}
    assert world.query("changes(target_up[1m])") == {"vllm": 1}, "one series goes on over the restart"
    rules = {rule.name: rule for group in load_pack("llm", options=EXAMPLE) for rule in group.rules}
    assert world.query(rules["LLMEngineDown"].expr) == {"vllm": 0}


async def test_a_setting_that_changes_while_a_server_is_down_does_not_make_it_unknown(world: World) -> None:
    await world.scrape(VLLM)
    await world.manager.apply([replace(TARGET, interval_s=30.0)])
    (health,) = world.manager.health()
    assert (health.engine, health.health) == ("vllm", "unknown")
    await world.manager.close()


async def test_another_engine_at_the_address_ends_the_series_of_the_first(world: World) -> None:
    await world.scrape(VLLM)
    assert set(world.query("count by (engine) (llm_requests_total)")) == {"vllm"}
    health = await world.scrape(TRITON)
    assert health.engine == "triton"
    assert world.query("target_up") == {"triton": 1}
    assert world.query("count by (engine) (up)") == {"": 1}
    assert set(world.query("count by (engine) (llm_requests_total)")) == {"triton"}
    assert set(world.query("count by (engine) (collector_metric_present)")) == {""}
    metrics = world.query('count(collector_metric_present{metric="llm_time_to_first_token_seconds"})')
    assert metrics == {}, "what only vLLM should report is expected no more"


async def test_a_page_of_no_engine_is_custom_and_says_what_it_looks_like(world: World) -> None:
    health = await world.scrape(NODE)
    assert (health.engine, health.health, health.instead, health.missing) == ("custom", "up", "", ())
    assert health.remark == "has metrics of node_exporter, and of no known engine: raw metrics only"
    assert world.query("target_up") == {"custom": 1}
    assert world.query("node_load1") == {"": 1}
    health = await world.scrape(SGLANG)  # the address was that of another program for a while
    assert (health.engine, health.remark) == ("sglang", "")
    assert world.query("target_up") == {"sglang": 1}


async def test_an_engine_that_loses_its_metrics_stays_an_engine_and_is_blind(world: World) -> None:
    await world.scrape(VLLM)
    health = await world.scrape(PROCESS)
    assert (health.engine, health.remark) == (
        "vllm",
        "was recognised as vllm, and now exposes none of its metrics: correct the address, or name the engine under"
        " engine:",
    )
    assert health.instead
    health = await world.scrape(NODE)
    assert health.engine == "vllm"
    assert health.remark.startswith("was recognised as vllm, and now answers with metrics of node_exporter: correct")
    assert world.query("target_up") == {"vllm": 1}
    assert world.query('collector_metric_present{metric="llm_requests_total"}') == {"": 0}


async def test_a_page_of_several_engines_is_that_of_the_more_specific(world: World) -> None:
    health = await world.scrape(VLLM + TRITON)
    assert (health.engine, health.remark) == (
        "triton",
        "is read as triton; of the metrics of vllm beside, only those that triton maps count",
    )
    health = await world.scrape(RAY + VLLM.replace(b"vllm:", b"ray_vllm:"))
    assert (health.engine, health.remark) == (
        "vllm",
        "is read as vllm; of the metrics of ray beside, only those that vllm maps count",
    )


@pytest.mark.parametrize("body", [b"[]", b' [{"iter": 5, "iterLatencyMS": 12.5}]\n'])
async def test_a_queue_that_a_read_empties_is_read_once(world: World, body: bytes) -> None:
    for _ in range(3):
        health = await world.scrape(body)
        assert (health.health, health.last_error_reason) == ("down", "drained")
        assert health.last_error == (
            "the body is a list in JSON, as /metrics of TensorRT-LLM is, of which each read empties a queue: it is not"
            " read again. For TensorRT-LLM write engine: trtllm, else correct path:"
        )
    assert world.page.reads == 1
    assert world.query("target_up") == {"auto": 0}


async def test_a_named_engine_is_never_overruled(world: World) -> None:
    health = await world.scrape(TRITON, replace(TARGET, engine="vllm"))
    assert (health.engine, health.recognised) == ("vllm", "")
    assert health.instead == "answers with metrics of triton, not of vllm: correct engine: or the address"
    assert world.query("target_up") == {"vllm": 1}


async def test_a_running_control_plane_recognises_and_remembers(fleet: Write, tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=VLLM)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    server = TestServer(app)
    await server.start_server()
    loaded = fleet(
        "scrape: {interval: 1s, timeout: 1s}\n"
        f"targets: [{{engine: auto, addresses: ['127.0.0.1:{server.port}'], labels: {{job: serving}}}}]\n"
    )
    for health in ("up", "down"):
        store = SeriesStore.in_folder(tmp_path / "stored", 86_400.0, None, 86_400.0)
        part = Scraping(load_catalogue(), store, store, SystemClock(), "127.0.0.1:8080", make_pools(), rules=tuple)
        await part.configure(part.settings(Configuration(loaded, "127.0.0.1:8080")))
        await part.discover()
        if health == "down":
            assert [one.engine for one in part.health()] == ["vllm"], "before the first scrape"
        await until(partial(lambda part, health: [one.health for one in part.health()] == [health], part, health))
        assert [(one.engine, one.target.engine) for one in part.health()] == [("vllm", "auto")]
        await part.close()
        assert isinstance(store.space, Folder)
        store.space.close()
        await server.close()
