"""llama.cpp's server over the wire, with one model and as a router. Lists and pages are those of a real one (b10434).

tests/contract/test_llama_status.py reads the real server.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from collectors.catalogue.mapping import canonical_layout, lack
from collectors.catalogue.model import load_catalogue
from collectors.errors import ExpositionError, ScrapeTimeout, UnexpectedStatus
from collectors.exposition.parser import parse
from collectors.status.llamacpp import LlamaCppSource
from collectors.target import Target
from tests.fakes.api_server import ApiServer, api_server
from tests.fakes.status_reading import Numbers, numbers, read_once
from tests.patience import HANG_S

CAPTURES = Path(__file__).parents[3] / "fixtures" / "captures"
PAGE = (CAPTURES / "llamacpp-b10434.prom").read_text()
ROUTER = json.loads((CAPTURES / "llamacpp-b10434.router-props.json").read_text())
LISTED = json.loads((CAPTURES / "llamacpp-b10434.models.json").read_text())
PROPS, MODELS, METRICS = "GET /props", "GET /models", "GET /metrics"
MISSING = 400
"""A router's status for a page without a name, and for a model that is not loaded."""
RUNNING = "llamacpp:requests_processing"


def page_of(model: str) -> str:
    return f"GET /metrics?model={model}&autoload=false"


def model(name: str, state: str, *arguments: str, **status: Any) -> dict[str, Any]:
    return {"id": name, "status": {"value": state, "args": ["llama-server", *arguments], **status}}


def router(*models: dict[str, Any], **pages: Any) -> dict[str, Any]:
    asked = {page_of(name): page for name, page in pages.items()}
    return {PROPS: ROUTER, MODELS: {"data": list(models)}, METRICS: MISSING, **asked}


def states(seen: Numbers) -> dict[str, str]:
    return {k[1]: k[2] for k, v in seen.items() if k[0] == "llm_model_state" and v}


async def read(server: ApiServer, answers: dict[str, Any], path: str = "/metrics") -> tuple[Numbers, str]:
    server.answers = answers
    source = LlamaCppSource(server.url + path)
    try:
        return numbers(await source.read(HANG_S)), source.remark
    finally:
        await source.close()


async def test_one_model_has_its_page_and_its_state() -> None:
    async with api_server() as server:
        seen, remark = await read(server, {PROPS: {"model_alias": "chat", "is_sleeping": False}, METRICS: PAGE})
        assert server.asked == [PROPS, METRICS]
    assert (states(seen), remark) == ({"chat": "loaded"}, "")
    assert (seen[(RUNNING,)], seen[("llamacpp:tokens_predicted_total",)]) == (0, 751)


async def test_a_sleeping_server_is_not_woken() -> None:
    async with api_server() as server:
        seen, _ = await read(server, {PROPS: {"model_alias": "chat", "is_sleeping": True}, METRICS: PAGE})
        assert server.asked == [PROPS]
    assert states(seen) == {"chat": "sleeping"} and (RUNNING,) not in seen


async def test_the_path_of_the_state_reads_no_page_so_that_the_server_may_fall_asleep() -> None:
    async with api_server() as server:
        seen, _ = await read(server, {PROPS: {"model_path": "/m/chat.gguf"}, METRICS: PAGE}, "/props")
        assert server.asked == [PROPS]
        listed = model("a", "loaded"), model("b", "unloaded")
        of_router, remark = await read(server, router(*listed, a=PAGE), "/props")
        assert server.asked == [PROPS, PROPS, MODELS]
        with pytest.raises(UnexpectedStatus, match="/props answered 404"):
            await read(server, {}, "/props")
    assert states(seen) == {"/m/chat.gguf": "loaded"}
    assert (states(of_router), remark) == ({"a": "loaded", "b": "unloaded"}, "")


@pytest.mark.parametrize("props", [404, 501, 401, {}, [], {"model_alias": 7}])
async def test_a_release_that_does_not_tell_its_state_has_its_page(props: Any) -> None:
    async with api_server() as server:
        seen, _ = await read(server, {PROPS: props, METRICS: PAGE})
    assert not states(seen) and seen[(RUNNING,)] == 0


async def test_a_server_without_metrics_says_so() -> None:
    async with api_server() as server:
        with pytest.raises(UnexpectedStatus, match="answered 501 Not Implemented"):
            await read(server, {PROPS: {"model_alias": "chat"}, METRICS: 501})


async def test_a_router_has_the_states_of_all_and_the_pages_of_the_loaded() -> None:
    async with api_server() as server:
        seen, remark = await read(server, {**router(), MODELS: LISTED, page_of("chat-v1"): PAGE})
        assert server.asked == [PROPS, MODELS, page_of("chat-v1")]
    assert (states(seen), remark) == ({"broken": "failed", "chat-v1": "loaded", "chat-v2": "unloaded"}, "")
    assert {k: v for k, v in seen.items() if k[0] == "llamacpp:tokens_predicted_total"} == {
        ("llamacpp:tokens_predicted_total", "chat-v1"): 751
    }


