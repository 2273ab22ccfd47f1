"""Readiness: asks an engine's own API which model versions it can serve now.

A backend that does not answer cannot serve: its known versions get `llm_backend_ready 0`. Their model states are
unknown and therefore absent. While no version is known, the read fails, as any scrape of a dead target does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.http import HttpProcessingError
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from collectors.engines.ensembles import Ensembles, Place
from collectors.engines.kinds import Api
from collectors.errors import ExpositionError, ScrapeTimeout, UnexpectedStatus, Unreachable
from collectors.http.http_client import HttpClient, exposition_of
from collectors.target import Auth

STATES = ("ready", "loading", "unloading", "unavailable")
"""Triton's model states, in lower case."""
_MAX_ANSWER_BYTES = 4 * 2**20
_DEADLINE_SHARE = 0.9
"""Share of the scrape's deadline for the requests. The rest is for reporting that the backend did not answer."""
_NO_MODEL = ""
_MAX_CONFIGS, _CONFIGS_S = 16, 1.0
"""Configurations that one read asks for, and the seconds that they may take in all (chosen: readiness comes first)."""


class Version(NamedTuple):
    """One model version of a backend. `version` is spelled as in the fleet (`v2`); empty if unknown."""

    served_model: str
    version: str


class Observed(NamedTuple):
    """A backend's answer about one version. `state` is None for an engine without model states."""

    which: Version
    ready: bool
    state: str | None = None


