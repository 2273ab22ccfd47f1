"""Client of Triton's model repository API over HTTP. Answers are bounded, and every call has a deadline."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

import aiohttp

from collectors.errors import ScrapeError
from collectors.http.http_client import request_options
from collectors.http.tls import TlsContexts
from collectors.target import Auth
from controlplane.errors import Unavailable
from controlplane.traffic.driver import EngineRefused, NotSent
from controlplane.traffic.words import told

MAX_BODY_BYTES = 4 * 2**20
"""Maximum size of an answer. Chosen: a repository index or a model configuration has some kilobytes."""
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


def open_session() -> aiohttp.ClientSession:
    """Return a session for Triton's API. Call it on the running event loop.

    Every call opens a new connection. Triton binds a connection to one of its HTTP threads, and a load occupies its
    thread until the model is loaded: a kept-alive connection on that thread would get no answer until then.
    """
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), trust_env=False)


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
        self._url, self._session, self._timeout_s, self._auth = url.rstrip("/"), session, timeout_s, auth
        self._tls = TlsContexts()

    async def index(self, model: str) -> list[IndexRow]:
        """Return the versions of `model` that this server has ever loaded; others are not listed.

        Raises Unavailable for an answer that is not a repository index.
        """
        status, body = await self._call("POST", "/v2/repository/index", {})
        rows = self._json(status, body, "the repository index")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Unavailable(f"{self._url} answered with something that is not a repository index: {_start(body)}")
        mine = [row for row in rows if row.get("name") == model and _VERSION.fullmatch(str(row.get("version", "")))]
        return [IndexRow(int(r["version"]), str(r.get("state", "")), told(str(r.get("reason", "")))) for r in mine]

    async def version_ready(self, model: str, version: int) -> bool:
        """Return whether this version accepts requests. One failed version makes /v2/health/ready answer 400."""
        status, _ = await self._call("GET", f"/v2/models/{model}/versions/{version}/ready")
        return status == 200

    async def config(self, model: str) -> dict[str, Any]:
        """Return the configuration of the loaded model.

        Raises EngineRefused when the model is not loaded, and Unavailable for an answer that is not an object.
        """
        status, body = await self._call("GET", f"/v2/models/{model}/config")
        config = self._json(status, body, f"the configuration of model {model}")
        if not isinstance(config, dict):
            raise Unavailable(f"{self._url} answered model {model}'s configuration with no object: {_start(body)}")
        return config

    async def check_explicit(self) -> None:
        """Raise EngineRefused unless the server accepts load orders. Changes nothing."""
        status, body = await self._call("POST", f"/v2/repository/models/{_MODE_PROBE}/unload", {})
        if status != 200 and _NOT_EXPLICIT in _error(body):
            raise self._refusal(status, body)

    async def load(self, model: str, config: dict[str, Any], timeout_s: float) -> None:
        """Load `model` with `config`. A return means that Triton answered 200; it does not prove that it is loaded."""
        order = {"parameters": {"config": json.dumps(config)}}
        status, body = await self._call("POST", f"/v2/repository/models/{model}/load", order, timeout_s)
        if status != 200:
            raise self._refusal(status, body)

    async def ask(self, model: str, version: int, path: str, body: Any, timeout_s: float) -> tuple[int, bytes]:
        """Post `body` to one version and return status and answer. Raises NotSent, or Unavailable without an answer."""
        return await self._call("POST", f"/v2/models/{model}/versions/{version}/{path}", body, timeout_s)

    async def _call(
        self, method: str, path: str, body: Any = None, timeout_s: float | None = None
    ) -> tuple[int, bytes]:
        if self._session.closed:  # a reload replaced this driver in the middle of an observation
            raise NotSent(f"{self._url} was not asked {path}: the configuration has just changed")
        timeout = aiohttp.ClientTimeout(total=timeout_s or self._timeout_s, sock_connect=self._timeout_s)
        try:
            options = await request_options(self._auth, self._tls)
            async with self._session.request(
                method, self._url + path, json=body, timeout=timeout, **options
            ) as response:
                return response.status, await _bounded(response, self._url + path)
        except ScrapeError as error:
            raise NotSent(f"{self._url} was not asked {path}: {error}") from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent(f"{self._url} did not answer {path}: {_named(error)}") from error
        except TimeoutError as error:
            raise Unavailable(f"{self._url} did not answer {path} within {timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"{self._url} did not answer {path}: {_named(error)}") from error

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


async def _bounded(response: aiohttp.ClientResponse, place: str) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Unavailable(f"{place} answered more than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


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


def _named(error: Exception) -> str:
    return told(str(error)) or type(error).__name__


def _start(body: bytes) -> str:
    return repr(body[:120].decode("utf-8", "replace"))
