"""Ollama's status API: models in memory and on disk.

Asked are GET /api/ps, /api/tags and /api/version. None of them loads a model or keeps one in memory. A pull is not to
be seen in them: its progress is only in the stream of the client that pulls.
"""

from __future__ import annotations

from typing import Any

from prometheus_client.core import GaugeMetricFamily

from collectors.http.http_client import exposition_of
from collectors.http.server_api import ServerApi
from collectors.status.families import gauge, states
from collectors.status.fields import amount, entries, moment, text

IN_MEMORY, ON_DISK, VERSION = "/api/ps", "/api/tags", "/api/version"
STATES = ("loaded", "unloaded")
_NAMES = ("name", "model")


class OllamaReader:
    """Reads one Ollama."""

    remark = ""

    async def read(self, api: ServerApi, _timeout_s: float) -> bytes:
        """Return the exposition. Raises ScrapeError and aiohttp's errors."""
        version = text((await _object(api, VERSION)).get("version"))
        loaded = entries(await api.get(IN_MEMORY), "models", IN_MEMORY, _NAMES)
        stored = entries(await api.get(ON_DISK), "models", ON_DISK, _NAMES)
        return exposition_of([*_build(version), *_memory(loaded), *_disk(stored), _states(loaded, stored)])


async def _object(api: ServerApi, path: str) -> dict[str, Any]:
    answer = await api.get(path)
    return answer if isinstance(answer, dict) else {}


def _build(version: str | None) -> list[GaugeMetricFamily]:
    known = [((version,), 1.0)] if version else []
    return [gauge("ollama_build_info", "Always 1; the label is Ollama's version.", ("version",), known)]


def _memory(loaded: dict[str, dict[str, Any]]) -> list[GaugeMetricFamily]:
    parts = []
    for model, entry in loaded.items():
        whole, gpu = amount(entry.get("size")), amount(entry.get("size_vram"))
        host = amount(whole - gpu) if whole is not None and gpu is not None else None
        parts += [((model, "gpu"), gpu), ((model, "host"), host)]
    one = ("served_model",)
    return [
        gauge(
            "llm_model_memory_bytes",
            "Memory of a loaded model, by kind: gpu, host.",
            ("served_model", "memory"),
            parts,
        ),
        gauge("ollama_models_loaded", "Models in memory.", (), [((), float(len(loaded)))]),
        gauge(
            "ollama_model_expires_timestamp_seconds",
            "When the model leaves memory unless it is used again.",
            one,
            (((model,), moment(entry.get("expires_at"))) for model, entry in loaded.items()),
        ),
        gauge(
            "ollama_model_context_tokens",
            "Context length with which the model is loaded.",
            one,
            (((model,), amount(entry.get("context_length"))) for model, entry in loaded.items()),
        ),
    ]


def _disk(stored: dict[str, dict[str, Any]]) -> list[GaugeMetricFamily]:
    sizes = (((model,), amount(entry.get("size"))) for model, entry in stored.items())
    return [
        gauge("ollama_models_stored", "Models on disk.", (), [((), float(len(stored)))]),
        gauge(
            "ollama_model_disk_bytes",
            "Size of the model on disk. Models may share layers, so the sum can exceed what the disk holds.",
            ("served_model",),
            sizes,
        ),
    ]


def _states(loaded: dict[str, dict[str, Any]], stored: dict[str, dict[str, Any]]) -> GaugeMetricFamily:
    return states({name: STATES[name not in loaded] for name in {**loaded, **stored}}, STATES)
