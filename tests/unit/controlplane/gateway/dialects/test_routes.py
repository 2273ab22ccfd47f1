"""Every path has one operation, and no path that administers an engine passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Frames, ModelPlace, Operation
from tests.fakes.gateway_requests import DIALECTS, head, operation

ROUTES = Path("tests/fixtures/engines")
KNOWN = {
    *("/generate", "/encode", "/invocations", "/vertex_generate", "/parse_function_call", "/separate_reasoning"),
}
"""Paths of vLLM 0.32 and SGLang 0.5.23 that pass with x-model: they only infer."""
LISTABLE = {
    *("/version", "/health", "/ping", "/ready", "/health_generate", "/get_model_info", "/model_info", "/v1/loads"),
    *("/v1/systemone", "/v1/decisions", "/v1/responses/{response_id}", "/v1/responses/{response_id}/cancel"),
}
"""Their paths that pass only where the model lists them."""


@pytest.mark.parametrize(
    ("path", "dialect", "name", "place", "frames"),
    [
        ("/v1/chat/completions", "openai", "chat", ModelPlace.BODY, Frames.SSE),
        ("/v1/completions", "openai", "completion", ModelPlace.BODY, Frames.SSE),
        ("/v1/responses", "openai", "response", ModelPlace.BODY, Frames.SSE),
        ("/v1/embeddings", "openai", "embedding", ModelPlace.BODY, Frames.NONE),
        ("/v1/audio/transcriptions", "openai", "transcription", ModelPlace.FORM, Frames.SSE),
        ("/v1/audio/speech", "openai", "speech", ModelPlace.BODY, Frames.SSE),
        ("/v2/rerank", "openai", "rerank", ModelPlace.BODY, Frames.NONE),
        ("/score", "openai", "score", ModelPlace.BODY, Frames.NONE),
        ("/tokenize", "openai", "tokenize", ModelPlace.BODY, Frames.NONE),
        ("/v1/messages", "anthropic", "chat", ModelPlace.BODY, Frames.SSE),
        ("/v1/messages/count_tokens", "anthropic", "tokenize", ModelPlace.BODY, Frames.NONE),
        ("/api/chat", "ollama", "chat", ModelPlace.BODY, Frames.NDJSON),
        ("/api/embed", "ollama", "embedding", ModelPlace.BODY, Frames.NONE),
        ("/v2/models/llm/infer", "triton", "infer", ModelPlace.PATH, Frames.NONE),
        ("/v2/models/llm/versions/3/infer", "triton", "infer", ModelPlace.PATH, Frames.NONE),
        ("/v2/models/weights_of_lora/generate", "triton", "generate", ModelPlace.PATH, Frames.NONE),
        ("/v2/models/llm/generate_stream", "triton", "generate", ModelPlace.PATH, Frames.SSE),
        ("/v1/ch%61t/completions", "openai", "chat", ModelPlace.BODY, Frames.SSE),
        ("/generate", "plain", "plain", ModelPlace.HEADER, Frames.SSE),
    ],
)
def test_a_posted_path_has_its_operation(path: str, dialect: str, name: str, place: ModelPlace, frames: Frames) -> None:
    found = operation("POST", path, x_model="m")
    assert (found.dialect, found.name, found.place, found.frames) == (dialect, name, place, frames)
    assert not found.local
    assert found.always_streams == path.endswith("generate_stream")
    assert found.streams_by_default == (frames is Frames.NDJSON)


@pytest.mark.parametrize(
    ("path", "dialect", "name", "local"),
    [
        ("/v1/models", "openai", "models", True),
        ("/v1/models/org/name", "openai", "model", True),
        ("/v1/models/org%2Fname", "openai", "model", True),
        ("/api/tags", "ollama", "models", True),
        ("/api/ps", "ollama", "loaded", True),
        ("/api/version", "ollama", "version", True),
        ("/", "ollama", "server", True),
        ("/v2", "triton", "server", True),
        ("/v2/health/ready", "triton", "health", True),
        ("/v2/models/llm", "triton", "metadata", False),
        ("/v2/models/llm/versions/2/ready", "triton", "ready", False),
        ("/v2/models/llm/config", "triton", "config", False),
        ("/v2/models/llm/stats", "triton", "stats", False),
    ],
)
def test_a_path_that_is_read_has_its_operation(path: str, dialect: str, name: str, local: bool) -> None:
    found = operation("GET", path)
    assert (found.dialect, found.name, found.local, found.generates) == (dialect, name, local, False)
    if local and "/v1/models/" not in path:
        # Ollama's command and load balancers look first.
        assert operation("HEAD", path) is found


def test_anthropics_clients_get_their_own_list_of_models() -> None:
    assert operation("GET", "/v1/models", anthropic_version="2023-06-01").dialect == "anthropic"
    assert operation("GET", "/v1/models/chat", anthropic_version="2023-06-01").dialect == "anthropic"


@pytest.mark.parametrize("engine", ["vllm-0.32", "sglang-0.5.23"])
def test_every_route_of_the_engines_is_known_or_refused_or_must_be_listed(engine: str) -> None:
    passed, listable = set[str](), set[str]()
    for line in (ROUTES / f"{engine}-routes.txt").read_text().splitlines():
        method, path = line.split()
        found = DIALECTS.recognise(head(method, path.replace("{", "").replace("}", ""), x_model="chat"))
        if isinstance(found, Operation) and found.dialect == "plain":
            (listable if found.listed else passed).add(path)
        elif isinstance(found, Refusal):
            assert found.kind in (RefusalKind.FORBIDDEN, RefusalKind.BAD_METHOD), line
    assert passed <= KNOWN
    assert listable <= LISTABLE


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/v1/load_lora_adapter",
            "/v1/unload_lora_adapter",
            "/sleep",
            "/wake_up",
            "/pause",
            "/resume",
            "/collective_rpc",
        ),
        *("/abort_requests", "/abort_request", "/update_weights", "/update_weights_from_disk", "/pause_generation"),
        *("/v2/repository/index", "/v2/repository/models/llm/load", "/v2/repository/models/llm/unload", "/v2/logging"),
        *("/v2/systemsharedmemory/region/x/register", "/v2/cudasharedmemory/status", "/v2/trace/setting"),
        *("/v2/models/llm/trace/setting", "/api/pull", "/api/delete", "/api/create", "/api/blobs/sha256:0", "/metrics"),
        *(
            "/slots",
            "/slots/0",
            "/props",
            "/lora-adapters",
            "/models/load",
            "/models/unload",
            "/workers",
            "/add_worker",
        ),
        *(
            "/sleep;x",
            "/sleep%3Bx",
            "/sleep%20",
            "/x;y/metrics;z",
            "/llama/models/load",
            "/v1/model/load",
            "/model/unload",
        ),
        *("/tools", "/cors-proxy", "/v1/internal/stop-generation", "/models/apply", "/perf_metrics", "/exit"),
        *("/load", "/custom:shutdown", "/custom.sleep", "/flush", "/profile", "/server_info", "/collective_rpc"),
        *("/load%5Flora_adapter", "/SLEEP", "/sleep/", "/%73leep", "/v1/reset_prefix_cache", "/start_profile"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_administration_never_passes(path: str, method: str) -> None:
    found = DIALECTS.recognise(head(method, path, x_model="chat"))
    assert isinstance(found, Refusal) and found.kind is RefusalKind.FORBIDDEN
    assert found.code == "administrative_path" and "administers the engine" in found.message


@pytest.mark.parametrize(
    "path",
    [
        *("//sleep", "/v1/../sleep", "/v1/%2e%2e/sleep", "/./sleep", "/x/..", "/a\\b", "/a%00b", "/a%0d%0ab"),
        *("/v2//models/llm/infer", "/v2/models/llm%2f%2fx/infer", "/v2/models/../repository/index"),
        *("/v1%2Fchat%2Fcompletions2", "/api/other", "/v2/models/llm/infer/", "/v2/models/", "/v2/other"),
    ],
)
def test_a_path_that_servers_read_differently_does_not_pass(path: str) -> None:
    found = DIALECTS.recognise(head("POST", path, x_model="chat"))
    assert isinstance(found, Refusal) and found.kind in (RefusalKind.UNKNOWN_PATH, RefusalKind.FORBIDDEN)


def test_an_unknown_path_needs_a_model() -> None:
    found = DIALECTS.recognise(head("POST", "/generate"))
    assert isinstance(found, Refusal) and found.kind is RefusalKind.UNKNOWN_PATH and "x-model" in found.message


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", b"POST"),
        ("POST", "/v1/models", b"GET, HEAD"),
        ("DELETE", "/v1/models/x", b"GET"),
        ("OPTIONS", "/v1/messages", b"POST"),
        ("GET", "/v2/models/llm/infer", b"POST"),
        ("POST", "/v2/models/llm/ready", b"GET"),
        ("PUT", "/generate", b"POST"),
        ("PUT", "/custom", b"GET, POST"),
    ],
)
def test_a_wrong_method_is_refused_with_the_right_one(method: str, path: str, allowed: bytes) -> None:
    found = DIALECTS.recognise(head(method, path, x_model="chat"))
    assert isinstance(found, Refusal) and found.kind is RefusalKind.BAD_METHOD
    assert (b"allow", allowed) in found.fields
