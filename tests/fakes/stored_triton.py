"""A fake Triton that reads a real repository of models, over real HTTP: explicit, poll and none mode, and faults.

It does what tritonserver 2.51 was measured to do. A load without a configuration loads a model again only when a time
in its folder has changed. A load that fails leaves READY what was in memory before. Without its repository the index is
an error, and what is in memory goes on.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

MODES = {
    "poll": "explicit model load / unload is not allowed if polling is enabled",
    "none": "explicit model load / unload is not allowed if model control mode is none",
}


@dataclass
class Loaded:
    """A model in memory."""

    stamp: object
    versions: dict[int, str] = field(default_factory=dict)
    """The bytes of each version's file `weights`, by its number."""
    policy: dict[str, Any] = field(default_factory=dict)


class StoredTriton:
    """One server on a free loopback port: `async with StoredTriton(repository) as triton`.

    `config.pbtxt` of a model is JSON here: {"version_policy": …}. A version whose `weights` begin with `bad` cannot be
    loaded.
    """

    def __init__(self, repository: Path, mode: str = "explicit") -> None:
        self.repository, self.mode = repository, mode
        self.memory: dict[str, Loaded] = {}
        self.orders: list[str] = []
        """Loads and unloads, such as `load chat`."""
        self.hangs = False
        """Whether loads never end."""
        self.lies = False
        """Whether loads are answered 200 and not done."""
        self.refuses_unload = ""
        """Why unloads are refused; "": they are not. The question for the mode is answered all the same."""
        self.cut = 0
        """Number of loads whose connection is cut before anything is done."""
        self.index_says: dict[str, list[dict[str, str]]] = {}
        """Rows of the index in place of a model's own."""
        self.not_ready: set[int] = set()
        self.url = ""
        self._end = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v2/repository/index", self._index)
        app.router.add_get("/v2/models/{model}/config", self._config)
        app.router.add_get("/v2/models/{model}/versions/{version}/ready", self._ready)
        app.router.add_post("/v2/repository/models/{model}/load", self._load)
        app.router.add_post("/v2/repository/models/{model}/unload", self._unload)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._end.set()
        await self._runner.cleanup()

    def start(self, *models: str) -> Self:
        """Load models as at the server's start."""
        for model in models:
            assert self.read(model) == ""
        return self

    def serves(self, model: str) -> dict[int, str]:
        """Return what is in memory of a model."""
        return self.memory[model].versions if model in self.memory else {}

    def read(self, model: str) -> str:
        """Load a model from disk. Return why it cannot be loaded; "": it is."""
        folder = self.repository / model
        if not folder.is_dir():
            return f"failed to load '{model}', failed to poll from model repository"
        stamp = [(str(path), path.stat().st_mtime_ns) for path in (folder, *sorted(folder.rglob("*")))]
        if model in self.memory and self.memory[model].stamp == stamp:
            return ""
        config = folder / "config.pbtxt"
        policy = (json.loads(config.read_text()) if config.exists() else {}).get("version_policy", {})
        numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
        if "specific" in policy:
            numbers = [number for number in numbers if number in policy["specific"]["versions"]]
        elif "all" not in policy:
            numbers = numbers[-1:]
        found = {}
        for number in numbers:
            file = folder / str(number) / "weights"
            found[number] = file.read_text() if file.exists() else ""
            if found[number].startswith("bad"):
                return f"load failed for model '{model}': version {number} is at UNAVAILABLE state: {found[number]}"
        if not found:
            return f"load failed for model '{model}': at least one version must be available"
        self.memory[model] = Loaded(stamp, found, policy)
        return ""

    def poll(self) -> None:
        """Look at the repository as a server in poll mode does."""
        for folder in sorted(self.repository.iterdir()):
            if not folder.name.startswith("."):
                self.read(folder.name)

    async def _index(self, request: web.Request) -> web.Response:
        if not self.repository.is_dir():
            return _error(500, f"failed to open directory {self.repository}")
        rows = []
        for folder in sorted(self.repository.iterdir()):
            name, versions = folder.name, self.serves(folder.name)
            rows += self.index_says.get(name) or [{"name": name, "version": str(v), "state": "READY"} for v in versions]
            if not versions and name not in self.index_says:
                rows.append({"name": name})
        return web.json_response(rows)

    async def _config(self, request: web.Request) -> web.Response:
        model = request.match_info["model"]
        if model not in self.memory:
            return _error(404, f"Request for unknown model: '{model}' is not found")
        return web.json_response({"name": model, "version_policy": self.memory[model].policy or {"latest": {}}})

    async def _ready(self, request: web.Request) -> web.Response:
        version = int(request.match_info["version"])
        ready = version in self.serves(request.match_info["model"]) and version not in self.not_ready
        return web.Response() if ready else _error(400, "Model version not ready")

    async def _load(self, request: web.Request) -> web.Response:
        model = request.match_info["model"]
        if self.mode != "explicit":
            return _error(503, MODES[self.mode])
        self.orders.append(f"load {model}")
        if self.cut:
            self.cut -= 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.hangs:
            await self._end.wait()
        if not self.lies and (fault := self.read(model)):
            return _error(400, fault)
        return web.Response()

    async def _unload(self, request: web.Request) -> web.Response:
        model = request.match_info["model"]
        if self.mode != "explicit":
            return _error(503, MODES[self.mode])
        if self.refuses_unload and (self.repository / model).is_symlink():
            return _error(400, self.refuses_unload)
        if self.memory.pop(model, None):
            self.orders.append(f"unload {model}")
        return web.Response()


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