class ReadinessSource:
    """Polls one backend by its API. `url` is its HTTP base, such as `http://10.0.0.5:8000`.

    `expected` are versions that it should serve, as (the engine's name of the model, fleet version). They are reported
    as not ready from the start when the backend cannot be reached. `health_path` and `on_demand` are EngineKind's.
    """

    def __init__(
        self,
        api: Api,
        url: str,
        *,
        expected: Iterable[tuple[str, str]] = (),
        auth: Auth | None = None,
        health_path: str = "/health",
        on_demand: bool = False,
    ) -> None:
        self._health_path, self._on_demand = health_path, on_demand
        self._ask = {Api.TRITON: self._triton, Api.OPENAI: self._openai}[api]
        self._url = url.rstrip("/")
        self._backend = f"{urlsplit(url).scheme}://{urlsplit(url).netloc.rpartition('@')[2]}"
        self._known = [Version(model, version) for model, version in expected]
        self._engine_ready: bool | None = None
        """The server's own readiness as a whole; None when it did not report it."""
        self._ensembles = Ensembles()
        self._unlearnt: tuple[Place, ...] = ()
        """Ready versions whose configuration the present read asks for."""
        self._client = HttpClient(auth)

    async def read(self, timeout_s: float) -> bytes:
        """Return `llm_backend_ready`, `llm_engine_ready` and, of Triton, `llm_model_state` and `llm_ensemble_step`.

        Raises ScrapeTimeout and Unreachable while no version is known. Raises UnexpectedStatus and ExpositionError when
        the answer is not from such an engine.
        """
        limit, began = timeout_s * _DEADLINE_SHARE, asyncio.get_running_loop().time()
        self._engine_ready = None
        try:
            async with asyncio.timeout(limit):
                observed = await self._ask()
        except TimeoutError:
            if not self._known:
                raise ScrapeTimeout(f"{self._backend} did not answer within {limit:g} s") from None
            observed = [Observed(which, ready=False) for which in self._known]
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
            if not self._known:
                raise Unreachable(f"{self._backend}: {str(error) or type(error).__name__}") from error
            observed = [Observed(which, ready=False) for which in self._known]
        except (aiohttp.ClientError, HttpProcessingError) as error:
            raise ExpositionError(f"{self._backend}: not an HTTP answer", 0) from error
        else:
            self._known = [o.which for o in observed] or self._known
        now = asyncio.get_running_loop().time()
        await self._learn_steps(min(now + _CONFIGS_S, began + limit))
        families = _families(observed, self._backend, self._engine_ready)
        steps = self._ensembles.family()
        return exposition_of([*families, steps] if steps else families)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def _triton(self) -> list[Observed]:
        """Read the repository index, then ask each READY version: the server-wide flag stays false after a failure."""
        status, index = await self._json("POST", "/v2/repository/index")
        if status != 200:
            raise UnexpectedStatus(f"{self._backend}/v2/repository/index: status {status}")
        if not isinstance(index, list) or not all(isinstance(entry, dict) for entry in index):
            raise ExpositionError(f"{self._backend}/v2/repository/index: not a repository index", 0)
        # An entry without a version was never loaded: it has only a name.
        entries = [entry for entry in index if entry.get("name") and entry.get("version")]
        # For llm_engine_ready only, which load balancers use. Readiness of versions is from their own endpoints.
        self._engine_ready = await self._status("GET", "/v2/health/ready") == 200
        observed = [await self._triton_version(entry) for entry in entries]
        ready = [Place(str(e["name"]), str(e["version"])) for e, o in zip(entries, observed, strict=True) if o.ready]
        self._unlearnt = self._ensembles.unknown(ready)[:_MAX_CONFIGS]
        return observed

    async def _learn_steps(self, until: float) -> None:
        """Ask for configurations. What fails is asked again at the next read: readiness must not wait for it."""
        places, self._unlearnt = self._unlearnt, ()
        with suppress(TimeoutError, aiohttp.ClientError, HttpProcessingError, OSError, ExpositionError):
            async with asyncio.timeout_at(until):
                for place in places:
                    path = f"/v2/models/{quote(place.model, safe='')}/versions/{quote(place.number, safe='')}/config"
                    status, config = await self._json("GET", path)
                    if status < 500:
                        self._ensembles.learn(place, config)

    async def _triton_version(self, entry: dict[str, Any]) -> Observed:
        name, number, state = str(entry["name"]), str(entry["version"]), str(entry.get("state", "")).lower()
        ready = False
        if state == "ready":
            path = f"/v2/models/{quote(name, safe='')}/versions/{quote(number, safe='')}/ready"
            ready = await self._status("GET", path) == 200
        return Observed(Version(name, f"v{number}"), ready, state)

    async def _openai(self) -> list[Observed]:
        """Ask /health, and /v1/models for the served name: the first listed, which is also in the engine's metrics.

        Where models are loaded on demand, every listed one can be served, unless the list says that it failed.
        """
        status = await self._status("GET", self._health_path)
        if status not in (200, 503):
            raise UnexpectedStatus(f"{self._backend}{self._health_path}: status {status}")
        self._engine_ready = status == 200
        if status == 503 and self._known:
            return [Observed(which, ready=False) for which in self._known]
        models = await self._models() if status == 200 else []
        if status == 200 and (self._on_demand or any("status" in model for model in models)):
            return self._on_demand_versions(models)
        name = next((str(first["id"]) for first in models[:1] if first.get("id")), None)
        versions = {v.version for v in self._known} or {""}
        which = [Version(name, v) for v in sorted(versions)] if name else self._known or [Version(_NO_MODEL, "")]
        return [Observed(w, ready=status == 200) for w in which]

    async def _models(self) -> list[dict[str, Any]]:
        status, body = await self._json("GET", "/v1/models")
        listed = body.get("data") if status == 200 and isinstance(body, dict) else None
        return [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []

    def _on_demand_versions(self, models: Iterable[dict[str, Any]]) -> list[Observed]:
        good = {str(model.get("id")) for model in models if not _failed(model)}
        if not self._known:
            return [Observed(Version(name, ""), ready=True) for name in sorted(good)]
        # Ollama lists `chat` as `chat:latest`, and takes both names.
        return [Observed(which, ready=bool(good & {which[0], f"{which[0]}:latest"})) for which in self._known]

    async def _status(self, method: str, path: str) -> int:
        options = await self._client.options(self._url)
        async with self._client.session().request(method, self._url + path, **options) as response:
            response.close()  # the body is not needed, and may never end
            return response.status

    async def _json(self, method: str, path: str) -> tuple[int, Any]:
        options = await self._client.options(self._url)
        options |= {"json": {}} if method == "POST" else {}
        async with self._client.session().request(method, self._url + path, **options) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MAX_ANSWER_BYTES:
                    raise ExpositionError(f"{self._backend}{path}: more than {_MAX_ANSWER_BYTES} bytes", 0)
            if response.status != 200:
                return response.status, None
        try:
            return 200, json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ExpositionError(f"{self._backend}{path}: not JSON", 0) from error


def _failed(model: dict[str, Any]) -> bool:
    status = model.get("status")
    return isinstance(status, dict) and status.get("failed") is True


def _families(observed: Iterable[Observed], backend: str, engine_ready: bool | None) -> list[Metric]:
    ready = GaugeMetricFamily(
        "llm_backend_ready",
        "1 when the backend says that it can serve the model's version now.",
        labels=["served_model", "version", "backend"],
    )
    states = GaugeMetricFamily(
        "llm_model_state",
        "1 for the state that the engine's model index reports, 0 for the others.",
        labels=["served_model", "version", "state"],
    )
    for (served_model, version), is_ready, state in observed:
        ready.add_metric([served_model, version, backend], float(is_ready))
        if state is not None:
            for name in STATES:
                states.add_metric([served_model, version, name], float(name == state))
    engine = GaugeMetricFamily(
        "llm_engine_ready", "1 when the engine reports itself ready, as load balancers see it.", labels=["backend"]
    )
    if engine_ready is not None:
        engine.add_metric([backend], float(engine_ready))
    return [family for family in (ready, states, engine) if family.samples]
