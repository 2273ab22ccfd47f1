"""A real FastChat, controller and worker, read by its status source. `make test-engines` installs and runs it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.contract.real_servers import running
from tests.engines.environments import HERE, START_S, needs, program
from tests.fakes.status_reading import read_once
from tests.patience import until
from tests.ports import free_address

PYTHON = program("fastchat")
pytestmark = needs("fastchat", "FastChat")

MODELS: dict[tuple[str, ...], float]
MODELS = {("fastchat_controller_model_info", name): 1 for name in ("chat", "chat-v1")}
QUEUE = ("fastchat_worker_queue_length",)


class FastChat(NamedTuple):
    """Addresses of a running FastChat."""

    controller: str
    worker: str
    process: subprocess.Popen[bytes]
    """The worker's."""
    log: Path
    """The controller's log, which names the paths that were asked."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    subprocess.run(
        [PYTHON, HERE / "tiny_transformer.py", folder], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    return folder


@pytest.fixture
def fastchat(model: Path, tmp_path: Path) -> Iterator[FastChat]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "LOGDIR": str(tmp_path)}
    controller, worker = (f"http://{free_address()}" for _ in range(2))
    serve = [str(PYTHON), "-m", "fastchat.serve.controller", *_listen(controller)]
    work = [str(PYTHON), "-m", "fastchat.serve.model_worker", *_listen(worker), "--controller-address", controller]
    work += ["--worker-address", worker, "--model-path", str(model), "--model-names", "chat-v1,chat"]
    work += ["--device", "cpu", "--conv-template", "one_shot", "--limit-worker-concurrency", "1"]
    for name in ("controller", "worker"):
        (tmp_path / name).mkdir()
    with (
        running(serve, tmp_path / "controller", f"{controller}/docs", environment),
        running(work, tmp_path / "worker", f"{worker}/docs", environment) as process,
    ):
        yield FastChat(controller, worker, process, tmp_path / "controller" / "python.log")


def _listen(url: str) -> list[str]:
    host, port = url.removeprefix("http://").split(":")
    return ["--host", host, "--port", port]


async def test_a_controller_has_the_models_of_its_workers_and_nothing_is_moved(fastchat: FastChat) -> None:
    for _ in range(3):
        seen = await read_once("fastchat", fastchat.controller)
        assert seen == {("fastchat_controller_models",): 2, **MODELS}
    asked = {line.split('"')[1] for line in fastchat.log.read_text().splitlines() if '"POST' in line}
    assert asked == {"POST /register_worker HTTP/1.1", "POST /list_models HTTP/1.1"}


async def test_a_worker_counts_running_and_waiting_requests_together(fastchat: FastChat) -> None:
    idle = await read_once("fastchat", fastchat.worker)
    assert idle == {QUEUE: 0, ("fastchat_worker_model_info", "chat"): 1, ("fastchat_worker_model_info", "chat-v1"): 1}

    question = {"model": "chat", "prompt": "hi", "max_new_tokens": 1900, "temperature": 1.0, "stop_token_ids": []}

    async def ask(client: httpx.AsyncClient) -> None:
        async with client.stream("POST", f"{fastchat.worker}/worker_generate_stream", json=question) as reply:
            async for _ in reply.aiter_raw():
                pass

    async with httpx.AsyncClient(timeout=START_S) as client:
        questions = [asyncio.create_task(ask(client)) for _ in range(3)]
        longest = 0.0
        while not all(each.done() for each in questions):
            longest = max(longest, (await read_once("fastchat", fastchat.worker))[QUEUE])
        await asyncio.gather(*questions)
    assert longest == 3, "one of them runs"
    assert (await read_once("fastchat", fastchat.worker))[QUEUE] == 0


async def test_a_worker_that_died_stays_registered_for_a_while(fastchat: FastChat) -> None:
    fastchat.process.kill()
    await until(lambda: fastchat.process.poll() is not None)
    assert await read_once("fastchat", fastchat.controller) == {("fastchat_controller_models",): 2, **MODELS}
