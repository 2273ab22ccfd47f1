"""A real gateway and a real control plane: what clients saw is what is counted, whoever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.contract.real_servers import ROOT, TOKEN
from tests.patience import PROCESS_S
from tests.ports import free_address

FLEET = """
fleet: {{name: test}}
gateway:
  name: gw
  listen: "{listen}"
  admin: "{admin}"
  workers: 2
  authentication: none
  control_plane: {{url: "http://{plane}", authorization: {{credentials_env: CP_BOOTSTRAP_TOKEN}}}}
models:
  - name: chat
    stable: v1
    traffic: {{driver: none}}
    versions: {{v1: {{backends: [{{url: "{engine}", engine: vllm}}]}}}}
"""
CHAT = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Engine:
    """Streams three events and its usage. While `held`, it stops behind the first event."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.held.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head.lower())
                await reader.readexactly(int(length[1]) if length else 0)
                await self._answer(writer, head.startswith(b"POST"))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, chat: bool) -> None:
        if not chat:
            writer.write(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        words = [{"choices": [{"index": 0, "delta": {"content": "a"}}]}] * 3
        usage = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3}}
        for event in [*(json.dumps(word) for word in [*words, usage]), "[DONE]"]:
            data = f"data: {event}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await self.held.wait()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


@asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    made = Engine()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    made.held.set()
    server.close()


@contextmanager
def running(folder: Path, verb: str, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a verb of the program until the block ends."""
    command = [sys.executable, "-m", "controlplane", verb, "-c", str(folder / "fleet.yaml"), *flags]
    environment = {**os.environ, "CP_BOOTSTRAP_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    with (folder / f"{verb}.log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log, env=environment, cwd=folder)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PROCESS_S)


class World:
    """Addresses of everything, and what a client can ask."""

    def __init__(self, folder: Path, engine: Engine, client: httpx.AsyncClient) -> None:
        self.folder, self._client = folder, client
        self.listen, self.admin, self.plane = free_address(), free_address(), free_address()
        (folder / "fleet.yaml").write_text(
            FLEET.format(listen=self.listen, admin=self.admin, plane=self.plane, engine=engine.url)
        )

    def up(self) -> Any:
        return running(self.folder, "up", "--listen", self.plane, "--data-dir", str(self.folder / "plane"))

    def gateway(self) -> Any:
        return running(self.folder, "gateway", "--data-dir", str(self.folder / "gateway"))

    async def ready(self, address: str) -> None:
        await eventually(lambda: self._answers(f"http://{address}/readyz"), True)

    async def _answers(self, url: str) -> bool:
        try:
            return (await self._client.get(url)).status_code == 200
        except httpx.HTTPError:
            return False

    async def chat(self, number: int) -> int:
        """Send requests at once, and return the number of whole answers."""
        answers = await asyncio.gather(*(self._one() for _ in range(number)))
        return sum(answers)

    async def _one(self) -> bool:
        try:
            answer = await self._client.post(f"http://{self.listen}/v1/chat/completions", json=CHAT)
            return answer.status_code == 200 and answer.text.endswith("data: [DONE]\n\n")
        except httpx.HTTPError:
            return False

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over the series with these labels."""
        text = (await self._client.get(f"http://{self.admin}/metrics")).text
        lines = [line for line in text.splitlines() if re.match(rf"{name}[ {{]", line)]
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(pair in line for pair in wanted))

    async def workers(self) -> list[int]:
        found = (await self._client.get(f"http://{self.admin}/healthz")).json()["workers"]
        return [worker["pid"] for worker in found if worker["pid"]]

    async def usage(self) -> dict[str, int]:
        """Return the requests by outcome, as the control plane has them."""
        answer = await self._client.get(f"http://{self.plane}/cp/v1/usage?by=outcome", headers=HEADERS)
        return {item["outcome"]: item["requests"] for item in answer.json()["items"]}


def files(root: Path) -> list[Path]:
    return list(root.glob("*/*"))


async def eventually(look: Callable[[], Awaitable[object]], expected: object) -> None:
    """Wait until other processes show what is expected."""
    async with asyncio.timeout(PROCESS_S):
        while await look() != expected:  # noqa: ASYNC110 - other processes have no event
            await asyncio.sleep(0.05)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[tuple[World, Engine]]:
    limits = httpx.Limits(max_connections=100)
    async with engine() as made, httpx.AsyncClient(timeout=PROCESS_S, limits=limits) as client:
        yield World(folder, made, client), made


async def test_usage_counts_each_request_once_while_control_plane_and_workers_are_killed(tmp_path: Path) -> None:
    async with world(tmp_path) as (at, _):
        with at.gateway():
            with at.up() as plane:
                await at.ready(at.plane)
                await at.ready(at.admin)
                assert await at.chat(40) == 40
                await eventually(at.usage, {"ok": 40})
                plane.send_signal(signal.SIGKILL)
            assert await at.chat(30) == 30
            # A worker that is killed loses its records of the last milliseconds: these are on the disk.
            await eventually(lambda: at.metric("controlplane_gateway_journal_records_total"), 70)
            for pid in await at.workers():
                os.kill(pid, signal.SIGKILL)
            await at.ready(at.admin)
            await at.chat(20)  # connections to the dead workers broke
            sent = await at.metric("llm_requests_total", outcome="success")
            with at.up():
                await at.ready(at.plane)
                await eventually(at.usage, {"ok": int(sent)})
        assert sent > 70


async def test_streams_of_a_killed_worker_are_counted_as_cut(tmp_path: Path) -> None:
    async with world(tmp_path) as (at, made):
        with at.up(), at.gateway():
            await at.ready(at.plane)
            await at.ready(at.admin)
            made.held.clear()
            streams = asyncio.create_task(at.chat(12))
            await eventually(lambda: at.metric("llm_requests_running", model="chat"), 12)
            for pid in await at.workers():
                os.kill(pid, signal.SIGKILL)
            assert await streams == 0
            await eventually(lambda: at.metric("llm_requests_total", outcome="cut"), 12)
            assert await at.metric("controlplane_gateway_lost_requests_total") == 12
            assert await at.metric("llm_requests_running") == 0
            made.held.set()
            await at.ready(at.admin)
            assert await at.chat(5) == 5
            assert await at.metric("llm_requests_total", outcome="success") == 5


async def test_the_end_of_a_gateway_ships_what_is_left(tmp_path: Path) -> None:
    async with world(tmp_path) as (at, _):
        with at.up():
            await at.ready(at.plane)
            with at.gateway():
                await at.ready(at.admin)
                assert await at.chat(25) == 25
            assert await at.usage() == {"ok": 25}
            assert files(tmp_path / "gateway" / "usage") == []
