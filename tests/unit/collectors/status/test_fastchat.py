"""FastChat's controller and workers, read over the wire. The answers are those of a real FastChat 0.2.36."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from collectors.errors import ExpositionError, UnexpectedStatus
from tests.fakes.api_server import api_server
from tests.fakes.status_reading import read_once

CAPTURE = (Path(__file__).parents[3] / "fixtures" / "captures" / "fastchat-0.2.36.api.txt").read_text()
LIST, STATUS = "POST /list_models", "POST /worker_get_status"


def captured(title: str) -> Any:
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*) \[200\]$", CAPTURE, re.MULTILINE)
    return json.loads(found)


CONTROLLER = {LIST: captured("POST controller /list_models"), STATUS: captured("controller worker_get_status")}
WORKER = {STATUS: captured("POST worker /worker_get_status")}


async def test_a_controller_is_asked_for_its_models_only() -> None:
    async with api_server() as server:
        server.answers = CONTROLLER
        seen = await read_once("fastchat", f"{server.url}/")
        assert server.asked == [LIST], "its /worker_get_status would ask every worker"
    assert seen == {
        ("fastchat_controller_models",): 3,
        ("fastchat_controller_model_info", "chat"): 1,
        ("fastchat_controller_model_info", "chat-v1"): 1,
        ("fastchat_controller_model_info", "chat-v2"): 1,
    }


async def test_a_worker_is_told_by_its_path() -> None:
    async with api_server() as server:
        server.answers = {STATUS: WORKER[STATUS] | {"queue_length": 3}}
        seen = await read_once("fastchat", f"{server.url}/")
        assert server.asked == [LIST, STATUS]
    assert seen == {
        ("fastchat_worker_queue_length",): 3,
        ("fastchat_worker_model_info", "chat-v1"): 1,
        ("fastchat_worker_model_info", "chat"): 1,
    }


async def test_an_address_that_was_a_workers_and_is_a_controllers_now() -> None:
    async with api_server() as server:
        for answers in (WORKER, CONTROLLER, CONTROLLER):
            server.answers = answers
            await read_once("fastchat", f"{server.url}/")
        assert server.asked == [LIST, STATUS, LIST, LIST]


async def test_a_controller_without_workers() -> None:
    async with api_server() as server:
        server.answers = {LIST: {"models": []}}
        assert await read_once("fastchat", server.url) == {("fastchat_controller_models",): 0}


async def test_the_openai_server_is_neither() -> None:
    async with api_server() as server:
        server.answers = {"GET /v1/models": {"data": []}, LIST: 405}
        with pytest.raises(UnexpectedStatus, match=r"neither a controller nor a worker.*not of the OpenAI server"):
            await read_once("fastchat", server.url)
        assert server.asked == [LIST, STATUS], "its /v1/models would empty the controller's routing table"


async def test_a_controller_that_fails_is_not_taken_for_a_worker() -> None:
    async with api_server() as server:
        server.answers = {**CONTROLLER, LIST: 500}
        with pytest.raises(UnexpectedStatus, match=r"^/list_models answered 500 Internal Server Error"):
            await read_once("fastchat", server.url)
        assert server.asked == [LIST]


@pytest.mark.parametrize("length", [-1, "3", None, True])
async def test_a_queue_of_no_length_is_unknown(length: Any) -> None:
    async with api_server() as server:
        server.answers = {STATUS: {"model_names": [7, "", "chat", "chat"], "queue_length": length}}
        assert await read_once("fastchat", server.url) == {("fastchat_worker_model_info", "chat"): 1}


@pytest.mark.parametrize("answer", [{}, {"model_names": "chat"}, "null", []])
async def test_json_of_something_else(answer: Any) -> None:
    async with api_server() as server:
        server.answers = {STATUS: answer}
        with pytest.raises(ExpositionError, match=r"/worker_get_status.*'model_names'"):
            await read_once("fastchat", server.url)
