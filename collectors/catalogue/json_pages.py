"""Tells what a JSON body is that was found where metrics were looked for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

_Signs = Callable[[Mapping[str, Any]], bool]


def _holds(*names: str) -> _Signs:
    return lambda found: all(name in found for name in names)


_OLLAMA = "Ollama's list of models; Ollama has no page of metrics, so ask it by a probe"
_OF_MAPS: tuple[tuple[_Signs, str], ...] = (
    (lambda found: "digest" in _first(found.get("models")), _OLLAMA),
    (_holds("model_names", "queue_length"), "the status of a worker of FastChat, which has no page of metrics"),
    (lambda found: found.get("object") == "list", "a list of models of OpenAI's API; metrics are likely at /metrics"),
    (
        _holds("name", "version", "extensions"),
        "the server's own description by KServe's API; Triton's metrics: port 8002",
    ),
)
"""Signs of maps, and what such a map is. The first that holds counts."""


def json_page(body: bytes) -> str:
    """Return what a JSON body is, and where metrics are; "" for other bodies and for JSON that is not known."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if isinstance(found, list):
        return (
            "a list, as /metrics of TensorRT-LLM is: each read empties it. Its metrics are at /prometheus/metrics"
            if not found or "iter" in _first(found)
            else ""
        )
    return next((words for tells, words in _OF_MAPS if isinstance(found, dict) and tells(found)), "")


def _first(items: object) -> Mapping[str, Any]:
    first = items[0] if isinstance(items, list) and items else None
    return first if isinstance(first, dict) else {}
