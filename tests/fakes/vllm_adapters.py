"""vLLM's API for LoRA adapters and sleep over real HTTP, with statuses and texts of a real vLLM 0.32."""

from __future__ import annotations

from typing import Any, Self

from aiohttp import web


class FakeVllm:
    """One server of base model `base`: `async with FakeVllm({"chat": "/adapters/v1"}) as vllm`."""

    def __init__(self, adapters: dict[str, str], on_disk: tuple[str, ...] = ("/adapters/v1", "/adapters/v2")) -> None:
        self.adapters, self.on_disk = dict(adapters), on_disk
        self.asleep, self.updates = False, True
        """`updates` is False without VLLM_ALLOW_RUNTIME_LORA_UPDATING."""
        self.orders: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[str] = []

    async def __aenter__(self) -> Self:
        app = web.Application()
        routes = [
            web.get("/v1/models", self._models),
            web.get("/is_sleeping", self._sleeping),
            web.post("/wake_up", self._wake),
            web.post("/v1/chat/completions", self._chat),
        ]
        if self.updates:
            routes += [
                web.post("/v1/load_lora_adapter", self._load),
                web.post("/v1/unload_lora_adapter", self._unload),
            ]
        app.add_routes(routes)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        rows = [{"id": "base", "object": "model", "root": "models/base", "parent": None}]
        rows += [{"id": n, "object": "model", "root": p, "parent": "base"} for n, p in self.adapters.items()]
        return web.json_response({"object": "list", "data": rows})

    async def _load(self, request: web.Request) -> web.Response:
        order = await request.json()
        self.orders.append(("load", order))
        name, path = order["lora_name"], order["lora_path"]
        if name in self.adapters and not order.get("load_inplace"):
            words = f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
            return _error(400, f"{words}'load_inplace' to True.", "InvalidUserInput")
        if path not in self.on_disk:
            return _error(404, f"Loading lora {name} failed: No adapter found for {path}", "NotFoundError")
        self.adapters[name] = path
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        order = await request.json()
        if "lora_name" not in order:
            return _error(400, "lora_name: Field required", "Bad Request")
        self.orders.append(("unload", order))
        if order["lora_name"] not in self.adapters:
            return _error(404, f"The lora adapter '{order['lora_name']}' cannot be found.", "NotFoundError")
        del self.adapters[order["lora_name"]]
        return web.Response(text=f"Success: LoRA adapter '{order['lora_name']}' removed successfully.")

    async def _sleeping(self, request: web.Request) -> web.Response:
        return web.json_response({"is_sleeping": self.asleep})

    async def _wake(self, request: web.Request) -> web.Response:
        self.asleep = False
        return web.json_response({"status": "awake", "tags": None})

    async def _chat(self, request: web.Request) -> web.Response:
        name = (await request.json())["model"]
        self.asked.append(name)
        if name not in self.adapters:
            return _error(404, f"The model `{name}` does not exist.", "NotFoundError")
        message = {"role": "assistant", "content": self.adapters[name]}
        return web.json_response({"model": name, "choices": [{"message": message, "finish_reason": "stop"}]})


def _error(status: int, message: str, kind: str) -> web.Response:
    body = {"error": {"message": message, "type": kind, "param": None, "code": status}}
    return web.json_response(body, status=status)
