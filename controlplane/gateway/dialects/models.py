"""Answers that the gateway gives by itself: lists of models, one model, and the server's own state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import unquote

import orjson

from controlplane import __version__
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Operation

_OWNER = "controlplane"


def models(operation: Operation, path: bytes, names: Sequence[str], created: int) -> bytes | Refusal:
    """Return the body of a local operation. `names` are the models that the caller may ask, `created` unix seconds."""
    if operation.name == "model":
        name = unquote(path.removeprefix(b"/v1/models/").decode("latin-1"), errors="replace")
        if name not in names:
            return Refusal(RefusalKind.UNKNOWN_MODEL, f"The model {name!r} is not known.", "model")
        return orjson.dumps(_ENTRIES[operation.dialect](name, created))
    if operation.name in ("models", "loaded"):
        entries = [_ENTRIES[operation.dialect](name, created) for name in names]
        return orjson.dumps(_LISTS[operation.dialect](entries))
    if operation.name == "version":
        return orjson.dumps({"version": __version__})
    if operation.name == "server":
        return orjson.dumps({"name": _OWNER, "version": __version__, "extensions": ["binary_tensor_data", "generate"]})
    return b""


def _openai(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": _OWNER}


def _anthropic(name: str, created: int) -> dict[str, object]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _time(created)}


def _ollama(name: str, created: int) -> dict[str, object]:
    details = {"format": "", "family": "", "families": None, "parameter_size": "", "quantization_level": ""}
    return {"name": name, "model": name, "modified_at": _time(created), "size": 0, "digest": "", "details": details}


def _openai_list(entries: list[dict[str, object]]) -> dict[str, object]:
    return {"object": "list", "data": entries}


def _ollama_list(entries: list[dict[str, object]]) -> dict[str, object]:
    return {"models": entries}


def _anthropic_list(entries: list[dict[str, object]]) -> dict[str, object]:
    ids = [entry["id"] for entry in entries] or [None]
    return {"data": entries, "has_more": False, "first_id": ids[0], "last_id": ids[-1]}


def _time(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_ENTRIES = {"openai": _openai, "anthropic": _anthropic, "ollama": _ollama}
_LISTS = {"openai": _openai_list, "anthropic": _anthropic_list, "ollama": _ollama_list}
