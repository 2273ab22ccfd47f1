"""A fake Triton: the model repository API over real HTTP, able to misbehave in every way that rollouts must survive.

It does what tritonserver 2.51 was measured to do (docs/adr/0003-triton-switch.md). A load names its versions. Missing
directories are skipped with a 200. A failing version aborts the whole load. Versions that were never loaded are not in
the index. Unloading waits until the requests are finished.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

CONFIG = {"name": "model", "backend": "python", "model_warmup": [], "version_policy": {"specific": {"versions": [1]}}}


class FakeTriton:
    """One server on a free loopback port with a model called `model`: `async with FakeTriton() as triton`."""

    def __init__(self, on_disk: tuple[int, ...] = (1, 2), policy: tuple[int, ...] = (1,)) -> None:
        self.on_disk, self.policy = set(on_disk), list(policy)
        self.states: dict[int, str] = {}
        self.reasons: dict[int, str] = {}
        self.loads: list[list[int]] = []
        """The versions of every load call, in order."""
        self.config: dict[str, Any] = {}
        self.mode = "explicit"
        self.fails: dict[int, str] = {}
        """Version -> the reason why its initialize raises."""
        self.reachable = True
        self.drop_replies = 0
        """Number of load calls that are done, but whose connection is cut instead of answered."""
        self.swallow = 0
        """Number of load calls whose connection is cut before anything is done."""
        self.lies = 0
        """Number of load calls that are answered 200 and not done."""
        self.race_unload = 0
        """Number of loads after which another client unloads the model."""
        self.stuck_unloading = False
        self.garbage = False
        self.hostile: Callable[[web.Request, Any], Awaitable[web.Response]] | None = None
        """When set, it answers all requests."""
        self.on_request: Callable[[str], None] = lambda path: None
        """Called with the path of each request before it is handled."""
        self.not_ready: set[int] = set()
        """Versions whose readiness endpoint answers no although the index says READY."""
        self.raises: dict[int, str] = {}
        """Version -> the message with which its execute raises at every request. The version stays READY."""
        self.says: dict[int, dict[str, str]] = {}
        """Version -> its answer to each `text_input` of `generate`. Another question is answered "hi"."""
        self.refuses: set[str] = set()
        """Each `text_input` that every version refuses with 422."""
        self.hangs: set[int] = set()
        """Versions that never answer a request. They stay READY."""
        self.kills: set[int] = set()
        """Versions whose first request takes the whole server down."""
        self.asked: list[tuple[int, str, dict[str, Any]]] = []
        """(version, path, body) of every request to a version by its own name."""
        self.key = ""
        """When set, requests without this bearer token are refused, as by a proxy."""
        self._stopped = asyncio.Event()
        self._door = asyncio.Event()
        self._door.set()
        self._gate = asyncio.Event()
        self._gate.set()
        self.url = ""
        self._runner: web.AppRunner | None = None
        self._work: set[asyncio.Task[web.Response | None]] = set()
        self.restart()

    def hold_loads(self) -> None:
        """Keep loads LOADING, and their calls unanswered, until `finish_loads`."""
        self._gate.clear()

    def hold_orders(self) -> None:
        """Keep load calls unread, without any visible effect, until `take_orders`."""
        self._door.clear()

    def take_orders(self) -> None:
        """Read the held load calls."""
        self._door.set()

    def finish_loads(self) -> None:
        """Finish the held loads."""
        self._gate.set()

    def restart(self) -> None:
        """Restart with the state on disk. Overrides are in memory only and are lost."""
        self.reasons, self.config = {}, {**CONFIG, "version_policy": {"specific": {"versions": list(self.policy)}}}
        self.states = {v: "READY" for v in self.policy if v in self.on_disk}

    @property
    def serving(self) -> int | None:
        """The version that unversioned requests reach."""
        return max((v for v, state in self.states.items() if state == "READY"), default=None)

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._behave])
        app.router.add_post("/v2/repository/index", self._index)
        app.router.add_get("/v2/models/{model}/config", self._config)
        app.router.add_get("/v2/models/{model}/versions/{version}/ready", self._ready)
        app.router.add_post("/v2/models/{model}/versions/{version}/{path}", self._ask)
        app.router.add_post("/v2/repository/models/{model}/load", self._load)
        app.router.add_post("/v2/repository/models/{model}/unload", self._unload)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.take_orders()
        self.finish_loads()
        self._stopped.set()
        await asyncio.gather(*self._work)
        assert self._runner is not None
        await self._runner.cleanup()

    @web.middleware
    async def _behave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.on_request(request.path)
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "who are you?"}, status=401)
        if not self.reachable:
            return _cut(request)
        if self.garbage:
            return web.Response(text="<html>502 Bad Gateway</html>", status=200)
        if self.hostile:
            return await self.hostile(request, handler)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _index(self, request: web.Request) -> web.Response:
        rows: list[dict[str, str]] = [{"name": "another", "version": "7", "state": "READY"}]
        for version, state in sorted(self.states.items()):
            row = {"name": "model", "version": str(version), "state": state}
            rows.append(row | ({"reason": self.reasons[version]} if version in self.reasons else {}))
        for version, state in list(self.states.items()):
            if state == "UNLOADING" and not self.stuck_unloading:
                self.states[version], self.reasons[version] = "UNAVAILABLE", "unloaded"
        return web.json_response(rows)

    async def _config(self, request: web.Request) -> web.Response:
        if request.match_info["model"] != "model":
            return _error(404, f"Request for unknown model: '{request.match_info['model']}' is not found")
        if self.serving is None:
            return _error(404, "Request for unknown model: 'model' has no available versions")
        return web.json_response(self.config)

    async def _ready(self, request: web.Request) -> web.Response:
        version = int(request.match_info["version"])
        ok = self.states.get(version) == "READY" and version not in self.not_ready
        return web.Response() if ok else _error(400, "Model version not ready")

    async def _ask(self, request: web.Request) -> web.Response:
        version, path = int(request.match_info["version"]), request.match_info["path"]
        asked = await request.json()
        self.asked.append((version, path, asked))
        if self.states.get(version) != "READY":
            return _error(503, f"Request for unknown model: 'model' version {version} is not at ready state")
        if version in self.kills:
            self.reachable = False
            return _cut(request)
        if version in self.hangs:
            await self._stopped.wait()
        if version in self.raises:
            return _error(
                400, f"Failed to process the request(s) for model 'model_0_0', message: {self.raises[version]}"
            )
        if asked.get("text_input") in self.refuses:
            return _error(422, "wrong input")
        if path == "generate":
            return web.json_response({"text_output": self.says.get(version, {}).get(asked["text_input"], "hi")})
        if path == "generate_stream":
            return web.Response(text='data: {"text_output":"hi"}\n\n', content_type="text/event-stream")
        return web.json_response({"outputs": [{"name": "y", "data": ["hi"]}]})

    async def _unload(self, request: web.Request) -> web.Response:
        if self.mode != "explicit":
            return _error(503, "explicit model load / unload is not allowed if polling is enabled")
        if request.match_info["model"] == "model":
            self._place([])
        return web.Response()

    async def _load(self, request: web.Request) -> web.StreamResponse:
        config = json.loads((await request.json())["parameters"]["config"])
        await self._door.wait()
        wanted = config["version_policy"]["specific"]["versions"]
        self.loads.append(wanted)
        if self.mode != "explicit":
            return _error(503, "explicit model load / unload is not allowed if polling is enabled")
        if self.swallow:
            self.swallow -= 1
            return _cut(request)
        if self.lies:
            self.lies -= 1
            return web.Response()
        found = [v for v in wanted if v in self.on_disk]
        if not found:
            return _error(400, "load failed for model 'model': at least one version must be available")
        work = asyncio.create_task(self._carry_out(found, config))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        if self.drop_replies:
            self.drop_replies -= 1
            return _cut(request)
        return await asyncio.shield(work) or web.Response()  # a client that disconnects does not stop a load

    async def _carry_out(self, wanted: list[int], config: dict[str, Any]) -> web.Response | None:
        order = len(self.loads)
        for version in wanted:
            if self.states.get(version) != "READY":
                self.states[version] = "LOADING"
                self.reasons.pop(version, None)
        await self._gate.wait()
        if failing := next((v for v in wanted if v in self.fails and self.states[v] != "READY"), None):
            reason = self.fails[failing]
            self.states[failing], self.reasons[failing] = "UNAVAILABLE", reason
            return _error(400, f"load failed for model 'model': version {failing} is at UNAVAILABLE state: {reason}")
        if order == len(self.loads):  # after several waiting loads the versions of the last one stay
            self._place(wanted)
            self.config = config
            if self.race_unload:
                self.race_unload -= 1
                self._place([])
        return None

    def _place(self, wanted: list[int]) -> None:
        for version in wanted:
            self.states[version] = "READY"
            self.reasons.pop(version, None)
        for version, state in self.states.items():
            if version not in wanted and state in ("READY", "LOADING"):
                self.states[version] = "UNLOADING"


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _cut(request: web.Request) -> web.Response:
    """Close the connection without a reply."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
