"""Client of Triton's model repository API over HTTP. Answers are bounded, and every call has a deadline."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from collectors.target import Auth
from controlplane.errors import Unavailable
from controlplane.traffic.driver import EngineRefused, Question
from controlplane.traffic.engine_server import EngineServer, Reply
from controlplane.traffic.words import told

_VERSION = re.compile(r"[0-9]{1,18}")
"""Name of a version's directory. Triton stores it as int64."""
_NOT_EXPLICIT = "explicit model load / unload is not allowed"
_HEALTH_TRAP = (
    "Triton's /v2/health/ready now answers 400 until this version loads successfully or the server restarts, so a load "
    "balancer that checks it removes a healthy server; fix the version and load it, restart when convenient, or start "
    "tritonserver with --strict-readiness=false"
)
_MODE_PROBE = "controlplane.mode-check"
"""Name of a model that no repository has. Unloading it does nothing in explicit mode and is refused in other modes."""


@dataclass(frozen=True)
class IndexRow:
    """One version in the repository index. `state` is Triton's: `READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`."""

    version: int
    state: str
    reason: str


class TritonApi:
    """One Triton server. Raises Unavailable when no usable reply comes, and EngineRefused when Triton refuses."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, timeout_s: float = 5.0, auth: Auth | None = None
    ) -> None:
        self._url, self._server = url.rstrip("/"), EngineServer(url, session, timeout_s, auth)

    async def index(self, model: str) -> list[IndexRow]:
        """Return the versions of `model` that this server has ever loaded; others are not listed.

        Raises Unavailable for an answer that is not a repository index.
        """
        return (await self.models()).get(model, [])

    async def models(self) -> dict[str, list[IndexRow]]:
        """Return the versions that this server has ever loaded, by model. A model without any has an empty list.

        Raises Unavailable for an answer that is not a repository index, and EngineRefused when the server cannot read
        its repository.
        """
        status, body = await self._server.call("POST", "/v2/repository/index", {})
        rows = self._json(status, body, "the repository index")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Unavailable(f"{self._url} answered with something that is not a repository index: {_start(body)}")
        found: dict[str, list[IndexRow]] = {}
        for row in rows:
            mine = found.setdefault(str(row.get("name", "")), [])
            if _VERSION.fullmatch(version := str(row.get("version", ""))):
                mine.append(IndexRow(int(version), str(row.get("state", "")), told(str(row.get("reason", "")))))
        return found

    async def version_ready(self, model: str, version: int) -> bool:
        """Return whether this version accepts requests. One failed version makes /v2/health/ready answer 400."""
        status, _ = await self._server.call("GET", f"/v2/models/{quote(model, safe='')}/versions/{version}/ready")
        return status == 200

    async def config(self, model: str) -> dict[str, Any]:
        """Return the configuration of the loaded model.

        Raises EngineRefused when the model is not loaded, and Unavailable for an answer that is not an object.
        """
        status, body = await self._server.call("GET", f"/v2/models/{quote(model, safe='')}/config")
        config = self._json(status, body, f"the configuration of model {model}")
        if not isinstance(config, dict):
            raise Unavailable(f"{self._url} answered model {model}'s configuration with no object: {_start(body)}")
        return config

    async def check_explicit(self) -> None:
        """Raise EngineRefused unless the server accepts load orders. Changes nothing."""
        status, body = await self._server.call("POST", f"/v2/repository/models/{_MODE_PROBE}/unload", {})
        if status != 200 and _NOT_EXPLICIT in _error(body):
            raise self._refusal(status, body)

    async def load(self, model: str, config: dict[str, Any], timeout_s: float) -> None:
        """Load `model` with `config`. A return means that Triton answered 200; it does not prove that it is loaded."""
        await self._load(model, {"parameters": {"config": json.dumps(config)}}, timeout_s)

    async def load_as_stored(self, model: str, timeout_s: float) -> None:
        """Load `model` with the configuration of its folder. A folder that has not changed is not loaded again."""
        await self._load(model, {}, timeout_s)

    async def unload(self, model: str) -> None:
        """Unload all versions of `model`. A return does not prove that they are gone: their requests finish first."""
        status, body = await self._server.call("POST", f"/v2/repository/models/{quote(model, safe='')}/unload", {})
        if status != 200:
            raise self._refusal(status, body)

    async def ask(self, model: str, version: int, question: Question) -> Reply:
        """Post a question to one version and return the reply. Raises NotSent, or Unavailable without a reply."""
        path = f"/v2/models/{quote(model, safe='')}/versions/{version}/{question.path}"
        return await self._server.ask(path, question.body, question.timeout_s)

    async def _load(self, model: str, order: dict[str, Any], timeout_s: float) -> None:
        path = f"/v2/repository/models/{quote(model, safe='')}/load"
        status, body = await self._server.call("POST", path, order, timeout_s)
        if status != 200:
            raise self._refusal(status, body)

    def _json(self, status: int, body: bytes, what: str) -> Any:
        if status != 200:
            raise self._refusal(status, body)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Unavailable(f"{self._url} answered {what} with something that is not JSON: {_start(body)}") from error

    def _refusal(self, status: int, body: bytes) -> EngineRefused | Unavailable:
        """Return the error for a status that is not 200.

        A refusal of Triton is a JSON object with `error`. Any other answer comes from a proxy in between.
        """
        message = _error(body)
        if not message:
            return Unavailable(f"{self._url} answered HTTP {status} without Triton's error message: {_start(body)}")
        return EngineRefused(f"{self._url} answered: {with_cure(message)}")


def with_cure(message: str) -> str:
    """Return Triton's message with its cure, if the cure is known."""
    if _NOT_EXPLICIT in message:
        return f"{message}; start tritonserver with --model-control-mode=explicit"
    if "UNAVAILABLE state" in message:
        return f"{message}. {_HEALTH_TRAP}"
    return message


def _error(body: bytes) -> str:
    """Return the error message of Triton's answer on one line, or "" when it has none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return error_in(answer)


def error_in(answer: Any) -> str:
    """Return the message of Triton's JSON `{"error": …}` on one line; "" for any other JSON."""
    message = answer.get("error") if isinstance(answer, dict) else None
    return told(message) if isinstance(message, str) else ""


def _start(body: bytes) -> str:
    return repr(body[:120].decode("utf-8", "replace"))
