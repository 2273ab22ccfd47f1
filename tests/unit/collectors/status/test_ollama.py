"""Ollama's API, read over the wire. Its answers are written by hand from its documentation and source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.catalogue.mapping import canonical_layout, lack
from collectors.catalogue.model import load_catalogue
from collectors.errors import ExpositionError, UnexpectedStatus
from collectors.exposition.parser import parse
from collectors.target import Target
from tests.fakes.api_server import ApiServer, api_server
from tests.fakes.status_reading import Numbers, read_once, source_of
from tests.patience import HANG_S

PAGES = json.loads((Path(__file__).parents[3] / "fixtures" / "ollama-handwritten.json").read_text())
PS, TAGS, VERSION = "GET /api/ps", "GET /api/tags", "GET /api/version"
EMPTY = {PS: {"models": []}, TAGS: {"models": []}, VERSION: {"version": "0.12.6"}}


def serving(server: ApiServer, **changed: Any) -> str:
    server.answers = {f"GET {path}": page for path, page in PAGES.items()} | changed
    return f"{server.url}/api/ps"


async def read(server: ApiServer, answers: dict[str, Any]) -> Numbers:
    server.answers = answers
    return await read_once("ollama", f"{server.url}/api/ps")


async def test_models_in_memory_and_on_disk() -> None:
    async with api_server() as server:
        seen = await read_once("ollama", serving(server))
        asked = server.asked

    assert asked == [VERSION, PS, TAGS], "three reads, and nothing that loads a model"
    assert seen[("ollama_build_info", "0.12.6")] == 1
    assert {k[1:]: v for k, v in seen.items() if k[0] == "llm_model_memory_bytes"} == {
        ("gpu", "llama3.2:latest"): 5137025024,
        ("host", "llama3.2:latest"): 0,
        ("gpu", "qwen3:32b"): 19500000000,
        ("host", "qwen3:32b"): 6500000000,
    }
    assert seen[("ollama_model_expires_timestamp_seconds", "llama3.2:latest")] == 1780609111.83753
    assert seen[("ollama_model_expires_timestamp_seconds", "qwen3:32b")] == 11002780800, "kept for ever"
    assert seen[("ollama_model_context_tokens", "qwen3:32b")] == 32768
    assert (seen[("ollama_models_loaded",)], seen[("ollama_models_stored",)]) == (2, 3)
    assert seen[("ollama_model_disk_bytes", "nomic-embed-text:latest")] == 274302450
    assert {k[1:] for k, v in seen.items() if k[0] == "llm_model_state" and v} == {
        ("llama3.2:latest", "loaded"),
        ("qwen3:32b", "loaded"),
        ("nomic-embed-text:latest", "unloaded"),
    }


async def test_canonical_series_have_the_models_of_the_fleet() -> None:
    async with api_server() as server:
        source = source_of("ollama", serving(server))
        parsed = parse(await source.read(HANG_S))
        await source.close()
    models = (("llama3.2:latest", "chat"),)
    target = Target("ollama", "http://h:11434/api/ps", "ollama", "h:11434", models=models)
    catalogue = load_catalogue()
    layout = canonical_layout(parsed.series, parsed.metadata, target, catalogue)
    loaded = [dict(s.labels) for s in layout.raw if s.name == "llm_model_state" and ("state", "loaded") in s.labels]
    assert loaded[0] == {
        "engine": "ollama",
        "instance": "h:11434",
        "job": "ollama",
        "node": "h",
        "source": "engine",
        "served_model": "llama3.2:latest",
        "model": "chat",
        "state": "loaded",
    }
    assert lack(layout, catalogue, "ollama").metrics == ()


async def test_a_model_loads_is_used_and_expires() -> None:
    entry = {"name": "m:latest", "size": 10, "size_vram": 10, "expires_at": "2026-01-01T00:05:00Z"}
    timeline = []
    async with api_server() as server:
        stored = {"models": [{"name": "m:latest", "size": 7}]}
        for models in ([], [entry], [entry | {"expires_at": "2026-01-01T00:09:00Z"}], []):
            seen = await read(server, EMPTY | {TAGS: stored, PS: {"models": models}})
            expires = seen.get(("ollama_model_expires_timestamp_seconds", "m:latest"))
            timeline.append((seen[("llm_model_state", "m:latest", "loaded")], seen[("ollama_models_loaded",)], expires))
    assert timeline == [(0, 0, None), (1, 1, 1767225900), (1, 1, 1767226140), (0, 0, None)]


async def test_a_model_that_was_removed_from_disk_while_it_is_loaded() -> None:
    async with api_server() as server:
        seen = await read(server, EMPTY | {PS: {"models": [{"name": "m:latest", "size": 4, "size_vram": 4}]}})
    assert seen[("llm_model_state", "m:latest", "loaded")] == 1
    assert ("ollama_model_disk_bytes", "m:latest") not in seen


async def test_a_server_without_models() -> None:
    async with api_server() as server:
        seen = await read(server, EMPTY | {TAGS: {"models": None}})
    assert seen == {
        ("ollama_build_info", "0.12.6"): 1,
        ("ollama_models_loaded",): 0,
        ("ollama_models_stored",): 0,
    }


@pytest.mark.parametrize("size", [-1, "12", None, True, 10**400, float("nan"), float("inf"), [], {}])
async def test_what_cannot_be_a_size_is_unknown_and_not_zero(size: Any) -> None:
    loaded = {"name": "m:latest", "size": size, "size_vram": size, "context_length": size, "expires_at": size}
    async with api_server() as server:
        answers = EMPTY | {PS: {"models": [loaded]}, TAGS: {"models": [{"name": "m:latest", "size": size}]}}
        seen = await read(server, answers)
    assert {name for name, *_ in seen} == {
        *("ollama_build_info", "llm_model_state", "ollama_models_loaded", "ollama_models_stored"),
    }


async def test_more_memory_of_gpus_than_in_all_leaves_the_rest_unknown() -> None:
    async with api_server() as server:
        seen = await read(server, EMPTY | {PS: {"models": [{"name": "m", "size": 4, "size_vram": 5}]}})
    assert {k[1]: v for k, v in seen.items() if k[0] == "llm_model_memory_bytes"} == {"gpu": 5}


@pytest.mark.parametrize("moment", ["", "soon", "0001-01-01T00:00:00Z", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"])
async def test_what_cannot_be_a_time_is_unknown(moment: str) -> None:
    async with api_server() as server:
        seen = await read(server, EMPTY | {PS: {"models": [{"name": "m", "expires_at": moment}]}})
    assert not [key for key in seen if key[0] == "ollama_model_expires_timestamp_seconds"]


@pytest.mark.parametrize("version", [{}, {"version": 7}, {"version": ""}, [], "text", None])
async def test_a_version_that_is_no_text_is_unknown(version: Any) -> None:
    async with api_server() as server:
        seen = await read(server, EMPTY | {VERSION: json.dumps(version)})
    assert not [key for key in seen if key[0] == "ollama_build_info"]


async def test_ten_thousand_models() -> None:
    stored = [{"name": f"m{number}:latest", "size": number} for number in range(10_000)]
    async with api_server() as server:
        seen = await read(server, EMPTY | {TAGS: {"models": stored}})
    assert seen[("ollama_models_stored",)] == 10_000
    assert sum(key[0] == "llm_model_state" for key in seen) == 20_000


async def test_names_that_no_label_can_hold() -> None:
    names = ["nul\0", 'quote"back\\slash\nline', "\ud800lone", "ü"]
    models = [{"name": name, "size": 1} for name in names]
    async with api_server() as server:
        server.answers = EMPTY | {TAGS: {"models": models}}
        source = source_of("ollama", f"{server.url}/api/ps")
        parsed = parse(await source.read(HANG_S))
        await source.close()
    found = {dict(s.labels)["served_model"] for s in parsed.series if s.name == "ollama_model_disk_bytes"}
    assert found == {'quote"back\\slash\nline', "?lone", "ü"}
    assert parsed.unstorable, "the name with a NUL is left out by the parser, which reports it"


@pytest.mark.parametrize("path", [PS, TAGS])
@pytest.mark.parametrize(
    "answer", [{}, [], "null", '"text"', {"models": {}}, {"models": ["m"]}, {"models": [{"size": 1}]}, {"models": [[]]}]
)
async def test_json_of_something_else_fails_the_scrape(path: str, answer: Any) -> None:
    async with api_server() as server:
        with pytest.raises(ExpositionError, match=rf"{path[4:]}.*'models'.*engine of another kind"):
            await read(server, EMPTY | {path: answer})


async def test_a_release_without_the_list_of_loaded_models() -> None:
    async with api_server() as server:
        with pytest.raises(UnexpectedStatus, match=r"^/api/ps answered 404 Not Found, expected 200$"):
            await read(server, {VERSION: {"version": "0.1.30"}, TAGS: {"models": []}})


@pytest.mark.parametrize("path", ["/gpu7/api/ps", "/gpu7/", "/gpu7"])
async def test_a_path_before_the_api(path: str) -> None:
    async with api_server() as server:
        server.answers = {key.replace("GET ", "GET /gpu7"): answer for key, answer in EMPTY.items()}
        seen = await read_once("ollama", server.url + path)
    assert seen[("ollama_models_stored",)] == 0
