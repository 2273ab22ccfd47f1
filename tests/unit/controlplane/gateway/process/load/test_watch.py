"""Questions to engines over real HTTP, turn by turn, and the vetoes that follow from their answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controlplane.gateway.desired.document import BackendSpec, CredentialsSpec, Desired, ModelSpec, VersionSpec
from controlplane.gateway.process.load.watch import HOLD_S, EngineWatch
from controlplane.gateway.telemetry.families import VETOED


class Engines:
    """Engines behind one server: `/a/metrics` is that of the engine `a`."""

    def __init__(self) -> None:
        self.waiting: dict[str, float | None] = {}
        self.asked: list[str] = []
        self.keys: set[str] = set()
        self.status = 200
        self.root = ""

    async def answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.asked.append(name)
        self.keys.add(request.headers.get("Authorization", ""))
        waiting = self.waiting.get(name)
        body = "" if waiting is None else f"vllm:num_requests_waiting {waiting}\n"
        return web.Response(text=body, status=self.status)

    def spec(self, name: str, **more: Any) -> BackendSpec:
        return BackendSpec(f"{self.root}/{name}", "vllm", "chat", **more)


class FakeMeters:
    """Keeps gauges by family and labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def gauge(self, family: Any, *labels: str) -> Any:
        meters = self

        class Gauge:
            def set(self, value: float) -> None:
                meters.values[(family.name, *labels)] = value

        return Gauge()


class World:
    def __init__(self, engines: Engines) -> None:
        self.engines = engines
        self.desired: Desired | None = None
        self.said: list[dict[str, float]] = []
        self.meters = FakeMeters()
        self.watch = EngineWatch(lambda: self.desired, self.veto, self.meters)  # type: ignore[arg-type]

    def veto(self, seconds: Mapping[str, float]) -> None:
        names = {url.removeprefix(f"{self.engines.root}/"): lasts for url, lasts in seconds.items()}
        self.said.append(names)

    def serve(self, *versions: tuple[BackendSpec, ...]) -> None:
        made = tuple(VersionSpec(f"v{number}", 0, backends) for number, backends in enumerate(versions))
        self.desired = Desired("r", (ModelSpec("chat", 1, made),))

    async def turn(self) -> dict[str, float]:
        """Return the vetoes of one turn."""
        self.said.clear()
        self.engines.asked.clear()
        await self.watch.turn()
        assert len(self.said) <= 1
        return self.said[0] if self.said else {}


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    engines = Engines()
    app = web.Application()
    app.add_routes([web.get("/{name}/metrics", engines.answer)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    engines.root = f"http://127.0.0.1:{runner.addresses[0][1]}"
    world = World(engines)
    try:
        yield world
    finally:
        await world.watch.close()
        await runner.cleanup()


async def test_a_full_engine_is_vetoed_until_it_is_not() -> None:
    async with running() as world:
        engines = world.engines
        assert await world.turn() == {}  # there is no desired state yet
        world.serve((engines.spec("a"), engines.spec("b"), engines.spec("c")))
        engines.waiting = {"a": 9.0, "b": 0.0, "c": None}
        assert await world.turn() == {"a": HOLD_S}
        assert sorted(engines.asked) == ["a", "b", "c"]
        assert world.meters.values == {(VETOED.name, f"{engines.root}/a"): 1.0}
        assert await world.turn() == {"a": HOLD_S}
        engines.waiting["b"] = 5.0
        assert await world.turn() == {"a": HOLD_S, "b": HOLD_S}
        engines.waiting["a"] = 4.0
        assert await world.turn() == {"a": 0.0, "b": HOLD_S}
        assert world.meters.values == {(VETOED.name, f"{engines.root}/a"): 0.0, (VETOED.name, f"{engines.root}/b"): 1.0}
        engines.waiting["b"] = 0.0
        assert await world.turn() == {"b": 0.0}
        assert await world.turn() == {}


@pytest.mark.parametrize("silence", ["no gauge", "an error"])
async def test_an_engine_that_says_nothing_changes_nothing(silence: str) -> None:
    async with running() as world:
        engines = world.engines
        world.serve((engines.spec("a"), engines.spec("b")))
        engines.waiting = {"a": 9.0, "b": 9.0}
        assert await world.turn() == {"a": HOLD_S, "b": HOLD_S}
        if silence == "no gauge":
            engines.waiting = {}
        else:
            engines.status = 503
        assert await world.turn() == {}, "the vetoes run out by themselves"


async def test_only_engines_with_others_beside_them_are_asked() -> None:
    async with running() as world:
        engines = world.engines
        llama = BackendSpec(f"{engines.root}/d", "tgi", "chat", metrics=f"{engines.root}/other/metrics")
        world.serve(
            (engines.spec("alone"),),
            (engines.spec("a"), engines.spec("b", draining=True)),
            (engines.spec("twice"), engines.spec("twice", path_version="2")),
            (engines.spec("c"), llama),
        )
        await world.turn()
        assert sorted(engines.asked) == ["c", "other"]


async def test_a_veto_on_an_engine_that_is_named_no_more_ends() -> None:
    async with running() as world:
        engines = world.engines
        world.serve((engines.spec("a"), engines.spec("b")))
        engines.waiting = {"a": 9.0}
        assert await world.turn() == {"a": HOLD_S}
        world.serve((engines.spec("b"), engines.spec("c")))
        assert await world.turn() == {"a": 0.0}
        assert len(world.watch._clients) == 2


async def test_engines_are_asked_with_their_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", "from-env")
    (tmp_path / "key").write_text("from-file\n")
    async with running() as world:
        world.serve(
            (
                world.engines.spec("a", credentials=CredentialsSpec(env="ENGINE_KEY")),
                world.engines.spec("b", credentials=CredentialsSpec(scheme="Token", file=str(tmp_path / "key"))),
                world.engines.spec("c", credentials=CredentialsSpec(username="u", file=str(tmp_path / "key"))),
                world.engines.spec("d", credentials=CredentialsSpec(file=str(tmp_path / "gone"))),
                world.engines.spec("e"),
            )
        )
        assert await world.turn() == {}
        assert sorted(world.engines.asked) == ["a", "b", "c", "e"]
        assert world.engines.keys == {"Bearer from-env", "Token from-file", "Basic dTpmcm9tLWZpbGU=", ""}