async def test_numbers_of_a_router_are_canonical_by_model() -> None:
    body = (CAPTURES / "llamacpp-b10434-router.prom").read_bytes()
    parsed, catalogue = parse(body), load_catalogue()
    target = Target("llamacpp", "http://h:1/metrics", "llamacpp", "h:1", models=(("chat-v1", "chat"),))
    layout = canonical_layout(parsed.series, parsed.metadata, target, catalogue)
    (running,) = (dict(view.series.labels) for view in layout.views if view.series.name == "llm_requests_running")
    assert (running["served_model"], running["model"]) == ("chat-v1", "chat")
    assert lack(layout, catalogue, "llamacpp").metrics == () and not layout.unknown_labels


async def test_a_model_that_is_unloaded_after_the_list_was_read_is_not_loaded_again() -> None:
    async with api_server() as server:
        seen, remark = await read(server, router(model("a", "loaded"), model("b", "loaded"), a=MISSING, b=PAGE))
        assert set(server.asked) == {PROPS, MODELS, page_of("a"), page_of("b")}, "every page with autoload=false"
    assert {k[1] for k in seen if k[0] == RUNNING} == {"b"}
    assert remark == "no numbers of a (/metrics answered 400 Bad Request, expected 200)"


async def test_a_model_that_may_sleep_is_not_kept_awake() -> None:
    async with api_server() as server:
        drowsy = model("a", "loaded", "--sleep-idle-seconds", "300")
        seen, remark = await read(server, router(drowsy, model("b", "sleeping", "--sleep-idle-seconds", "300"), a=PAGE))
        assert server.asked == [PROPS, MODELS]
    assert states(seen) == {"a": "loaded", "b": "sleeping"}
    assert remark == "the numbers of a are not read: that would keep it awake (--sleep-idle-seconds)"


@pytest.mark.parametrize(("state", "shown"), [("loading", "loading"), ("downloading", "downloading"), (7, "unknown")])
async def test_pages_of_other_states_are_not_read(state: Any, shown: str) -> None:
    async with api_server() as server:
        seen, _ = await read(server, router(model("a", state), a=PAGE))
        assert server.asked == [PROPS, MODELS]
    assert states(seen) == {"a": shown}


async def test_a_query_with_a_model_reads_one_page_and_loads_nothing() -> None:
    async with api_server() as server:
        both = router(model("a", "loaded"), model("b", "loaded"), a=PAGE, b=PAGE)
        seen, _ = await read(server, both, "/metrics?model=b")
        assert server.asked == [PROPS, MODELS, page_of("b")]
        assert states(seen) == {"a": "loaded", "b": "loaded"}
        server.asked.clear()
        with pytest.raises(UnexpectedStatus):
            await read(server, {PROPS: 403}, "/metrics?model=b")
        assert server.asked == [PROPS, page_of("b")]


async def test_a_model_that_hangs_does_not_hide_the_others() -> None:
    async with api_server() as server:
        server.answers = router(model("a", "loaded"), model("b", "loaded"), a="hang", b=PAGE)
        source = LlamaCppSource(f"{server.url}/metrics")
        seen = numbers(await source.read(2.0))
        assert {k[1] for k in seen if k[0] == RUNNING} == {"b"}
        assert source.remark == "no numbers of a (no answer in time)"
        server.answers[page_of("a")] = PAGE
        await source.read(HANG_S)
        assert source.remark == ""
        await source.close()


async def test_many_silent_models_are_counted() -> None:
    async with api_server() as server:
        _, remark = await read(server, router(*(model(f"m{number}", "loaded") for number in range(7))))
    assert remark.startswith("no numbers of m0 (/metrics answered 400") and remark.endswith(" and 2 more")


async def test_a_page_of_something_else_adds_no_samples() -> None:
    async with api_server() as server:
        page = 'llamacpp:a{x="y"} 1\r\n<html>\n\nllamacpp:b 2'
        seen, _ = await read(server, router(model('q"\\', "loaded"), **{"q%22%5C": page}))
    assert {k: v for k, v in seen.items() if k[0] != "llm_model_state"} == {
        ("llamacpp:a", 'q"\\', "y"): 1,
        ("llamacpp:b", 'q"\\'): 2,
    }


@pytest.mark.parametrize("answer", [{"data": [{"status": {}}]}, {"models": []}, "<html>"])
async def test_a_list_of_something_else_fails_the_scrape(answer: Any) -> None:
    async with api_server() as server:
        with pytest.raises(ExpositionError, match="/models"):
            await read(server, router() | {MODELS: answer})


@pytest.mark.parametrize("path", [PROPS, MODELS, METRICS])
async def test_a_server_that_hangs_ends_at_the_deadline(path: str) -> None:
    async with api_server() as server:
        one = {PROPS: {"model_alias": "chat"}, METRICS: PAGE}
        server.answers = (one if path == METRICS else router()) | {path: "hang"}
        with pytest.raises(ScrapeTimeout, match=r"^timed out after"):
            await asyncio.wait_for(read_once("llamacpp", f"{server.url}/metrics", 0.3), HANG_S)
