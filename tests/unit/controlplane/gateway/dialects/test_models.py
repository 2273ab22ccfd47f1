"""Lists of models, in each API's shape."""

from __future__ import annotations

import orjson
import pytest

from controlplane import __version__
from controlplane.gateway.refusal import Refusal, RefusalKind
from tests.fakes.gateway_requests import DIALECTS, operation

CREATED = 1_795_750_907


def answered(path: str, names: list[str], **fields: str) -> bytes | Refusal:
    return DIALECTS.models(operation("GET", path, **fields), path.encode(), names, CREATED)


def listed(path: str, names: list[str], **fields: str) -> object:
    body = answered(path, names, **fields)
    assert isinstance(body, bytes)
    return orjson.loads(body)


def test_openai() -> None:
    chat = {"id": "chat", "object": "model", "created": CREATED, "owned_by": "controlplane"}
    assert listed("/v1/models", ["chat"]) == {"object": "list", "data": [chat]}
    assert listed("/v1/models", []) == {"object": "list", "data": []}
    assert listed("/v1/models/chat", ["chat"]) == chat


def test_anthropic() -> None:
    chat = {"type": "model", "id": "chat", "display_name": "chat", "created_at": "2026-11-27T03:41:47Z"}
    whole = {"data": [chat], "has_more": False, "first_id": "chat", "last_id": "chat"}
    assert listed("/v1/models", ["chat"], anthropic_version="2023-06-01") == whole
    assert listed("/v1/models/chat", ["chat"], anthropic_version="2023-06-01") == chat
    empty = {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert listed("/v1/models", [], anthropic_version="2023-06-01") == empty


@pytest.mark.parametrize("path", ["/v1/models/org/name", "/v1/models/org%2Fname"])
def test_a_name_may_have_a_slash(path: str) -> None:
    found = listed(path, ["org/name"])
    assert isinstance(found, dict) and found["id"] == "org/name"


@pytest.mark.parametrize("path", ["/v1/models/other", "/v1/models/", "/v1/models/%FF"])
def test_an_unknown_model_is_refused(path: str) -> None:
    found = answered(path, ["chat"])
    assert isinstance(found, Refusal) and found.kind is RefusalKind.UNKNOWN_MODEL and found.param == "model"


def test_ollama() -> None:
    found = listed("/api/tags", ["chat"])
    assert isinstance(found, dict)
    (entry,) = found["models"]
    assert (entry["name"], entry["model"], entry["modified_at"]) == ("chat", "chat", "2026-11-27T03:41:47Z")
    assert listed("/api/ps", []) == {"models": []}
    assert listed("/api/version", []) == {"version": __version__}


def test_triton() -> None:
    server = listed("/v2", [])
    assert isinstance(server, dict) and server["version"] == __version__ and server["extensions"]
    assert answered("/v2/health/live", []) == answered("/v2/health/ready", []) == b""
