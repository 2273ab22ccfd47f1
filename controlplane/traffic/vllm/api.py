"""Client of vLLM's API for LoRA adapters and for sleep. Answers are bounded, and every call has a deadline."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from collectors.target import Auth
from controlplane.errors import Unavailable
from controlplane.traffic.driver import EngineRefused
from controlplane.traffic.engine_server import EngineServer
from controlplane.traffic.words import told

_CURE = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
_LOAD = "/v1/load_lora_adapter"
_UNLOAD = "/v1/unload_lora_adapter"


class VllmApi:
    """One vLLM server. Raises NotSent, Unavailable without a usable answer, and EngineRefused when vLLM refuses."""

    def __init__(self, url: str, session: aiohttp.ClientSession, timeout_s: float, auth: Auth | None) -> None:
        self._url, self._server = url.rstrip("/"), EngineServer(url, session, timeout_s, auth)

    async def models(self) -> dict[str, str]:
        """Return the path of each served model by its name. The base model is among them.

        Raises Unavailable for an answer of another shape.
        """
        status, body = await self._server.call("GET", "/v1/models")
        try:
            return {told(str(model["id"])): told(str(model.get("root") or "")) for model in json.loads(body)["data"]}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Unavailable(f"{self._url} answered /v1/models with no list of models (status {status})") from error

    async def sleeps(self) -> bool:
        """Return whether the server sleeps. A server without that API is awake.

        Raises Unavailable for an answer of another shape.
        """
        status, body = await self._server.call("GET", "/is_sleeping")
        if status == 404:
            return False
        try:
            return json.loads(body)["is_sleeping"] is True
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Unavailable(f"{self._url} answered /is_sleeping with no state (status {status})") from error

    async def wake(self, timeout_s: float) -> None:
        """Wake the server."""
        await self._order("/wake_up", None, timeout_s)

    async def load(self, name: str, path: str, again: bool, timeout_s: float) -> None:
        """Load an adapter under a name. `again`: the name is loaded already, and gets the adapter of `path`."""
        order = {"lora_name": name, "lora_path": path, **({"load_inplace": True} if again else {})}
        await self._order(_LOAD, order, timeout_s)

    async def unload(self, name: str, timeout_s: float) -> None:
        """Unload an adapter. One that is not loaded is no fault."""
        try:
            await self._order(_UNLOAD, {"lora_name": name}, timeout_s)
        except EngineRefused:
            if name in await self.models():
                raise

    async def check_loads(self) -> None:
        """Raise EngineRefused unless the server takes orders for adapters. Changes nothing: the order has no name."""
        status, body = await self._server.call("POST", _UNLOAD, {})
        if status == 404 and not _error(body):
            raise EngineRefused(f"{self._url} has no {_UNLOAD}; {_CURE}")

    async def _order(self, path: str, body: Any, timeout_s: float) -> None:
        status, answer = await self._server.call("POST", path, body, timeout_s)
        if status == 200:
            return
        words = _error(answer)
        if not words:
            raise EngineRefused(f"{self._url} answered {path} with status {status}; {_CURE}")
        raise EngineRefused(f"{self._url} answered: {words}")


def _error(body: bytes) -> str:
    """Return the message of vLLM's `{"error": {"message": …}}` on one line; "" for any other answer."""
    try:
        return told(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
